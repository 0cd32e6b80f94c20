"""Tiny audio codecs of transformers with random weights, in folders as the library saves them."""

from pathlib import Path

import torch

SPREAD = 0.3
# Gains of the matrices, so that other sounds have other codes.
GAINS = {"encodec": 2.0, "dac": 2.0, "mimi": 2.0, "xcodec2": 8.0}
SEMANTIC = {
    "model_type": "wav2vec2-bert",
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
# Configuration, feature extractor and extractor settings of each family.
CODECS = {
    "encodec": (
        {
            "model_type": "encodec",
            "target_bandwidths": [1.0, 2.0],  # in kbit/s: 4 codebooks of 5 bits at 100 frames a second
            "sampling_rate": 16000,
            "hidden_size": 16,
            "num_filters": 4,
            "upsampling_ratios": [8, 5, 4],
            "num_lstm_layers": 1,
            "codebook_size": 32,
        },
        "EncodecFeatureExtractor",
        {"sampling_rate": 16000},
    ),
    "dac": (
        {
            "model_type": "dac",
            "encoder_hidden_size": 4,
            "decoder_hidden_size": 32,
            "downsampling_ratios": [5, 8, 8],  # an odd ratio: the decoder loses a few samples at the end
            "n_codebooks": 3,
            "codebook_size": 16,
            "codebook_dim": 4,
        },
        "DacFeatureExtractor",
        {"hop_length": 320},
    ),
    "mimi": (
        {
            "model_type": "mimi",
            "hidden_size": 16,
            "num_filters": 4,
            "upsampling_ratios": [8, 6, 5, 4],
            "codebook_size": 32,
            "codebook_dim": 8,
            "num_quantizers": 4,
            "vector_quantization_hidden_dimension": 8,
            "upsample_groups": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "intermediate_size": 32,
        },
        "EncodecFeatureExtractor",
        {"sampling_rate": 24000},
    ),
    "xcodec2": (
        {
            "model_type": "xcodec2",
            "hidden_size": 64,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "encoder_hidden_size": 2,
            "quantization_dim": 88,  # both widths together
            "quantization_levels": [4, 4, 4],
            "semantic_model_config": SEMANTIC,
        },
        "Xcodec2FeatureExtractor",
        {},
    ),
}


def write_speech_codec(family: str, folder: Path, **changes: object) -> Path:
    """Write the family's tiny codec and its feature extractor into a folder."""
    import transformers

    config, extractor, settings = CODECS[family]
    with torch.random.fork_rng():
        torch.manual_seed(len(family))
        model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**{**config, **changes}))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.mul_(GAINS[family] if parameter.ndim > 1 else 0.0 if name.endswith("bias") else 1.0)
            for name, buffer in model.named_buffers():
                if name.endswith(("embed", "embed_sum")):  # centroids, which begin at zero
                    buffer.copy_(SPREAD * torch.randn_like(buffer))
    model.save_pretrained(folder)
    getattr(transformers, extractor)(**settings).save_pretrained(folder)
    return folder
