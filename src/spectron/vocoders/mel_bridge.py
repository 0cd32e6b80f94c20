"""Comparison and exact conversion between the spectrograms of a pre-trained vocoder and of the speech head.

Two spectrograms of the same frames and bands differ in a function of each single number, which has an inverse. Sample
rate, hop, window, number of bands, band edges and mel scale define frames and bands; these have no exact conversion.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from typing import Literal

import torch
import yaml
from torch import Tensor, nn

from spectron.audio.mel import MelConfig
from spectron.errors import ConfigError
from spectron.ranges import Finite, Positive, checks_ranges

log = logging.getLogger(__name__)

Bridging = Literal["none", "exact"]
CONVERTIBLE = ("floor", "area_norm")
# One unit of a natural logarithm of magnitudes in other scales; 20 log10 of magnitudes is 10 log10 of their squares.
UNITS = {"natural": 1.0, "log10": 1 / math.log(10), "decibel": 20 / math.log(10)}


@checks_ranges
@dataclass
class MelFormat:
    """Numeric format of a vocoder's spectrogram; the defaults are the speech head's format.

    A ``MelConfig`` has none of these settings; each of them is always converted exactly.

    Args:
        log: Logarithm of the magnitudes: ``natural``, ``log10``, or ``decibel`` (20 log10).
        centred: Whether frame t is centred on sample ``t * hop`` (torch's and librosa's ``center=True``) or half a hop
            later, in the middle of its samples, as in the authors' HiFi-GAN.
        gain: Factor of the magnitudes before the logarithm.
        mean: Subtracted after the logarithm, one number or one per band.
        std: Divisor after that, one number or one per band.
    """

    log: Literal["natural", "log10", "decibel"] = "natural"
    centred: bool = True
    gain: Positive = 1.0
    mean: Finite | list[Finite] = 0.0
    std: Positive | list[Positive] = 1.0


HEADS_OWN = MelFormat()


def require_same_mel(head: MelConfig, trained_on: MelConfig, source: str, bridge: Bridging = "none") -> None:
    """Refuse a pre-trained vocoder whose spectrogram settings are not the speech head's.

    Args:
        head: The speech head's settings.
        trained_on: The settings that the vocoder was trained on.
        source: Folder or name that the user gave for it.
        bridge: ``exact`` accepts differences that a ``MelBridge`` converts, in floor and area normalisation.

    Raises:
        ConfigError: with the key ``source``; names every setting that differs with both values, and settings of the
            head that would agree.
    """
    differing = differences(head, trained_on)
    if bridge == "exact":
        differing = {key: pair for key, pair in differing.items() if key not in CONVERTIBLE}
    if not differing:
        return
    listed = "; ".join(f"{key} is {theirs}, the head has {ours}" for key, (theirs, ours) in differing.items())
    convertible = not set(differing) - set(CONVERTIBLE)
    bridging = ", or set `bridge: exact` next to `source`, which converts them exactly" if convertible else ""
    kept = " (`bridge: exact` converts only floor and area_norm)" if bridge == "exact" else ""
    raise ConfigError(
        f"{source!r} was trained on another spectrogram than the speech head's: {listed}{kept}. Give the head the "
        f"vocoder's settings, model.head.init_args.mel: {as_yaml(trained_on)}{bridging}; or use a vocoder of the "
        "head's settings",
        key="source",
    )


def differences(head: MelConfig, trained_on: MelConfig) -> dict[str, tuple[str, str]]:
    """Return the settings that differ, with the vocoder's and the head's value; times are compared in samples."""
    found = {}
    for key, theirs in asdict(trained_on).items():
        ours = getattr(head, key)
        in_samples = {"frame_shift_ms": "hop_samples", "window_ms": "window_samples"}.get(key)
        if in_samples is not None:
            counts = [getattr(mel, in_samples) for mel in (trained_on, head)]
            pairs = zip((theirs, ours), counts, (trained_on, head), strict=True)
            values = [f"{_short(value, count, mel.sample_rate_hz)} ({count} samples)" for value, count, mel in pairs]
            same = counts[0] == counts[1]
        else:
            values = [str(theirs), str(ours)]
            same = math.isclose(theirs, ours, rel_tol=1e-6) if isinstance(theirs, float) else theirs == ours
        if not same:
            found[key] = (values[0], values[1])
    return found


def as_yaml(mel: MelConfig) -> str:
    """Format settings as one line of YAML, with times as the shortest decimals that give the same number of samples."""
    values = asdict(mel)
    for key, count in (("frame_shift_ms", mel.hop_samples), ("window_ms", mel.window_samples)):
        values[key] = _short(values[key], count, mel.sample_rate_hz)
    return yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=math.inf).strip()


def _short(milliseconds: float, samples: int, rate_hz: int) -> float:
    """Return the shortest decimal number of milliseconds that gives so many samples."""
    rounded = (round(milliseconds, digits) for digits in range(1, 9))
    return next((value for value in rounded if round(rate_hz * value / 1000) == samples), milliseconds)


class MelBridge(nn.Module):
    """Conversion of the speech head's log-mel to that of a vocoder, number by number.

    With x the head's natural logarithm of a band's magnitude, the vocoder's number is::

        y = (u * max(x + ln(gain) + ln(a), ln(floor)) - mean) / std

    ``u`` is the unit of the logarithm (1, 1 / ln 10, or 20 / ln 10 for decibels), and ``a`` a constant per band: the
    vocoder's filter divided by the head's. It is 2 / (width of the band in Hz) if only the vocoder divides bands by
    their widths, and its inverse if only the head does. ``floor`` is the vocoder's: smaller values are raised to it. If
    the head's floor is higher than the vocoder's, values at the head's floor stay there; y is exact wherever x is above
    it. A vocoder of power spectrograms has no such formula: sums of powers are not a function of sums of magnitudes.

    Args:
        head: The speech head's settings.
        trained_on: The vocoder's settings, different at most in floor and area normalisation.
        wanted: Numeric format of the vocoder's spectrogram.
    """

    offset: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, head: MelConfig, trained_on: MelConfig, wanted: MelFormat = HEADS_OWN) -> None:
        super().__init__()
        self.unit = UNITS[wanted.log]
        self.log_floor = math.log(trained_on.floor)
        # If a vocoder centres a frame within its hop, its output is half a hop later than the head's frame.
        self.lag_samples = 0 if wanted.centred else trained_on.hop_samples // 2
        self.register_buffer("offset", math.log(wanted.gain) + band_offsets(head, trained_on), persistent=False)  # (M,)
        self.register_buffer("mean", torch.as_tensor(wanted.mean, dtype=torch.float32), persistent=False)
        self.register_buffer("std", torch.as_tensor(wanted.std, dtype=torch.float32), persistent=False)
        if head.floor > trained_on.floor * (1 + 1e-6):
            message = (
                "the speech head's mel.floor of %g is above the vocoder's %g: silence will be as loud as that floor"
            )
            log.info(message, head.floor, trained_on.floor)

    def forward(self, mel: Tensor) -> Tensor:
        """Convert the head's log-mel (..., M) to the vocoder's (..., M)."""
        return (self.unit * (mel + self.offset).clamp(min=self.log_floor) - self.mean) / self.std


def band_offsets(head: MelConfig, trained_on: MelConfig) -> Tensor:
    """Compute the natural logarithm of the vocoder's filter divided by the head's, one constant per band: (M,)."""
    ours, theirs = head.filter_bank().sum(0), trained_on.filter_bank().sum(0)
    # A band that is too narrow to contain a frequency is at the floor with either normalisation.
    return torch.where(ours > 0, theirs / ours.clamp(min=torch.finfo(ours.dtype).tiny), 1.0).log()
