"""Recognisers that write down what the generated speech says."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from evaluation.judges.contracts import Transcriber
from spectron.audio.resampling import resample
from spectron.errors import ConfigError

if TYPE_CHECKING:
    from spectron.pretraining import CTCModel


class CTCTranscriber(Transcriber):
    """A CTC model that the project trained and exported.

    Args:
        folder: Folder that ``spectron export`` wrote.

    Raises:
        ConfigError: if there is no such folder or, at ``load``, if it holds another kind of model.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        if not (Path(folder) / "config.yaml").is_file():
            raise ConfigError(
                f"CTCTranscriber.folder: {folder} has no config.yaml; name a folder that `spectron export` wrote from a CTC run"
            )
        self.folder = folder
        self.model: CTCModel

    @property
    def title(self) -> str:
        """Class and folder."""
        return f"CTCTranscriber({self.folder})"

    def load(self) -> None:
        """Build the model that the folder describes, with its weights."""
        from spectron.experiment import Experiment
        from spectron.pretraining import CTCModel

        module = Experiment.read(Path(self.folder) / "config.yaml", model_only=True).module()
        model = getattr(module, "model", module)
        if not isinstance(model, CTCModel):
            raise ConfigError(f"CTCTranscriber.folder: {self.folder} holds a {type(model).__name__}; a CTCModel is needed to hear words")
        self.model = model

    def transcribe(self, waveforms: list[Tensor], sample_rate_hz: int) -> list[str]:
        """Words heard in each waveform (S,)."""
        device = next(self.model.parameters()).device
        rate = self.model.encoder.sample_rate_hz
        rows = [resample(waveform.cpu().float(), sample_rate_hz, rate).to(device) for waveform in waveforms]
        num_samples = torch.tensor([len(row) for row in rows], device=device)
        return self.model.transcribe(pad_sequence(rows, batch_first=True), num_samples)


class PocketSphinxTranscriber(Transcriber):
    """CMU PocketSphinx with the American English models of its own wheel: independent of anything trained here, on the CPU.

    It hears open English from a dictionary of 134 000 words about five times faster than real time; on clean read speech it is far
    worse than a neural recogniser, so read its word error rates beside those of the vocoder's ceiling.

    Raises:
        ConfigError: if the package is not installed.
    """

    RATE_HZ = 16000

    def __init__(self) -> None:
        super().__init__()
        try:
            import pocketsphinx
        except ImportError as error:
            raise ConfigError("PocketSphinxTranscriber needs the package pocketsphinx: pip install pocketsphinx==5.1.1") from error
        self.package = pocketsphinx

    @property
    def title(self) -> str:
        """Class, package and models."""
        return f"PocketSphinxTranscriber(pocketsphinx {version('pocketsphinx')}, en-us)"

    def load(self) -> None:
        """Start the decoder."""
        self.decoder = self.package.Decoder(samprate=self.RATE_HZ, loglevel="FATAL")

    def transcribe(self, waveforms: list[Tensor], sample_rate_hz: int) -> list[str]:
        """Words heard in each waveform (S,)."""
        return [self.hear(resample(waveform.cpu().float(), sample_rate_hz, self.RATE_HZ)) for waveform in waveforms]

    def hear(self, waveform: Tensor) -> str:
        """Words of one waveform (S,) at 16 kHz."""
        # A digital silence has no logarithm and breaks the decoder's normalisation.
        if not waveform.any():
            return ""
        samples = (waveform.clamp(-1, 1) * 32767).round().to(torch.int16).numpy().astype("<i2")
        self.decoder.start_utt()
        # As a whole: in pieces, the running cepstral mean would make a result depend on what was heard before.
        self.decoder.process_raw(samples.tobytes(), full_utt=True)
        self.decoder.end_utt()
        hypothesis = self.decoder.hyp()
        return "" if hypothesis is None else hypothesis.hypstr
