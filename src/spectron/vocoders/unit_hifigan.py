"""Unit HiFi-GAN: units to waveform without a spectrogram in between (arXiv:2104.00355), in speechbrain's format."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from spectron.audio.codes import CodeFormat
from spectron.batch import unpadded
from spectron.contracts import Vocoder
from spectron.errors import CheckpointError, ConfigError
from spectron.vocoders.hifigan_formats import speechbrain_generator, without_weight_norm
from spectron.vocoders.hifigan_speechbrain import read_weights
from spectron.weights.hub import locate, reading
from spectron.weights.hyperpyyaml_values import read_hyperparams
from spectron.weights.speechbrain_import import import_speechbrain
from spectron.weights.state_dicts import require_cover

DESCRIBED = "hyperparams.yaml"
TABLE = "unit_embedding.weight"
# Parts of the file that have no effect here: the weights of several layers' units, and the lengths of runs.
UNUSED = ("attn_pooling.", "var_predictor.")
SHORTEST_FRAMES = 16  # the convolutions repeat this much beyond the ends, mirrored


class UnitHiFiGANVocoder(Vocoder):
    """speechbrain's unit HiFi-GAN of one unit a frame, such as ``speechbrain/hifigan-hubert-k1000-LibriTTS``.

    The speech head gives the unit of each frame, so a predictor of lengths in the folder has no effect. The folder does
    not state the tokenizer that it was trained on: use units of the same encoder, layer and centroids. Rows are spoken
    one by one, because the convolutions reach beyond the end of a row.

    Args:
        format: Format of the speech head (supplied by the platform).
        source: Folder or hub name with ``hyperparams.yaml`` and ``generator.ckpt`` or ``generator.safetensors``.
        revision: Revision on the hub.

    Raises:
        ConfigError: if the source cannot be read, needs a speaker, or was made for other units, rates or sample rates.
    """

    takes = CodeFormat
    format: CodeFormat

    def __init__(self, format: CodeFormat, source: str, revision: str | None = None) -> None:
        super().__init__(format)
        folder = locate(source, revision)
        if not (folder / DESCRIBED).is_file():
            raise ConfigError(f"{source!r} ({folder}) holds no {DESCRIBED}. Name another folder", key="source")
        self.described = (folder / DESCRIBED).read_text(encoding="utf-8")
        with reading(source, "a unit HiFi-GAN"):
            values = read_hyperparams(self.described)
            settings = settings_of(values, source)
            tensors = without_weight_norm(read_weights(folder, source))
            tensors = {name: value for name, value in tensors.items() if not name.startswith(UNUSED)}
            self.hop_samples = math.prod(settings["upsample_factors"])
            table = tensors.pop(TABLE, torch.zeros(0, 0))
            require_units(format, len(table), values.get("sample_rate"), self.hop_samples, source)
            self.unit_embedding = nn.Embedding.from_pretrained(table, freeze=False)
            self.generator = speechbrain_generator(**settings)
            try:
                require_cover(self.generator.state_dict(), tensors, repr(source), key="source")
            except CheckpointError as error:
                raise ConfigError(str(error), key="source") from error
            self.generator.load_state_dict(tensors)

    def forward(self, codes: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Convert units (B, T, 1) with (B,) valid frames to a waveform (B, S) and (B,) samples, a hop per frame.

        Raises:
            DataError: naming a unit that the tokenizer does not have.
        """
        self.format.require_within(codes, num_frames)
        with torch.autocast(codes.device.type, enabled=False):
            rows = [self.speak(row[:, 0]) for row in unpadded(codes, num_frames)]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), num_frames * self.hop_samples

    def speak(self, units: Tensor) -> Tensor:
        """Convert units (T,) to a waveform (T * hop,); short rows are continued with their last unit, and cut again."""
        if len(units) == 0:
            return torch.zeros(0, device=units.device)
        missing = max(SHORTEST_FRAMES - len(units), 0)
        longer = torch.cat([units, units[-1:].expand(missing)])
        waveform: Tensor = self.generator(self.unit_embedding(longer + 1).T[None])  # row 0 is speechbrain's padding
        return waveform[0, 0, : len(units) * self.hop_samples]

    def save(self, folder: Path, half: bool = False) -> dict[str, Any]:
        """Write it in its format, in 16-bit floats if ``half``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / DESCRIBED).write_text(self.described, encoding="utf-8")
        tensors = {TABLE: self.unit_embedding.weight, **self.generator.state_dict()}
        dtype = torch.float16 if half else torch.float32
        plain = {name: value.detach().cpu().to(dtype).contiguous() for name, value in tensors.items()}
        save_file(plain, folder / "generator.safetensors")
        return {}


def settings_of(values: dict[str, Any], source: str) -> dict[str, Any]:
    """Return the arguments of the generator without those of units, lengths and speakers.

    Raises:
        ConfigError: if the folder describes another class, or a generator that needs more than units.
    """
    given = dict(values.get("generator") or {})
    kind = given.pop("class", "")
    if kind.rpartition(".")[2] != "UnitHifiganGenerator":
        raise ConfigError(
            f"the generator of {source!r} is a {kind or 'nameless class'}, not a UnitHifiganGenerator. For one of "
            "spectrograms use HiFiGANVocoder",
            key="source",
        )
    for name in ("multi_speaker", "skip_token_embedding", "cond_channels"):
        if given.get(name):
            raise ConfigError(f"{source!r} has {name}: it needs more than units. Use another vocoder", key="source")
    import_speechbrain("UnitHiFiGANVocoder")
    from speechbrain.lobes.models.HifiGAN import HifiganGenerator

    known = inspect.signature(HifiganGenerator).parameters
    return {name: value for name, value in given.items() if name in known}


def require_units(format: CodeFormat, rows: int, sample_rate_hz: object, hop_samples: int, source: str) -> None:
    """Refuse a generator that was made for other units than the speech head's.

    Raises:
        ConfigError: naming both.
    """
    rate = sample_rate_hz if isinstance(sample_rate_hz, int) else format.sample_rate_hz
    stated = f"{rows - 1} units at {rate / hop_samples:g} Hz, for speech at {rate} Hz"
    same = format.sizes == (rows - 1,) and (rate, rate / hop_samples) == (format.sample_rate_hz, format.rate_hz)
    if not same:
        raise ConfigError(
            f"{source!r} was made for {stated}, but the speech head gives {format}, for speech at "
            f"{format.sample_rate_hz} Hz. Use the tokenizer that it was trained on",
            key="source",
        )
