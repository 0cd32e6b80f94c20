"""The first items of an experiment's data, read by its model from the true past."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import torch
from lightning import LightningDataModule
from torch import Tensor

from spectron.batch import LossTerm, SpeechBatch, Word, row_alone, unpadded
from spectron.config.classes import public_path
from spectron.errors import ConfigError, DataError
from spectron.experiment.experiment import Experiment
from spectron.experiment.fitting import assemble
from spectron.experiment.loading import Source
from spectron.model import added
from spectron.ranges import Count
from spectron.segments import Place
from spectron.training import SpectronModule

Split = Literal["train", "val"]
ITEMS = 4
MOST_ITEMS = 100  # a page with more is too large for a browser
MOST_EMPTY_BATCHES = 1000  # batches of text alone, or of unreadable recordings, before the data count as empty


@dataclass
class LookedSegment:
    """A segment of one item's sequence; only valid positions are in it.

    Args:
        name: Name in the sequence.
        class_path: Its class.
        bidirectional: Whether its positions see each other in both directions.
        begin: Its first position in the sequence.
        places: Its positions.
        losses: Losses of the whole segment as sums and counts, by name.
        by_place: Those losses that are sums over positions, at each of them, by name.
        weights: Weights of the losses that training minimises, by name.
    """

    name: str
    class_path: str
    bidirectional: bool
    begin: int
    places: list[Place]
    losses: dict[str, LossTerm]
    by_place: dict[str, list[float]]
    weights: dict[str, float]


@dataclass
class LookedItem:
    """One item: recordings (S,) with their texts, the words of the continuation, and the sequence.

    Args:
        id: Id of the utterance.
        speaker: Its speaker, empty if unknown.
        split: Its split, empty if unknown.
        prompt: Prompt at ``Look.prompt_rate_hz``.
        prompt_text: Its text.
        continuation: Continuation at ``Look.speech_rate_hz``.
        continuation_text: Its text.
        words: Words of the continuation and their times in it.
        segments: Segments of the sequence.
        loss: Weighted total of the losses; None if there is none to train.
    """

    id: str
    speaker: str
    split: str
    prompt: Tensor
    prompt_text: str
    continuation: Tensor
    continuation_text: str
    words: list[Word]
    segments: list[LookedSegment]
    loss: float | None

    @property
    def positions(self) -> int:
        """Number of positions of the sequence."""
        return sum(len(segment.places) for segment in self.segments)


@dataclass
class Look:
    """Items of a split, read by a model.

    Args:
        experiment: The experiment, built.
        source: Checkpoint of the model; None for a model as training starts from it.
        split: ``train`` or ``val``.
        items: The items in the order of the data.
        losses: Losses of all items together, as training logs them for a batch of these items.
        loss: Weighted total of these losses; None if there is none to train.
        prompt_rate_hz: Sample rate of the prompts.
        speech_rate_hz: Sample rate of the continuations.
        max_positions: Longest sequence that the language model accepts, None if there is no limit.
        data_seed: Seed of the order and the random choices of the data, if the data module has one.
        skipped: Ids and errors of unreadable items.
    """

    experiment: Experiment
    source: Source | None
    split: Split
    items: list[LookedItem]
    losses: dict[str, LossTerm]
    loss: float | None
    prompt_rate_hz: int
    speech_rate_hz: int
    max_positions: int | None
    data_seed: int | None
    skipped: list[str]


def look(
    experiment: Experiment,
    items: Count = ITEMS,
    split: Split = "train",
    source: Source | None = None,
    device: torch.device | None = None,
) -> Look:
    """Read the first items of an experiment's data with its model, which is built but not trained.

    The model is in eval mode: without dropout, noise on the past, or a second reading.

    Args:
        experiment: The experiment.
        items: Number of items; fewer if the split has fewer.
        split: ``train``, in the order of training, or ``val``.
        source: Checkpoint that fills the model; None reads with the model as training starts from it.
        device: Device of the model, by default the CPU.

    Raises:
        SpectronError: for an error that the user can mend.
    """
    if not 1 <= items <= MOST_ITEMS:
        raise ConfigError(f"must be from 1 to {MOST_ITEMS}, got {items}", key="--items")
    module, data = assemble(experiment, source, "fit" if split == "train" else "validate")
    if not isinstance(module, SpectronModule):
        raise ConfigError(
            f"{experiment.task.__name__} has no sequence. Name an experiment of a SpectronModule", key="task"
        )
    device = device or torch.device("cpu")
    module.to(device)
    looked: list[LookedItem] = []
    skipped: list[str] = []
    empty = 0
    for batch in batches(data, split):
        speech = data.on_before_batch_transfer(batch, 0)
        rows = len(speech.ids) if isinstance(speech, SpeechBatch) else 0
        if isinstance(speech, SpeechBatch):
            skipped += speech.skipped
        for row in range(min(rows, items - len(looked))):
            looked.append(look_at(module, data.transfer_batch_to_device(row_alone(speech, row), device, 0)))
        empty = 0 if rows else empty + 1
        if len(looked) == items or empty == MOST_EMPTY_BATCHES:
            break
    if not looked:
        raise DataError(
            f"the {split} data have no readable speech: {skipped[0] if skipped else 'there are no such items'}",
            key="data",
        )
    losses = added(segment.losses for item in looked for segment in item.segments)
    return Look(
        experiment,
        source,
        split,
        looked,
        losses,
        total(module, losses),
        module.model.prompt_rate_hz,
        module.model.speech_rate_hz,
        module.model.language_model.max_positions,
        getattr(data, "seed", None),
        skipped,
    )


def batches(data: LightningDataModule, split: Split) -> Iterator[Any]:
    """Yield the batches of a split; those of training never end."""
    loaders = data.train_dataloader() if split == "train" else data.val_dataloader()
    return chain.from_iterable(loaders if isinstance(loaders, list) else [loaders])


@torch.inference_mode()
def look_at(module: SpectronModule, batch: SpeechBatch) -> LookedItem:
    """Read a batch of one item."""
    model, optional = module.model, module.wanted_losses()
    predicted = model(batch)
    segments: list[LookedSegment] = []
    begin = 0
    for name, segment in model.segments.items():
        stretch, hidden = predicted.stretches[name], predicted.hidden[name]
        valid, found = stretch.valid[0], segment.places(stretch, hidden, optional)
        described = found.rows[0] if found.rows else [Place()] * len(valid)
        places = [place for place, counts in zip(described, valid.tolist(), strict=True) if counts]
        segments.append(
            LookedSegment(
                name,
                public_path(type(segment)),
                stretch.bidirectional,
                begin,
                places,
                segment.losses(stretch, hidden, optional),
                {loss: values[0, valid].float().tolist() for loss, values in found.losses.items()},
                {loss: module.loss_weights.of(loss) for loss in segment.trained_losses},
            )
        )
        begin += len(places)
    [prompt], [continuation] = (
        unpadded(waveform.cpu(), lengths)
        for waveform, lengths in (
            (batch.prompt, batch.prompt_num_samples),
            (batch.continuation, batch.continuation_num_samples),
        )
    )
    return LookedItem(
        batch.ids[0],
        batch.speakers[0] if batch.speakers else "",
        batch.splits[0] if batch.splits else "",
        prompt,
        batch.prompt_text[0],
        continuation,
        batch.continuation_text[0],
        batch.continuation_words[0] if batch.continuation_words else [],
        segments,
        total(module, added(segment.losses for segment in segments)),
    )


def total(module: SpectronModule, losses: dict[str, LossTerm]) -> float | None:
    """Return the weighted total of losses; None if the model has none that is trained."""
    means = {name: term.mean for name, term in losses.items()}
    trained = {name for segment in module.model.segments.values() for name in segment.trained_losses}
    return float(module.total(means)) if trained & set(means) else None
