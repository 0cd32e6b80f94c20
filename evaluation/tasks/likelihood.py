"""Likelihood pairs: fraction of pairs in which the right recording has a higher score than the wrong one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from lightning import LightningDataModule
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from spectron.audio.resampling import resample
from spectron.batch import SpeechBatch, select, unpadded
from spectron.context_length import lengths_of, require_fits_context
from spectron.contracts import ScoresSpeech
from spectron.errors import ConfigError
from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.results.records import Record
from spectron.evaluation.results.summary import finite
from spectron.evaluation.tasks.pair_accuracy import (
    SpectrogramPairAccuracy,
    SpectrogramPairTies,
    TextPairAccuracy,
    TextPairTies,
)
from spectron.evaluation.tasks.task import MODEL, Bench, Task
from spectron.model import SpectronModel
from spectron.ranges import Count, checks_ranges

SIDES = ("positive", "negative")


@dataclass
class Scores:
    """Text and spectrogram scores (B,) of recordings; higher means likelier, NaN means no score."""

    text: Tensor
    spectrogram: Tensor


@checks_ranges
class LikelihoodPairs(Task):
    """Pairs such as those of sBLIMP, sWUGGY, StoryCloze and SALMon, with two separate scores.

    ``docs/likelihood_pairs.md`` defines the scores. For the text score the whole recording is the prompt, and its words
    are the text. For the spectrogram score the beginning that both recordings share is the prompt, and the rest is the
    continuation. Recordings without a shared beginning are cut in the middle.

    Args:
        data: ``spectron.datamodules.PairsDataModule``.
        num_items: Number of pairs, evenly spaced over the data; None takes all.
    """

    def __init__(self, data: LightningDataModule, num_items: Count | None = None) -> None:
        super().__init__(
            data, [TextPairAccuracy(), SpectrogramPairAccuracy(), TextPairTies(), SpectrogramPairTies()], num_items
        )

    def prepare(self, bench: Bench) -> None:
        """Read the manifest of pairs.

        Raises:
            ConfigError: if the system has no likelihoods.
        """
        if not isinstance(bench.system, ScoresSpeech):
            raise ConfigError(
                f"{type(bench.system).__name__} has no likelihoods: define `score_speech` "
                "(spectron.contracts.ScoresSpeech), or remove the tasks of class LikelihoodPairs"
            )
        super().prepare(bench)

    def batch(self, place: int) -> SpeechBatch:
        """Return the right recordings, whose ids are those of the pairs."""
        return cast(Any, self.batches)[place][0]

    def systems(self, bench: Bench) -> list[str]:
        """Return the system under test only: recordings have no likelihood."""
        return [MODEL]

    @torch.inference_mode()
    def judge(self, system: str, place: int, bench: Bench, rows: list[int] | None = None) -> list[Record]:
        """Score both sides of a batch of pairs."""
        sides = [side if rows is None else select(side, rows) for side in cast(Any, self.batches)[place]]
        if not sides[0].ids:
            return []
        right, wrong = (self.scores(side, bench) for side in sides)
        records = []
        for row, name in enumerate(sides[0].ids):
            text = (float(right.text[row]), float(wrong.text[row]))
            spectrogram = (float(right.spectrogram[row]), float(wrong.spectrogram[row]))
            parts = {
                "pair_accuracy_text": part_of(text),
                "pair_accuracy_spectrogram": part_of(spectrogram),
                "pair_ties_text": tie_of(text),
                "pair_ties_spectrogram": tie_of(spectrogram),
            }
            facts = {
                **{f"{side}_text": batch.continuation_text[row] for side, batch in zip(SIDES, sides, strict=True)},
                "scores": {f"text_{side}": finite(value) for side, value in zip(SIDES, text, strict=True)}
                | {f"spectrogram_{side}": finite(value) for side, value in zip(SIDES, spectrogram, strict=True)},
            }
            records.append(Record(name, sides[0].splits[row] if sides[0].splits else "", facts, parts))
        return records

    def scores(self, side: SpeechBatch, bench: Bench) -> Scores:
        """Return both scores of the recordings of one side.

        Raises:
            DataError: naming a recording that does not fit the language model's context.
        """
        system: Any = bench.system
        rates = (system.prompt_rate_hz, system.speech_rate_hz)
        whole, rest = whole_as_prompt(side, *rates), prompt_and_rest(side, *rates)
        if isinstance(system, SpectronModel):
            require_fits_context(system, lengths_of(system, whole) + lengths_of(system, rest))
        transcribed = system.score_speech(move_data_to_device(whole, bench.device))
        text = torch.where(transcribed.text_tokens > 0, -transcribed.text_nats / transcribed.text_tokens, torch.nan)
        unknown = torch.tensor([not words for words in side.continuation_text], device=text.device)
        continued = system.score_speech(move_data_to_device(rest, bench.device))
        # Without a frame there is nothing to divide by, and the score is NaN.
        frames = continued.speech_frames
        spectrogram = torch.where(frames > 0, -continued.speech_loss / frames, torch.nan)
        return Scores(text.masked_fill(unknown, torch.nan).cpu(), spectrogram.cpu())


def part_of(scores: tuple[float, float]) -> NumeratorAndDenominator:
    """Return 1 if the right score is higher, 1/2 for a tie, else 0, over 1; None if a score is missing."""
    right, wrong = scores
    return None if math.isnan(right) or math.isnan(wrong) else ((right > wrong) + 0.5 * (right == wrong), 1.0)


def tie_of(scores: tuple[float, float]) -> NumeratorAndDenominator:
    """Return 1 or 0 (whether the scores are equal) over 1; None if a score is missing."""
    right, wrong = scores
    return None if math.isnan(right) or math.isnan(wrong) else (float(right == wrong), 1.0)


def whole_as_prompt(side: SpeechBatch, prompt_rate_hz: int, speech_rate_hz: int) -> SpeechBatch:
    """Return a batch with the whole recordings as prompts, their words as prompt texts, and no continuation."""
    ends = [
        resample(row, speech_rate_hz, prompt_rate_hz)
        for row in unpadded(side.continuation, side.continuation_num_samples)
    ]
    beginnings = unpadded(side.prompt, side.prompt_num_samples)
    prompts = [torch.cat(pair) for pair in zip(beginnings, ends, strict=True)]
    empty = [side.continuation[0, :0]] * len(prompts)
    texts = replace(side, prompt_text=side.continuation_text, continuation_text=[""] * len(prompts))
    return with_speech(texts, prompts, empty)


def prompt_and_rest(side: SpeechBatch, prompt_rate_hz: int, speech_rate_hz: int) -> SpeechBatch:
    """Return a batch with the shared beginnings as prompts, or the first half of a recording without one."""
    prompts = unpadded(side.prompt, side.prompt_num_samples)
    rests = unpadded(side.continuation, side.continuation_num_samples)
    for row, (prompt, rest) in enumerate(zip(prompts, rests, strict=True)):
        if not len(prompt):
            half = len(rest) // 2
            prompts[row], rests[row] = resample(rest[:half], speech_rate_hz, prompt_rate_hz), rest[half:]
    return with_speech(side, prompts, rests)


def with_speech(batch: SpeechBatch, prompts: list[Tensor], continuations: list[Tensor]) -> SpeechBatch:
    """Return a copy of a batch with other speech."""
    return replace(
        batch,
        prompt=pad_sequence(prompts, batch_first=True),
        prompt_num_samples=torch.tensor([len(row) for row in prompts]),
        continuation=pad_sequence(continuations, batch_first=True),
        continuation_num_samples=torch.tensor([len(row) for row in continuations]),
    )
