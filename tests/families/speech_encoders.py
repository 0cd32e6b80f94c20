"""Tiny speech encoders of many families with random weights, in folders as transformers saves them."""

from pathlib import Path

import torch

WIDTH, LAYERS = 24, 3
SIZE = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 32}
CONVOLUTIONS = {
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "layerdrop": 0.1,
}
WAVEFORM = {**SIZE, **CONVOLUTIONS}
LARGE = {**WAVEFORM, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
WHISPER = {
    "d_model": WIDTH,
    "encoder_layers": LAYERS,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "encoder_layerdrop": 0.1,
}
WHISPER |= {
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 32,
    "vocab_size": 50,
    "pad_token_id": 0,
}
WHISPER |= {
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "max_source_positions": 100,
    "max_target_positions": 16,
}
SQUEEZED = {
    **SIZE,
    "conv_dim": [16] * 13,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "squeeze_factor": 2,
}
NORMALISED, AS_IT_IS = {"do_normalize": True}, {"do_normalize": False}

# Class, configuration, feature extractor and extractor settings of each family.
FAMILIES = {
    "wav2vec2": ("Wav2Vec2Model", {"model_type": "wav2vec2", **WAVEFORM}, "Wav2Vec2FeatureExtractor", NORMALISED),
    "wav2vec2_large": ("Wav2Vec2Model", {"model_type": "wav2vec2", **LARGE}, "Wav2Vec2FeatureExtractor", NORMALISED),
    "mms": (
        "Wav2Vec2ForCTC",
        {"model_type": "wav2vec2", **LARGE, "adapter_attn_dim": 8},
        "Wav2Vec2FeatureExtractor",
        NORMALISED,
    ),
    "hubert": ("HubertModel", {"model_type": "hubert", **WAVEFORM}, "Wav2Vec2FeatureExtractor", NORMALISED),
    "hubert_large": ("HubertForCTC", {"model_type": "hubert", **LARGE}, "Wav2Vec2FeatureExtractor", NORMALISED),
    "wavlm": (
        "WavLMModel",
        {"model_type": "wavlm", **WAVEFORM, "num_buckets": 40},
        "Wav2Vec2FeatureExtractor",
        AS_IT_IS,
    ),
    "wavlm_large": ("WavLMModel", {"model_type": "wavlm", **LARGE}, "Wav2Vec2FeatureExtractor", NORMALISED),
    "data2vec": (
        "Data2VecAudioModel",
        {"model_type": "data2vec-audio", **WAVEFORM, "num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 7},
        "Wav2Vec2FeatureExtractor",
        NORMALISED,
    ),
    "unispeech": ("UniSpeechModel", {"model_type": "unispeech", **WAVEFORM}, "Wav2Vec2FeatureExtractor", NORMALISED),
    "unispeech_sat": (
        "UniSpeechSatModel",
        {"model_type": "unispeech-sat", **LARGE},
        "Wav2Vec2FeatureExtractor",
        NORMALISED,
    ),
    "w2v_bert": ("Wav2Vec2BertModel", {"model_type": "wav2vec2-bert", **SIZE}, "SeamlessM4TFeatureExtractor", {}),
    "whisper": ("WhisperModel", {"model_type": "whisper", **WHISPER}, "WhisperFeatureExtractor", {"chunk_length": 2}),
    "whisper_v3": (
        "WhisperForConditionalGeneration",
        {"model_type": "whisper", **WHISPER, "num_mel_bins": 128},
        "WhisperFeatureExtractor",
        {"chunk_length": 2, "feature_size": 128},
    ),
    # Families that are encoded one recording at a time.
    "sew": ("SEWModel", {"model_type": "sew", **SQUEEZED}, "Wav2Vec2FeatureExtractor", NORMALISED),
    "sew_d": ("SEWDModel", {"model_type": "sew-d", **SQUEEZED}, "Wav2Vec2FeatureExtractor", NORMALISED),
    "conformer": (
        "Wav2Vec2ConformerModel",
        {"model_type": "wav2vec2-conformer", **WAVEFORM},
        "Wav2Vec2FeatureExtractor",
        NORMALISED,
    ),
    "hubert_batch_norm": (
        "HubertModel",
        {"model_type": "hubert", **WAVEFORM, "conv_pos_batch_norm": True},
        "Wav2Vec2FeatureExtractor",
        NORMALISED,
    ),
    "adapter": (
        "Wav2Vec2Model",
        {"model_type": "wav2vec2", **LARGE, "add_adapter": True, "num_adapter_layers": 1},
        "Wav2Vec2FeatureExtractor",
        NORMALISED,
    ),
    # Families that the platform does not know by name.
    "speech_to_text": (
        "Speech2TextModel",
        {
            "model_type": "speech_to_text",
            **{k: v for k, v in WHISPER.items() if "positions" not in k},
            "conv_channels": 32,
        },
        "Speech2TextFeatureExtractor",
        {},
    ),
    "spectrogram_transformer": (
        "ASTModel",
        {"model_type": "audio-spectrogram-transformer", **SIZE, "max_length": 64},
        "ASTFeatureExtractor",
        {"max_length": 64},
    ),
}
TOGETHER = list(FAMILIES)[:13]
ONE_BY_ONE = list(FAMILIES)[13:]


def write_speech_encoder(family: str, folder: Path) -> Path:
    """Write the family's tiny model and its feature extractor into a folder."""
    import transformers

    kind, config, extractor, settings = FAMILIES[family]
    torch.manual_seed(len(family))
    model = getattr(transformers, kind)(transformers.AutoConfig.for_model(**config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.add_(0.5 * torch.rand_like(buffer))
    model.save_pretrained(folder)
    getattr(transformers, extractor)(**settings).save_pretrained(folder)
    return folder
