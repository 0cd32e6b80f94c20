"""Pairs of recordings, one right and one wrong: is the right one likelier to the system?"""

from __future__ import annotations

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
from spectron.evaluation.metrics.pair_accuracy import SpectrogramPairAccuracy, TextPairAccuracy
from spectron.evaluation.results.records import Record
from spectron.evaluation.results.summary import finite
from spectron.evaluation.tasks.task import MODEL, Bench, Task
from spectron.model import SpectronModel

SIDES = ("positive", "negative")


@dataclass
class Scores:
    """The two scores of each row (B,), higher for the likelier; NaN where there is none."""

    text: Tensor
    spectrogram: Tensor


class LikelihoodPairs(Task):
    """Pairs such as sBLIMP's, sWUGGY's, StoryCloze's and SALMon's, by the two scores of ``docs/likelihood_pairs.md``, kept apart.

    For the text score a whole recording is the prompt, and its words are the text. For the spectrogram score the beginning that both
    recordings share is the prompt and the rest is what follows; where they share none, each is cut in the middle.

    Args:
        data: ``spectron.datamodules.PairsDataModule``.
        num_items: How many pairs, evenly spaced over the data; None takes all.
    """

    def __init__(self, data: LightningDataModule, num_items: int | None = None) -> None:
        super().__init__(data, [TextPairAccuracy(), SpectrogramPairAccuracy()], num_items)

    def prepare(self, bench: Bench) -> None:
        """Read the manifest of pairs."""
        if not isinstance(bench.system, ScoresSpeech):
            raise ConfigError(
                f"{type(bench.system).__name__} gives no likelihoods: define `score_speech` (spectron.contracts.ScoresSpeech), or leave "
                "the tasks of kind LikelihoodPairs out"
            )
        super().prepare(bench)

    def batch(self, place: int) -> SpeechBatch:
        """The right recordings, which name the pairs."""
        return cast(Any, self.batches)[place][0]

    def systems(self, bench: Bench) -> list[str]:
        """The system alone: recordings have no likelihood."""
        return [MODEL]

    @torch.inference_mode()
    def judge(self, system: str, place: int, bench: Bench, rows: list[int] | None = None) -> list[Record]:
        """Score both sides of a batch of pairs."""
        sides = [side if rows is None else select(side, rows) for side in cast(Any, self.batches)[place]]
        if not sides[0].ids:
            return []
        right, wrong = (self.scores(side, bench) for side in sides)
        found = []
        for row, name in enumerate(sides[0].ids):
            text, spectrogram = ((float(kind[0][row]), float(kind[1][row])) for kind in pairs_of(right, wrong))
            parts = {"pair_accuracy_text": part_of(text), "pair_accuracy_spectrogram": part_of(spectrogram)}
            facts = {
                **{f"{side}_text": batch.continuation_text[row] for side, batch in zip(SIDES, sides, strict=True)},
                "scores": {f"text_{side}": finite(value) for side, value in zip(SIDES, text, strict=True)}
                | {f"spectrogram_{side}": finite(value) for side, value in zip(SIDES, spectrogram, strict=True)},
            }
            found.append(Record(name, sides[0].splits[row] if sides[0].splits else "", facts, parts))
        return found

    def scores(self, side: SpeechBatch, bench: Bench) -> Scores:
        """Compute both scores of the recordings of one side.

        Raises:
            DataError: naming a recording that does not fit the language model's positions.
        """
        system: Any = bench.system
        rates = (system.prompt_rate_hz, system.speech_rate_hz)
        whole, halves = whole_as_prompt(side, *rates), cut_in_two(side, *rates)
        if isinstance(system, SpectronModel):
            require_fits_context(system, lengths_of(system, whole) + lengths_of(system, halves))
        heard = system.score_speech(move_data_to_device(whole, bench.device))
        text = torch.where(heard.text_tokens > 0, -heard.text_nats / heard.text_tokens, torch.nan)
        unknown = torch.tensor([not words for words in side.continuation_text], device=text.device)
        followed = system.score_speech(move_data_to_device(halves, bench.device))
        # Without a frame there is nothing to divide by, and the score is NaN.
        spectrogram = torch.where(followed.speech_frames > 0, -followed.speech_loss / followed.speech_frames, torch.nan)
        return Scores(text.masked_fill(unknown, torch.nan).cpu(), spectrogram.cpu())


def pairs_of(right: Scores, wrong: Scores) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Text scores and spectrogram scores, each of both sides."""
    return (right.text, wrong.text), (right.spectrogram, wrong.spectrogram)


def part_of(scores: tuple[float, float]) -> NumeratorAndDenominator:
    """1 where the right one's score is the higher, and 1; None where one has no score."""
    right, wrong = scores
    return None if right != right or wrong != wrong else (float(right > wrong), 1.0)


def whole_as_prompt(side: SpeechBatch, prompt_rate_hz: int, speech_rate_hz: int) -> SpeechBatch:
    """Recordings as prompts, their words as the prompts' text, and nothing that follows."""
    ends = [
        resample(row, speech_rate_hz, prompt_rate_hz)
        for row in unpadded(side.continuation, side.continuation_num_samples)
    ]
    beginnings = unpadded(side.prompt, side.prompt_num_samples)
    prompts = [torch.cat(pair) for pair in zip(beginnings, ends, strict=True)]
    nothing = [side.continuation[0, :0]] * len(prompts)
    return with_speech(
        replace(side, prompt_text=side.continuation_text, continuation_text=[""] * len(prompts)), prompts, nothing
    )


def cut_in_two(side: SpeechBatch, prompt_rate_hz: int, speech_rate_hz: int) -> SpeechBatch:
    """Recordings whose shared beginning is the prompt, or their first half where they share none."""
    prompts, rests = (
        unpadded(side.prompt, side.prompt_num_samples),
        unpadded(side.continuation, side.continuation_num_samples),
    )
    for row, (prompt, rest) in enumerate(zip(prompts, rests, strict=True)):
        if not len(prompt):
            half = len(rest) // 2
            prompts[row], rests[row] = resample(rest[:half], speech_rate_hz, prompt_rate_hz), rest[half:]
    return with_speech(side, prompts, rests)


def with_speech(batch: SpeechBatch, prompts: list[Tensor], continuations: list[Tensor]) -> SpeechBatch:
    """A batch with other speech."""
    return replace(
        batch,
        prompt=pad_sequence(prompts, batch_first=True),
        prompt_num_samples=torch.tensor([len(row) for row in prompts]),
        continuation=pad_sequence(continuations, batch_first=True),
        continuation_num_samples=torch.tensor([len(row) for row in continuations]),
    )
