"""Tiny HiFi-GAN generators with random weights, in folders as their three sources publish them."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

SIZES = {
    "upsample_rates": [8, 4],
    "upsample_kernel_sizes": [16, 8],
    "upsample_initial_channel": 16,
    "resblock_kernel_sizes": [3, 5],
}
AUDIO = {"sampling_rate": 16000, "n_fft": 128, "hop_size": 32, "win_size": 128, "num_mels": 12, "fmin": 0, "fmax": None}


# The settings of hifigan_v3_lj, which a tiny generator replaces in tests.
LJ_SPEECH = {
    "sampling_rate": 22050,
    "n_fft": 1024,
    "hop_size": 256,
    "win_size": 1024,
    "num_mels": 80,
    "fmin": 0,
    "fmax": 8000,
}
LJ_SPEECH |= {"upsample_rates": [16, 16], "upsample_kernel_sizes": [32, 32]}


def hifigan_config(kind: str, changes: dict | None = None) -> dict:
    """Return the authors' configuration with a kind of residual block, ``1`` or ``2``."""
    dilations = {"1": [[1, 3, 5]] * 2, "2": [[1, 2], [2, 6]]}
    return {**AUDIO, **SIZES, "resblock": kind, "resblock_dilation_sizes": dilations[kind], **(changes or {})}


def authors_weights(config: dict) -> dict[str, torch.Tensor]:
    """Return random weights under the authors' names, with weight normalisation."""
    torch.manual_seed(0)
    width = config["upsample_initial_channel"]
    shapes = {"conv_pre": (width, config["num_mels"], 7), "conv_post": (1, width // 4, 7)}
    for stage, kernel in enumerate(config["upsample_kernel_sizes"]):
        shapes[f"ups.{stage}"] = (width // 2**stage, width // 2 ** (stage + 1), kernel)
        for block, size in enumerate(config["resblock_kernel_sizes"]):
            lists = {"convs1": 3, "convs2": 3} if config["resblock"] == "1" else {"convs": 2}
            for name, layers in lists.items():
                for layer in range(layers):
                    channels = width // 2 ** (stage + 1)
                    shapes[f"resblocks.{stage * 2 + block}.{name}.{layer}"] = (channels, channels, size)
    tensors = {}
    for name, shape in shapes.items():
        tensors[f"{name}.weight_g"] = 0.5 + torch.rand(shape[0], 1, 1)
        tensors[f"{name}.weight_v"] = torch.randn(shape)
        tensors[f"{name}.bias"] = 0.1 * torch.randn(shape[1] if name.startswith("ups") else shape[0])
    return tensors


def write_authors_hifigan(folder: Path, kind: str = "1", changes: dict | None = None) -> Path:
    """Write a generator with the authors' configuration and weight names."""
    folder.mkdir(parents=True, exist_ok=True)
    config = hifigan_config(kind, changes)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(authors_weights(config), folder / "generator.safetensors")
    return folder


def write_transformers_hifigan(folder: Path, described: bool = True, **changes) -> Path:
    """Write a generator of transformers; ``described`` adds a feature extractor with the spectrogram's settings."""
    from transformers import SpeechT5FeatureExtractor, SpeechT5HifiGan, SpeechT5HifiGanConfig

    torch.manual_seed(0)
    config = {
        "model_in_dim": 12,
        **SIZES,
        "resblock_dilation_sizes": [[1, 3, 5]] * 2,
        "initializer_range": 0.3,
        **changes,
    }
    generator = SpeechT5HifiGan(SpeechT5HifiGanConfig(**config))
    generator.mean.normal_()
    generator.scale.uniform_(0.5, 2.0)
    generator.save_pretrained(folder)
    if described:
        SpeechT5FeatureExtractor(num_mel_bins=12, hop_length=2, win_length=8, fmin=0, fmax=8000).save_pretrained(folder)
    return folder


HYPERPARAMS = """
seed: 1234
__set_seed: !apply:pathlib.Path.touch [!apply:pathlib.Path [{trap}]]
data_folder: !PLACEHOLDER
sample_rate: 16000
hop_length: 32
win_length: 128
n_mel_channels: 12
n_fft: 128
mel_fmin: 0.0
mel_fmax: null
mel_normalized: {normalized}
power: 1
norm: "slaney"
mel_scale: "slaney"
dynamic_range_compression: True
factors: [8, 4]
mel_spectogram: !name:speechbrain.lobes.models.HifiGAN.mel_spectogram
    sample_rate: !ref <sample_rate>
    hop_length: !ref <hop_length>
generator: !new:speechbrain.lobes.models.HifiGAN.HifiganGenerator
    in_channels: !ref <n_mel_channels>
    out_channels: 1
    resblock_type: "1"
    resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5]]
    resblock_kernel_sizes: [3, 5]
    upsample_kernel_sizes: [16, 8]
    upsample_initial_channel: 16
    upsample_factors: !ref <factors>
    inference_padding: 5
    cond_channels: 0
    conv_post_bias: True
modules:
    generator: !ref <generator>
n_stft: !ref <n_fft> // 2 + 1
"""


def write_speechbrain_hifigan(folder: Path, normalized: str = "null") -> Path:
    """Write a generator of speechbrain, whose YAML would create the file ``trap`` if its code ran."""
    from speechbrain.lobes.models.HifiGAN import HifiganGenerator

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {
        "upsample_kernel_sizes": [16, 8],
        "upsample_initial_channel": 16,
        "upsample_factors": [8, 4],
        "resblock_kernel_sizes": [3, 5],
    }
    generator = HifiganGenerator(12, 1, "1", [[1, 3, 5], [1, 3, 5]], **sizes)
    torch.save(generator.state_dict(), folder / "generator.ckpt")
    (folder / "hyperparams.yaml").write_text(HYPERPARAMS.format(trap=folder / "trap", normalized=normalized))
    return folder


UNIT_HYPERPARAMS = """
sample_rate: 16000
num_clusters: {units}
vocab_size: !ref <num_clusters> + 1
generator: !new:speechbrain.lobes.models.HifiGAN.UnitHifiganGenerator
    in_channels: 12
    out_channels: 1
    resblock_type: "1"
    resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5]]
    resblock_kernel_sizes: [3, 11]
    upsample_kernel_sizes: [11, 8, 8, 4, 4]
    upsample_initial_channel: 64
    upsample_factors: [5, 4, 4, 2, 2]
    vocab_size: !ref <vocab_size>
    embedding_dim: 12
    duration_predictor: True
    multi_speaker: {multi_speaker}
"""


def unit_generator(units: int):
    """Return speechbrain's generator of so many units, always the same."""
    from speechbrain.lobes.models.HifiGAN import UnitHifiganGenerator

    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"upsample_kernel_sizes": [11, 8, 8, 4, 4], "upsample_factors": [5, 4, 4, 2, 2]}
        residual = {"resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5]], "resblock_kernel_sizes": [3, 11]}
        table = {"vocab_size": units + 1, "embedding_dim": 12, "attn_dim": 4, "duration_predictor": True}
        return UnitHifiganGenerator(12, 1, "1", upsample_initial_channel=64, **sizes, **residual, **table).eval()


def write_unit_hifigan(folder: Path, units: int, multi_speaker: bool = False) -> Path:
    """Write speechbrain's generator of so many units at 50 Hz."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(unit_generator(units).state_dict(), folder / "generator.ckpt")
    (folder / "hyperparams.yaml").write_text(UNIT_HYPERPARAMS.format(units=units, multi_speaker=multi_speaker))
    return folder
