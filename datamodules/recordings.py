"""Recordings alone, whole or in stretches, to train a vocoder: no text is needed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from lhotse import MonoCut

from spectron.audio.io import read_audio
from spectron.audio.resampling import SampleRates, resample
from spectron.datamodules.items import Item, ItemMaker
from spectron.datamodules.manifest import read_manifest
from spectron.datamodules.speech import Source, SpeechDataModule
from spectron.datamodules.streaming import Batching
from spectron.datamodules.synthetic.corpus import SyntheticCorpus
from spectron.errors import ConfigError

STRETCHES, WHOLE = "stretches", "whole"


@dataclass
class Part:
    """Recordings of one manifest.

    Args:
        manifest: JSONL manifest.
        split: Its split; None takes the lines that name none.
        repeat: How often a pass over the training data comes by each of them, to weigh a small corpus against a large one.
    """

    manifest: str
    split: str | None = None
    repeat: int = 1

    def __post_init__(self) -> None:
        if self.repeat < 1:
            raise ConfigError(f"must be at least 1, got {self.repeat}", key="repeat")


class StretchMaker(ItemMaker):
    """A stretch of a recording, drawn anew every time, as the continuation; the prompt is empty."""

    def __init__(self, seconds: float, held_out: set[str]) -> None:
        super().__init__(seconds)
        self.held_out = held_out

    def seconds(self, cut: MonoCut) -> float:
        """A stretch is never longer than asked for."""
        return min(cut.duration, self.max_seconds)

    def refuse(self, cut: MonoCut, training: bool) -> str | None:
        """A speaker that training must not hear."""
        return "of a held-out speaker" if cut.supervisions[0].speaker in self.held_out else None

    def make(self, cut: MonoCut, rates: SampleRates, seed: int) -> Item:
        """The stretch at the spectrogram's rate."""
        recording = cut.recording
        wanted = min(round(self.max_seconds * recording.sampling_rate), recording.num_samples)
        start = random.Random(seed).randint(0, recording.num_samples - wanted)
        return _item(cut, start, wanted, rates)


class WholeMaker(ItemMaker):
    """A whole recording as the continuation, with its text where there is one; the prompt is empty."""

    def make(self, cut: MonoCut, rates: SampleRates, seed: int) -> Item:
        """The recording at the spectrogram's rate."""
        return _item(cut, 0, cut.recording.num_samples, rates)


class RecordingsDataModule(SpeechDataModule):
    """Gives stretches of recordings to train on and whole ones to validate on.

    Args:
        train: What to train on.
        val: What to validate on.
        held_out: More recordings whose speakers training must not hear; those of ``val`` always are left out, too.
        stretch_seconds: Length of a training stretch.
        batching: How batches are made.
        max_seconds: Longer recordings are left out of validation.
        max_broken_files: Audio files that may turn out unreadable before training stops.
        corpus: The synthetic corpus to write first, where manifests belong to one.
    """

    def __init__(
        self,
        train: list[Part],
        val: list[Part],
        held_out: list[Part] | None = None,
        stretch_seconds: float = 1.0,
        batching: Batching | None = None,
        max_seconds: float = 20.0,
        max_broken_files: int = 10,
        corpus: SyntheticCorpus | None = None,
    ) -> None:
        if stretch_seconds <= 0:
            raise ConfigError(f"must be above 0, got {stretch_seconds}", key="stretch_seconds")
        self.unheard: set[str] = set()
        self.held_out = [Source([part.manifest], part.split, WHOLE) for part in held_out or []]
        super().__init__(
            makers={STRETCHES: StretchMaker(stretch_seconds, self.unheard), WHOLE: WholeMaker(max_seconds)},
            train=[Source([part.manifest], part.split, STRETCHES, part.repeat) for part in train],
            val=[Source([part.manifest], part.split, WHOLE) for part in val],
            batching=batching or Batching(),
            lower_case=True,
            max_broken_files=max_broken_files,
            corpus=corpus,
        )

    def files(self) -> list[str]:
        """Every manifest, those of the held-out speakers too."""
        return sorted({*super().files(), *(manifest for source in self.held_out for manifest in source.manifests)})

    def setup(self, stage: str) -> None:
        """Read the manifests; first those whose speakers training must not hear."""
        for source in (*self.val_sources, *self.held_out):
            cuts = [
                cut
                for manifest in source.manifests
                for cut in read_manifest(manifest)
                if cut.custom["split"] == source.split
            ]
            self.unheard |= {cut.supervisions[0].speaker for cut in cuts} - {""}
        super().setup(stage)


def _item(cut: MonoCut, start: int, num_samples: int, rates: SampleRates) -> Item:
    """A stretch of a recording without a prompt."""
    waveform, rate = read_audio(cut.recording.sources[0].source, start, num_samples)
    supervision = cut.supervisions[0]
    speech = resample(waveform, rate, rates.speech_hz)
    return Item(cut.id, supervision.speaker, speech[:0], "", speech, supervision.text or "")
