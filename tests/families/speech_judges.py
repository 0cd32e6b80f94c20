"""Tiny recognisers and speaker encoders with random weights, in folders as transformers saves them."""

import json
from pathlib import Path

import torch
from speech_encoders import AS_IT_IS, LARGE, NORMALISED, SIZE, SQUEEZED, WAVEFORM, WHISPER

SYMBOLS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLU'"]
VOCABULARY = {"vocab_size": len(SYMBOLS), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
HEAD = {"tdnn_dim": [16, 16, 24], "tdnn_kernel": [5, 3, 1], "tdnn_dilation": [1, 2, 1], "xvector_output_dim": 20}
LISTENING = {"do_normalize": True, "return_attention_mask": True}
LOUD = 20
WINDOW = {
    **WHISPER,
    "max_source_positions": 1500,
    "vocab_size": len(SYMBOLS) + 1,
    "max_target_positions": 24,
    "encoder_layers": 1,
}

# Class, configuration, feature extractor and extractor settings of each recogniser.
CTC = {
    "wav2vec2": ("Wav2Vec2ForCTC", {"model_type": "wav2vec2", **WAVEFORM}, "Wav2Vec2FeatureExtractor", NORMALISED),
    "wav2vec2_large": ("Wav2Vec2ForCTC", {"model_type": "wav2vec2", **LARGE}, "Wav2Vec2FeatureExtractor", LISTENING),
    "hubert": ("HubertForCTC", {"model_type": "hubert", **LARGE}, "Wav2Vec2FeatureExtractor", LISTENING),
    "wavlm": (
        "WavLMForCTC",
        {"model_type": "wavlm", **WAVEFORM, "num_buckets": 40},
        "Wav2Vec2FeatureExtractor",
        AS_IT_IS,
    ),
    "w2v_bert": ("Wav2Vec2BertForCTC", {"model_type": "wav2vec2-bert", **SIZE}, "SeamlessM4TFeatureExtractor", {}),
    "sew": ("SEWForCTC", {"model_type": "sew", **SQUEEZED}, "Wav2Vec2FeatureExtractor", NORMALISED),
    "conformer": (
        "Wav2Vec2ConformerForCTC",
        {"model_type": "wav2vec2-conformer", **WAVEFORM},
        "Wav2Vec2FeatureExtractor",
        LISTENING,
    ),
}
WRITING = {
    "whisper": ("WhisperForConditionalGeneration", {"model_type": "whisper", **WINDOW}, "WhisperFeatureExtractor", {}),
    "speech_to_text": (
        "Speech2TextForConditionalGeneration",
        {
            "model_type": "speech_to_text",
            **{k: v for k, v in WINDOW.items() if "positions" not in k},
            "conv_channels": 32,
        },
        "Speech2TextFeatureExtractor",
        {},
    ),
}
SPEAKERS = {
    "wavlm_speaker": (
        "WavLMForXVector",
        {"model_type": "wavlm", **WAVEFORM, **HEAD},
        "Wav2Vec2FeatureExtractor",
        AS_IT_IS,
    ),
    "wavlm_weighted_speaker": (
        "WavLMForXVector",
        {"model_type": "wavlm", **LARGE, **HEAD, "use_weighted_layer_sum": True},
        "Wav2Vec2FeatureExtractor",
        LISTENING,
    ),
    "wav2vec2_speaker": (
        "Wav2Vec2ForXVector",
        {"model_type": "wav2vec2", **WAVEFORM, **HEAD},
        "Wav2Vec2FeatureExtractor",
        NORMALISED,
    ),
    "unispeech_speaker": (
        "UniSpeechSatForXVector",
        {"model_type": "unispeech-sat", **LARGE, **HEAD},
        "Wav2Vec2FeatureExtractor",
        LISTENING,
    ),
    "conformer_speaker": (
        "Wav2Vec2ConformerForXVector",
        {"model_type": "wav2vec2-conformer", **WAVEFORM, **HEAD},
        "Wav2Vec2FeatureExtractor",
        LISTENING,
    ),
}
FAMILIES = {**CTC, **WRITING, **SPEAKERS}


def write_speech_judge(family: str, folder: Path) -> Path:
    """Write the family's tiny model, its feature extractor and, for a recogniser, its tokenizer into a folder."""
    import transformers

    kind, config, extractor, settings = FAMILIES[family]
    torch.manual_seed(len(family))
    extra = VOCABULARY if family in CTC else {}
    model = getattr(transformers, kind)(transformers.AutoConfig.for_model(**{**config, **extra}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        if family in CTC:
            model.lm_head.weight.mul_(10)  # otherwise one symbol wins at every step
        if family in WRITING:  # otherwise it writes the same word for every input
            for layer in model.model.decoder.layers:
                layer.encoder_attn.out_proj.weight.mul_(LOUD)
                layer.encoder_attn.q_proj.weight.mul_(LOUD)
            model.generation_config.suppress_tokens = [0, 1, 2]
    model.save_pretrained(folder)
    getattr(transformers, extractor)(**settings).save_pretrained(folder)
    if family in CTC:
        write_symbols(folder)
    elif family in WRITING:
        write_pieces(folder, int(config["vocab_size"]))
    return folder


def write_symbols(folder: Path) -> None:
    """Write the tokenizer of a CTC model: characters and a word boundary."""
    from transformers import Wav2Vec2CTCTokenizer

    path = folder / "vocab.json"
    path.write_text(json.dumps({symbol: place for place, symbol in enumerate(SYMBOLS)}))
    Wav2Vec2CTCTokenizer(str(path)).save_pretrained(folder)


def write_pieces(folder: Path, size: int) -> None:
    """Write the tokenizer of an encoder-decoder model: one word per token, after three control tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<start>", "<end>", *(f"word{place}" for place in range(3, size))]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<start>", eos_token="<end>", unk_token="<pad>"
    ).save_pretrained(folder)
