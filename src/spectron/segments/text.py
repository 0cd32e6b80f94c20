"""Segment of the text before the speech, and the loss of texts without speech."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Literal, cast

import torch
from torch import Tensor

from spectron.batch import LossTerm, Prompts, SpeechBatch, SpokenLength
from spectron.contracts import LanguageModel
from spectron.decoding import Decoding
from spectron.errors import ConfigError, DataError
from spectron.generation import DecodingState, Texts, decode_text, split_texts, text_sequence
from spectron.losses import text_cross_entropy, token_cross_entropy
from spectron.segments.places import Place, Places
from spectron.segments.segment import Parts, Positions, Segment, Stretch, read

FILLER_TOKENS = Decoding.filler_tokens

TextKind = Literal["before", "empty", "filler", "none"]


@dataclass
class TextStretch(Stretch):
    """Inputs of a text; the hidden states predict the token ids ``targets`` (B, L), of which ``counted`` count."""

    targets: Tensor
    counted: Tensor


class Text(Segment):
    """Text between prompt and speech: ``sos, text``, which predict ``text, eos``.

    Args:
        parts: Parts of the model (supplied by the platform).
        kind: ``before``: transcript and continuation (the paper), which the model writes in decoding. ``empty``: an
            empty text, of which only the end is predicted. ``filler``: tokens without content. ``none``: no position.
        separator: Text between transcript and continuation. The default, a space, is the paper's "no mark". A mark such
            as `` | `` separates the two halves of the output.
    """

    def __init__(self, parts: Parts, kind: TextKind = "before", separator: str = " ") -> None:
        super().__init__(parts)
        self.kind: TextKind = kind
        self.separator = separator

    @property
    def trained_losses(self) -> tuple[str, ...]:  # type: ignore[override]
        """Name of the cross-entropy, unless there is no position."""
        return () if self.kind == "none" else ("text",)

    def forward(self, batch: SpeechBatch) -> TextStretch:
        """Return the text of training."""
        pairs = zip(batch.prompt_text, batch.continuation_text, strict=True)
        return self.stretch(self.kind, [self.separator.join(pair) for pair in pairs])

    def stretch(
        self, kind: Literal[TextKind, "given"], texts: list[str], filler_tokens: int = FILLER_TOKENS
    ) -> TextStretch:
        """Return the inputs of a kind of text; ``texts`` give the number of rows, and the text of ``before``."""
        lm = self.parts.language_model
        if kind in ("filler", "none"):
            count = 1 + filler_tokens if kind == "filler" else 0
            ids = torch.full((len(texts), count), lm.sos_id, device=next(lm.parameters()).device)
            present = torch.ones_like(ids, dtype=torch.bool)
            return TextStretch(lm.embed(ids), present, ids, ~present)
        inputs, targets, valid = text_sequence(lm, [""] * len(texts) if kind == "empty" else texts)
        return TextStretch(lm.embed(inputs), valid, targets, valid)

    def losses(self, stretch: Stretch, hidden: Tensor, optional: Collection[str] = ()) -> dict[str, LossTerm]:
        """Compute ``text``, in nats per token, and ``text_accuracy``, the fraction of tokens predicted right."""
        if self.kind == "none":
            return {}
        known = cast(TextStretch, stretch)
        logits = self.parts.language_model.logits(hidden)
        right = (logits.argmax(-1) == known.targets) & known.counted
        return {
            "text": text_cross_entropy(logits, known.targets, known.counted),
            "text_accuracy": LossTerm(right.sum().float(), known.counted.sum()),
        }

    def loss_names(self) -> set[str]:
        """Return ``text`` and ``text_accuracy``."""
        return set() if self.kind == "none" else {"text", "text_accuracy"}

    def scores(self, stretch: Stretch, hidden: Tensor) -> dict[str, Tensor]:
        """Compute the negative log-likelihood of each text and its tokens; other kinds are equal for all candidates."""
        if self.kind != "before":
            return {}
        known = cast(TextStretch, stretch)
        logits = self.parts.language_model.logits(hidden)
        rows = [slice(row, row + 1) for row in range(len(logits))]
        terms = [text_cross_entropy(logits[row], known.targets[row], known.counted[row]) for row in rows]
        return {
            "text_nats": torch.stack([term.total for term in terms]),
            "text_tokens": torch.stack([term.count for term in terms]),
        }

    def places(self, stretch: Stretch, hidden: Tensor, optional: Collection[str] = ()) -> Places:
        """Describe the tokens that are read and predicted, with ``text`` and ``text_accuracy`` of each."""
        known = cast(TextStretch, stretch)
        rows = [
            self.places_of(ids, counted)
            for ids, counted in zip(known.targets.tolist(), known.counted.tolist(), strict=True)
        ]
        if self.kind == "none":
            return Places(rows)
        logits = self.parts.language_model.logits(hidden)
        right = (logits.argmax(-1) == known.targets) & known.counted
        nats = token_cross_entropy(logits, known.targets, known.counted)
        return Places(rows, {"text": nats, "text_accuracy": right.float()})

    def places_of(self, ids: list[int], counted: list[bool]) -> list[Place]:
        """Describe the positions of one row, given its target ids (L) and which of them count."""
        if not any(counted):  # nothing is predicted at filler tokens
            return [Place("filler" if index else "start of text") for index in range(len(ids))]
        tokens = [*token_texts(self.parts.language_model, ids[: sum(counted) - 1]), "end of text"]
        places = [Place(*pair) for pair in zip(["start of text", *tokens], tokens, strict=False)]
        return [*places, *[Place()] * (len(ids) - len(places))]

    def decode(self, state: DecodingState, prompts: Prompts, decoding: Decoding) -> None:
        """Write the text, or append the one that ``decoding.text`` asks for, up to the token that starts the speech."""
        kind = self.kind_of(decoding)
        if kind == "before":
            state.texts = self.written(*decode_text(state, decoding, prompts.ids))
            return
        texts = [""] * len(prompts.ids)
        if kind == "given":
            state.texts = self.given(prompts)
            texts = state.texts.whole
        stretch = self.stretch(kind, texts, decoding.filler_tokens)
        if stretch.valid.shape[1]:
            state.extend(stretch.embeddings, stretch.valid)

    def written(self, ids: list[list[int]], stopped: Tensor) -> Texts:
        """Return the texts of token ids that the model has written, and which it has ended itself (B,)."""
        texts = self.parts.language_model.detokenize(ids)
        return Texts(texts, *split_texts(texts, self.separator), stopped)

    def given(self, prompts: Prompts) -> Texts:
        """Return the true texts of prompts.

        Raises:
            ConfigError: naming the rows that have none.
        """
        pairs = true_texts(prompts)
        whole = [self.separator.join(pair) for pair in pairs]
        return Texts(whole, [before for before, _ in pairs], [after for _, after in pairs])

    def positions(self, length: SpokenLength, decoding: Decoding | None = None) -> Positions:
        """Bound the text: one position starts it."""
        kind = self.kind if decoding is None else self.kind_of(decoding)
        if kind == "none":
            return Positions(0)
        if kind == "filler":
            tokens = FILLER_TOKENS if decoding is None else decoding.filler_tokens
            return Positions(1 + tokens, limits=("filler_tokens",))
        if kind == "before" and decoding is not None:
            return Positions(1 + decoding.max_text_tokens, limits=("max_text_tokens",))
        return Positions(1, "" if kind == "empty" else self.separator.join(length.texts))

    def writes_text(self, decoding: Decoding) -> bool:
        """Return whether there is text between prompt and speech."""
        return self.kind_of(decoding) in ("before", "given")

    def kind_of(self, decoding: Decoding) -> Literal[TextKind, "given"]:
        """Return the kind of text in decoding; ``trained`` means the kind of training."""
        return self.kind if decoding.text == "trained" else decoding.text


def true_texts(prompts: Prompts) -> list[tuple[str, str]]:
    """Return transcript and continuation of every row.

    Raises:
        ConfigError: naming the rows that have neither.
    """
    pairs = prompts.texts or [("", "")] * len(prompts.ids)
    missing = [name for name, pair in zip(prompts.ids, pairs, strict=True) if not any(pair)]
    if missing:
        raise ConfigError(
            f"given needs true texts, and {', '.join(missing[:5])}{', ...' * (len(missing) > 5)} have none. Give "
            "transcript and continuation, or choose another text",
            key="decoding.text",
        )
    return pairs


def text_alone(language_model: LanguageModel, texts: list[str]) -> LossTerm:
    """Compute the cross-entropy of a language model on texts without speech, in nats per token, end token included.

    Raises:
        DataError: if a text is longer than the model's positions.
    """
    inputs, targets, valid = text_sequence(language_model, texts)
    limit = language_model.max_positions
    if limit is not None and inputs.shape[1] > limit:
        raise DataError(
            f"a text of {inputs.shape[1]} positions does not fit the language model's {limit}: break long lines, or "
            "use a language model with more positions"
        )
    (hidden,) = read(language_model, [Stretch(language_model.embed(inputs), valid)])
    return text_cross_entropy(language_model.logits(hidden), targets, valid)


def token_texts(language_model: LanguageModel, ids: list[int]) -> list[str]:
    """Return the text that each token adds to the tokens before it, with its spaces; ``(part)`` if it adds none yet."""
    texts = language_model.detokenize([ids[:count] for count in range(len(ids) + 1)])
    # A letter of several tokens changes with its last token, so a text need not begin with the one before it.
    shared = [
        len(list(takewhile(lambda pair: pair[0] == pair[1], zip(*pair, strict=False)))) for pair in pairwise(texts)
    ]
    return [text[count:] or "(part)" for text, count in zip(texts[1:], shared, strict=True)]
