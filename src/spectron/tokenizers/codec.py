"""Codec tokenizer: the codes of a pre-trained audio codec of transformers, such as EnCodec, DAC, Mimi or X-Codec 2."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectron.errors import ConfigError
from spectron.ranges import CountOrZero, checks_ranges
from spectron.tokenizers.tokenizer import SpeechTokenizer, chosen_levels
from spectron.weights.hub import locate, quiet, read_json, reading, require_float_parameters, require_safetensors

SHORTEST_SECONDS = 0.1  # the feature extractors inside some codecs need a few windows
PROBE_SECONDS, PROBE_FRAMES = 2, 8  # more than a second, after which some codecs begin another piece


@checks_ranges
class CodecTokenizer(SpeechTokenizer):
    """Codes of an audio codec of transformers, as its own feature extractor and ``encode`` give them.

    The codec's codebooks are residual: the first ones are the coarse ones. A recording that is shorter than 0.1 s is
    padded with zeros, and only the frames of the recording are returned.

    Args:
        source: Hub name or folder of the codec, for example ``kyutai/mimi``. It must read and write one channel at one
            sample rate, and need nothing beside the codes.
        levels: Use the first so many codebooks; 0 means all.
        skip_levels: Leave out the first so many of these, which another stage speaks.
        revision: Branch, tag or commit on the hub.

    Raises:
        ConfigError: if the codec cannot be read, is of another kind, or has too few codebooks.
    """

    def __init__(
        self, source: str, levels: CountOrZero = 0, skip_levels: CountOrZero = 0, revision: str | None = None
    ) -> None:
        super().__init__()
        self.source = source
        self.model, self.extractor = read_codec(locate(source, revision), source)
        self.requires_grad_(False).eval()
        self.sample_rate_hz = int(self.extractor.sampling_rate)
        with reading(source, "an audio codec"):
            size = codebook_size(self.model.config, source)
            held, self.hop_samples = self._probe(size)
        self.rate_hz = self.sample_rate_hz / self.hop_samples
        self.levels, self.skip_levels = chosen_levels(levels, skip_levels, held, source), skip_levels
        self.sizes = (size,) * (self.levels - skip_levels)

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Tokenize one utterance (S,) as codes (T, Q)."""
        if len(waveform) == 0:
            return torch.zeros(0, len(self.sizes), dtype=torch.long, device=waveform.device)
        missing = max(round(SHORTEST_SECONDS * self.sample_rate_hz) - len(waveform), 0)
        codes = self._encoded(nn.functional.pad(waveform, (0, missing))).flatten(0, -2).T
        if missing:
            codes = codes[: math.ceil(len(waveform) / self.hop_samples)]
        return codes[:, self.skip_levels : self.levels]

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes (T, Q) of the first Q codebooks as a waveform (S,)."""
        if len(codes) == 0:
            return torch.zeros(0, device=codes.device)
        named = inspect.signature(self.model.decode).parameters
        # EnCodec has dimensions for pieces of a recording, and for their loudness, which these models do not use.
        frames = codes.T[None, None] if "audio_scales" in named else codes.T[None]
        given: dict[str, Any] = {"audio_scales": [None]} if "audio_scales" in named else {}
        waveform: Tensor = self.model.decode(audio_codes=frames, **given).audio_values
        return waveform.flatten().float()

    def _encoded(self, waveform: Tensor) -> Tensor:
        """Return the codes (..., Q, T) of all codebooks of one utterance (S,) in the codec's own shape.

        Raises:
            ConfigError: if the codec gives more than codes.
        """
        samples = waveform.detach().float().cpu().numpy()
        inputs = self.extractor(samples, sampling_rate=self.sample_rate_hz, return_tensors="pt")
        named = inspect.signature(self.model.encode).parameters
        given = {name: value.to(waveform.device) for name, value in inputs.items() if name in named}
        if "bandwidth" in named:
            given["bandwidth"] = self.model.config.target_bandwidths[-1]
        encoded = self.model.encode(**given)
        codes: Tensor = encoded.audio_codes
        if any(scale is not None for scale in getattr(encoded, "audio_scales", None) or ()) or any(
            size > 1 for size in codes.shape[:-2]
        ):
            raise ConfigError(
                f"{self.source!r} cuts recordings into pieces or stores their loudness beside the codes, and codes "
                "alone are no speech. Use another codec, for example facebook/encodec_24khz",
                key="source",
            )
        return codes

    @torch.no_grad()
    def _probe(self, size: int) -> tuple[int, int]:
        """Measure the number of codebooks and the samples of a frame.

        Raises:
            ConfigError: if the sample rate that the codec writes is not the one that it reads.
        """
        generator = torch.Generator().manual_seed(0)
        heard = 0.1 * torch.randn(PROBE_SECONDS * self.sample_rate_hz, generator=generator)
        books, frames = self._encoded(heard).shape[-2:]
        codes = torch.randint(size, (2 * PROBE_FRAMES, books), generator=generator)
        # The ends of a decoder may cost it samples, so two lengths are compared.
        hop = (len(self.decode(codes)) - len(self.decode(codes[:PROBE_FRAMES]))) // PROBE_FRAMES
        if abs(frames * hop - len(heard)) > 2 * hop:
            raise ConfigError(
                f"{self.source!r} reads {len(heard)} samples as {frames} frames, but writes {hop} samples a "
                "frame. Its speech has another sample rate than its input, or several channels. Use another codec",
                key="source",
            )
        return books, hop


def read_codec(folder: Path, source: str) -> tuple[Any, Any]:
    """Return the codec in a folder, and its feature extractor.

    Raises:
        ConfigError: with the key ``source``, if it is no codec of one channel, or its weights are not all there.
    """
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"{source!r} ({folder}) holds no config.json, so it is no codec of transformers. Correct `source`",
            key="source",
        )
    read_json(folder / "config.json")
    require_safetensors(folder, source)
    with quiet(), reading(source, "an audio codec"):
        from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
        if getattr(config, "audio_channels", 1) != 1:
            raise ConfigError(f"{source!r} is a codec of {config.audio_channels} channels. Use one of 1", key="source")
        model, told = AutoModel.from_pretrained(
            folder,
            config=config,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )
    if not all(callable(getattr(model, name, None)) for name in ("encode", "decode")):
        raise ConfigError(
            f"{source!r} is a {config.model_type!r} model, which has no encode and decode. Name an audio codec",
            key="source",
        )
    require_float_parameters(model, folder)
    wrong = sorted({*told["missing_keys"], *(entry[0] for entry in told["mismatched_keys"])})
    if wrong:
        raise ConfigError(
            f"{source!r} ({folder}) lacks {len(wrong)} tensors of its config.json, or has them in another shape "
            f"({', '.join(wrong[:4])}). Give a folder whose files belong together",
            key="source",
        )
    return model, extractor


def codebook_size(config: Any, source: str) -> int:
    """Return the number of codes of each codebook.

    Raises:
        ConfigError: if the configuration states neither codes nor the levels of a scalar quantiser.
    """
    if hasattr(config, "codebook_size"):
        return int(config.codebook_size)
    if hasattr(config, "quantization_levels"):  # finite scalar quantisation: one code names a level of each dimension
        return math.prod(config.quantization_levels)
    raise ConfigError(
        f"the config.json of {source!r} states no codebook_size, so it has no codes. Use another codec", key="source"
    )
