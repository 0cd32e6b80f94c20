"""Items of a batch: prompt, continuation if any, and their texts, made from the cuts of a manifest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch
from lhotse import MonoCut, Recording
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from spectron.audio.io import read_audio
from spectron.audio.resampling import SampleRates, resample
from spectron.audio.speech_presence import is_silent
from spectron.batch import SpeechBatch, SpokenLength, Word
from spectron.datamodules.manifest import words_of
from spectron.datamodules.splitting import Splitting, split_words, text_of
from spectron.errors import DataError
from spectron.randomness import seed_of
from spectron.ranges import Seconds, checks_ranges

MAKER = "maker"


@dataclass
class Item:
    """Unpadded row of a ``SpeechBatch``: prompt (S,) and continuation (S',) with texts."""

    id: str
    speaker: str
    prompt: Tensor
    prompt_text: str
    continuation: Tensor = field(default_factory=lambda: torch.zeros(0))
    continuation_text: str = ""
    answers: list[str] = field(default_factory=list)
    split: str = ""
    continuation_words: list[Word] = field(default_factory=list)


@checks_ranges
class ItemMaker(ABC):
    """Base class of functions from a cut to an item.

    Args:
        max_seconds: Longer utterances are left out.
    """

    def __init__(self, max_seconds: Seconds) -> None:
        self.max_seconds = max_seconds

    def seconds(self, cut: MonoCut) -> float:
        """Return the seconds of speech in an item, for the size of batches."""
        return cut.duration

    def refuse(self, cut: MonoCut, training: bool) -> str | None:
        """Return the reason why a cut cannot be used; None if it can.

        Raises:
            DataError: if the data as a whole cannot be used for this purpose.
        """
        return f"longer than max_seconds={self.max_seconds:g}" if self.seconds(cut) > self.max_seconds else None

    def lengths(self, cut: MonoCut) -> list[SpokenLength]:
        """Return the length of an item, or its extreme lengths if it is drawn at random."""
        return [SpokenLength(cut.id, self.seconds(cut), 0.0, (cut.supervisions[0].text or "", ""))]

    @abstractmethod
    def make(self, cut: MonoCut, rates: SampleRates, seed: int) -> Item:
        """Read a cut's audio and return the item; random choices depend on the seed.

        Raises:
            DataError: if the audio is broken.
        """


@checks_ranges
class ContinuationMaker(ItemMaker):
    """Maker that cuts an utterance into prompt and continuation."""

    def __init__(self, splitting: Splitting, max_seconds: Seconds) -> None:
        super().__init__(max_seconds)
        self.splitting = splitting

    def refuse(self, cut: MonoCut, training: bool) -> str | None:
        """Refuse utterances that are too long, or too short for a prompt and a continuation."""
        words = words_of(cut)
        if words is None and (self.splitting.require_words or self.splitting.word_boundary):
            raise DataError(
                f"{cut.custom['where']} has no word times, so the texts of prompt and continuation and the word "
                "boundaries are unknown: add 'words' to the manifest, or set splitting.require_words and "
                "splitting.word_boundary to false"
            )
        if words == [] and self.splitting.require_words:
            return "without words"
        if not self.splitting.allows(cut.duration, words):
            prompt, continuation = self.splitting.bounds[0], self.splitting.min_continuation_seconds
            return f"too short for a prompt of {prompt:g} s and a continuation of {continuation:g} s"
        return super().refuse(cut, training)

    def lengths(self, cut: MonoCut) -> list[SpokenLength]:
        """Return the lengths with the shortest and with the longest prompt."""
        shortest, longest = self.splitting.bounds
        cuts = sorted({shortest, max(shortest, min(longest, cut.duration - self.splitting.min_continuation_seconds))})
        return [SpokenLength(cut.id, at, cut.duration - at, (cut.supervisions[0].text or "", "")) for at in cuts]

    def make(self, cut: MonoCut, rates: SampleRates, seed: int) -> Item:
        """Read prompt and continuation, each at its sample rate."""
        words = words_of(cut)
        waveform, rate = _read(cut.recording)
        at = self.splitting.cut_at(cut.duration, words, seed)
        prompt, continuation = waveform[: round(at * rate)], waveform[round(at * rate) :]
        before, after = split_words(words or [], at)
        return Item(
            id=cut.id,
            speaker=cut.supervisions[0].speaker,
            prompt=resample(prompt, rate, rates.prompt_hz),
            prompt_text=text_of(before),
            continuation=resample(continuation, rate, rates.speech_hz),
            continuation_text=text_of(after),
            continuation_words=after,
        )


class QuestionMaker(ItemMaker):
    """Maker with a spoken question as prompt and its spoken answer, if any, as continuation."""

    def seconds(self, cut: MonoCut) -> float:
        """Return the seconds of question and answer together."""
        answer: Recording | None = cut.custom.get("answer_recording")
        return cut.duration + (answer.duration if answer else 0.0)

    def refuse(self, cut: MonoCut, training: bool) -> str | None:
        """Refuse questions that are too long or lack an accepted answer or, in training, a spoken one."""
        if not cut.supervisions[0].text:
            return "without the question's text"
        if not cut.custom["answers"]:
            return "without an accepted answer ('answers')"
        if training and not (cut.custom.get("answer_recording") and cut.custom.get("answer_text")):
            return "without a spoken answer and its text, so not for training"
        return super().refuse(cut, training)

    def lengths(self, cut: MonoCut) -> list[SpokenLength]:
        """Return the length of question and answer."""
        answer = self.seconds(cut) - cut.duration
        return [
            SpokenLength(
                cut.id, cut.duration, answer, (cut.supervisions[0].text or "", cut.custom.get("answer_text") or "")
            )
        ]

    def make(self, cut: MonoCut, rates: SampleRates, seed: int) -> Item:
        """Read question and answer, each at its sample rate."""
        waveform, rate = _read(cut.recording)
        supervision = cut.supervisions[0]
        item = Item(cut.id, supervision.speaker, resample(waveform, rate, rates.prompt_hz), supervision.text)
        if "answer_recording" in cut.custom:
            waveform, rate = _read(cut.custom["answer_recording"])
            item.continuation = resample(waveform, rate, rates.speech_hz)
            item.continuation_words = cut.custom["answer_words"]
        item.continuation_text = cut.custom.get("answer_text", "")
        item.answers = list(cut.custom["answers"])
        return item


class TranscriptionMaker(ItemMaker):
    """Maker with the whole utterance as prompt and its transcript as prompt text, without a continuation."""

    def refuse(self, cut: MonoCut, training: bool) -> str | None:
        """Refuse utterances that are too long or have no transcript."""
        return super().refuse(cut, training) if cut.supervisions[0].text else "without a transcript"

    def make(self, cut: MonoCut, rates: SampleRates, seed: int) -> Item:
        """Read the utterance at the encoder's sample rate."""
        waveform, rate = _read(cut.recording)
        supervision = cut.supervisions[0]
        return Item(cut.id, supervision.speaker, resample(waveform, rate, rates.prompt_hz), supervision.text)


def _read(recording: Recording) -> tuple[Tensor, int]:
    """Read a whole recording as mono; the given length detects truncated files with an intact header.

    Raises:
        DataError: if the recording is broken or silent.
    """
    file = recording.sources[0].source
    waveform, rate = read_audio(file, num_samples=recording.num_samples)
    if is_silent(waveform):
        raise DataError(f"{file} is silent: record it again, or remove its line", file=file)
    return waveform, rate


class SpeechDataset(Dataset[SpeechBatch]):
    """Dataset from ``(place, cuts)`` to batches, which depend only on the seed, the place and the cuts.

    Args:
        makers: Makers of items by name; ``custom["maker"]`` of a cut names its maker.
        rates: Sample rates of prompts and continuations.
        seed: Seed of the random choices of the makers.
    """

    def __init__(self, makers: dict[str, ItemMaker], rates: SampleRates, seed: int) -> None:
        self.makers = makers
        self.rates = rates
        self.seed = seed

    def __getitem__(self, index: tuple[object, Sequence[MonoCut]]) -> SpeechBatch:
        """Read and collate a batch; unreadable cuts are left out and listed in ``skipped``."""
        place, cuts = index
        items, skipped = [], []
        for cut in cuts:
            try:
                item = self.makers[cut.custom[MAKER]].make(cut, self.rates, seed_of(self.seed, place, cut.id))
                items.append(replace(item, split=cut.custom["split"] or ""))
            except DataError as error:
                skipped.append(f"{cut.id}: {error}")
        return collate(items, skipped)


class BatchesOnDemand(Sequence[SpeechBatch]):
    """Batches that are read on access; the last two are cached.

    Args:
        dataset: Dataset that reads a batch.
        places: Index into the dataset of each batch.
    """

    def __init__(self, dataset: SpeechDataset, places: list[tuple[object, Sequence[MonoCut]]]) -> None:
        self.places = places
        self.read = lru_cache(maxsize=2)(lambda place: dataset[places[place]])

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.places)

    def __getitem__(self, place: int) -> SpeechBatch:  # type: ignore[override]
        """Read a batch."""
        return self.read(place)


def collate(items: list[Item], skipped: list[str]) -> SpeechBatch:
    """Return the batch of items, padded with zeros; without items B is 0."""
    return SpeechBatch(
        ids=[item.id for item in items],
        prompt=_padded([item.prompt for item in items]),
        prompt_num_samples=torch.tensor([len(item.prompt) for item in items], dtype=torch.long),
        prompt_text=[item.prompt_text for item in items],
        continuation=_padded([item.continuation for item in items]),
        continuation_num_samples=torch.tensor([len(item.continuation) for item in items], dtype=torch.long),
        continuation_text=[item.continuation_text for item in items],
        speakers=[item.speaker for item in items],
        answers=[item.answers for item in items],
        splits=[item.split for item in items],
        continuation_words=[item.continuation_words for item in items],
        skipped=skipped,
    )


def _padded(waveforms: list[Tensor]) -> Tensor:
    return pad_sequence(waveforms, batch_first=True) if waveforms else torch.zeros(0, 0)
