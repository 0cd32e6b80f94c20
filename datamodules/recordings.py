"""Data module of recordings without text, whole or in segments, to train a vocoder."""

from __future__ import annotations

import random
from dataclasses import dataclass

from lhotse import MonoCut

from spectron.audio.io import read_audio
from spectron.audio.resampling import SampleRates, resample
from spectron.datamodules.items import Item, ItemMaker
from spectron.datamodules.manifest import read_manifest
from spectron.datamodules.speech import Repeat, Source, SpeechDataModule
from spectron.datamodules.streaming import Batching
from spectron.datamodules.synthetic.corpus import SyntheticCorpus
from spectron.ranges import CountOrZero, Seconds, checks_ranges

STRETCHES, WHOLE = "stretches", "whole"


@checks_ranges
@dataclass
class Part:
    """Recordings of one manifest.

    Args:
        manifest: JSONL manifest.
        split: Split of the manifest; None takes the lines without a split.
        repeat: How often an epoch contains each recording, to give a small corpus more weight.
    """

    manifest: str
    split: str | None = None
    repeat: Repeat = 1


@checks_ranges
class StretchMaker(ItemMaker):
    """Maker with a random segment of a recording as continuation, and an empty prompt."""

    def __init__(self, seconds: Seconds, held_out: set[str]) -> None:
        super().__init__(seconds)
        self.held_out = held_out

    def seconds(self, cut: MonoCut) -> float:
        """Return the seconds of the segment."""
        return min(cut.duration, self.max_seconds)

    def refuse(self, cut: MonoCut, training: bool) -> str | None:
        """Refuse recordings of held-out speakers."""
        return "of a held-out speaker" if cut.supervisions[0].speaker in self.held_out else None

    def make(self, cut: MonoCut, rates: SampleRates, seed: int) -> Item:
        """Read the segment at the sample rate of the spectrogram."""
        recording = cut.recording
        wanted = min(round(self.max_seconds * recording.sampling_rate), recording.num_samples)
        start = random.Random(seed).randint(0, recording.num_samples - wanted)
        return _item(cut, start, wanted, rates)


class WholeMaker(ItemMaker):
    """Maker with a whole recording and its text, if any, as continuation, and an empty prompt."""

    def make(self, cut: MonoCut, rates: SampleRates, seed: int) -> Item:
        """Read the recording at the sample rate of the spectrogram."""
        return _item(cut, 0, cut.recording.num_samples, rates)


@checks_ranges
class RecordingsDataModule(SpeechDataModule):
    """Segments of recordings for training, and whole recordings for validation.

    Args:
        train: Training data.
        val: Validation data. Their speakers are left out of training.
        held_out: More recordings whose speakers are left out of training.
        stretch_seconds: Duration of a training segment.
        batching: Size and order of batches.
        max_seconds: Longer recordings are left out of validation.
        max_broken_files: Number of unreadable audio files at which training still continues.
        corpus: Synthetic corpus of the manifests, which is written before the first use.
    """

    def __init__(
        self,
        train: list[Part],
        val: list[Part],
        held_out: list[Part] | None = None,
        stretch_seconds: Seconds = 1.0,
        batching: Batching | None = None,
        max_seconds: Seconds = 20.0,
        max_broken_files: CountOrZero = 10,
        corpus: SyntheticCorpus | None = None,
    ) -> None:
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

    def manifests(self) -> list[str]:
        """Return all manifests without repetition, including those of held-out speakers."""
        return sorted({*super().manifests(), *(manifest for source in self.held_out for manifest in source.manifests)})

    def setup(self, stage: str) -> None:
        """Read the manifests, first those of held-out speakers."""
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
    """Return the item of a segment, without a prompt."""
    waveform, rate = read_audio(cut.recording.sources[0].source, start, num_samples)
    supervision = cut.supervisions[0]
    speech = resample(waveform, rate, rates.speech_hz)
    return Item(cut.id, supervision.speaker, speech[:0], "", speech, supervision.text or "")
