"""Predictors of listeners' opinion of a recording's quality."""

from __future__ import annotations

from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from spectron.audio.resampling import resample
from spectron.errors import MissingExtraError, require_extra
from spectron.evaluation.judges.chunking import LEAST_SECONDS
from spectron.evaluation.judges.judge import QualityPredictor

Scale = Literal["overall", "signal", "background", "p808"]


class DNSMOSPredictor(QualityPredictor):
    """Microsoft's DNSMOS (arXiv:2010.15258, P.835: arXiv:2110.01763) from the wheel ``speechmos``, on the CPU.

    The result equals ``speechmos.dnsmos.run`` at 16 kHz: the mean over windows of 9.01 s with a shift of one second; a
    shorter recording is repeated to fill a window. Its training data are ratings of noisy speech before and after noise
    suppression. It measures noise and distortion, and hardly whether synthetic speech sounds human. Other sample rates
    are converted. Samples beyond full scale are clipped, as in a wav.

    Args:
        scale: ``overall``, ``signal`` (the voice alone) and ``background`` of ITU-T P.835, or ``p808`` of P.808.
    """

    RATE_HZ = 16000
    COLUMNS: dict[str, str] = {"overall": "ovrl_mos", "signal": "sig_mos", "background": "bak_mos", "p808": "p808_mos"}  # noqa: RUF012

    def __init__(self, scale: Scale = "overall") -> None:
        super().__init__()
        self.scale = scale
        self.predictor: Any = None

    @property
    def title(self) -> str:
        """Return class, package and scale."""
        package = "speechmos" if self.missing() else f"speechmos {version('speechmos')}"
        return f"DNSMOSPredictor({package}, {self.scale})"

    def missing(self) -> str | None:
        """Return which package is not installed."""
        try:
            require_extra("judges", "DNSMOSPredictor", "speechmos", "onnxruntime")
        except MissingExtraError as error:
            return str(error)
        return None

    def weight_files(self) -> list[Path]:
        """Return the files of the two networks: of P.835 and of P.808."""
        return [
            Path(str(files("speechmos") / "dnsmos_models" / name)) for name in ("sig_bak_ovr.onnx", "model_v8.onnx")
        ]

    def load(self) -> None:
        """Start the two networks."""
        from speechmos.dnsmos import DNSMOS

        self.predictor = DNSMOS(*map(str, self.weight_files()))

    def rate(self, waveforms: list[Tensor], sample_rate_hz: int) -> list[float | None]:
        """Return predicted mean opinion scores; None for digital silence and for less than 0.1 s."""
        return [self.rate_one(resample(waveform.cpu().float(), sample_rate_hz, self.RATE_HZ)) for waveform in waveforms]

    def rate_one(self, waveform: Tensor) -> float | None:
        """Return the score of one waveform (S,) at 16 kHz."""
        if len(waveform) < LEAST_SECONDS * self.RATE_HZ or not waveform.any():
            return None
        scores = self.predictor(waveform.clamp(-1, 1).numpy(), self.RATE_HZ, False)
        return float(scores[self.COLUMNS[self.scale]])
