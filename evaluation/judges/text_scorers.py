"""Text scorers: language models that compute the likelihood of a text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from spectron.encoders.pretrained_loading import quiet
from spectron.errors import ConfigError
from spectron.evaluation.judges.chunking import alike
from spectron.evaluation.judges.judge import TextScorer
from spectron.evaluation.judges.sources import HubJudge
from spectron.language_models.special_tokens import plain_ids
from spectron.weights.hub import reading, require_float_parameters, require_safetensors

MOST_CONTEXT = 2048  # tokens after one start token, even if the model accepts more: memory grows with them
TOKENS_TOGETHER = 4096  # largest batch, padding included: each token has a score for every vocabulary entry


class TransformersTextScorer(HubJudge, TextScorer):
    """Any causal LM of transformers.

    Every token of the text is scored, including the first one, which follows a start token: the tokenizer's own, or its
    end token if it has no start token, as with GPT-2. The end of the text is not scored. A text that exceeds the
    model's context or 2048 tokens is scored in pieces that each begin again, so that no token is left out.

    Args:
        source: Name on the hub or local folder, with safetensors weights.
        revision: Branch, tag or commit on the hub.
        judge: Name of the judge whose transcripts are scored; None takes the first judge that gives a transcript.

    Raises:
        ConfigError: if ``source`` is a path that does not exist, or, at ``load``, no causal LM with a usable tokenizer.
    """

    def __init__(self, source: str, revision: str | None = None, judge: str | None = None) -> None:
        super().__init__(source, revision)
        self.judge = judge
        self.tokenizer: Any = None
        self.lm: Any = None

    @property
    def title(self) -> str:
        """Return class, model and the tokenizer that counts the tokens."""
        return f"TransformersTextScorer({self.name}, its own tokenizer)"

    def load(self) -> None:
        """Read model and tokenizer."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = self.folder()
        require_safetensors(folder, self.source)
        with quiet(), reading(self.source, "a causal LM with a tokenizer"):
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            self.lm = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
        require_float_parameters(self.lm, folder)
        begin = self.tokenizer.bos_token_id
        self.begin_id = self.tokenizer.eos_token_id if begin is None else begin
        if self.begin_id is None:
            raise ConfigError(f"the tokenizer of {self.source!r} has no token to begin a text with", key="source")

    def score(self, texts: list[str]) -> list[tuple[float, int]]:
        """Return the summed negative log-likelihood in nats and the token count of each text."""
        rows = plain_ids(self.tokenizer, [text.strip() for text in texts])
        room = self.room()
        pieces = [
            (owner, row[begin : begin + room]) for owner, row in enumerate(rows) for begin in range(0, len(row), room)
        ]
        sums = [0.0] * len(texts)
        for group in alike([len(ids) for _, ids in pieces], TOKENS_TOGETHER):
            for place, nll in zip(
                group, self.piece_sums([torch.tensor(pieces[place][1]) for place in group]), strict=True
            ):
                sums[pieces[place][0]] += nll
        return list(zip(sums, map(len, rows), strict=True))

    def room(self) -> int:
        """Return the number of text tokens that fit after the start token."""
        longest = getattr(self.lm.config.get_text_config(), "max_position_embeddings", None)
        return MOST_CONTEXT if longest is None else min(longest - 1, MOST_CONTEXT)

    def piece_sums(self, pieces: list[Tensor]) -> list[float]:
        """Return the negative log-likelihood of token sequences (N,), each after the start token."""
        # A causal model does not attend to padding on the right, so a padded batch equals its rows alone.
        targets = pad_sequence(pieces, batch_first=True, padding_value=-100).to(self.lm.device)  # (B, N)
        inputs = torch.nn.functional.pad(targets[:, :-1].clamp(min=0), (1, 0), value=self.begin_id)
        logits = self.lm(input_ids=inputs, attention_mask=torch.ones_like(inputs)).logits  # (B, N, V)
        nll = torch.nn.functional.cross_entropy(
            logits.float().transpose(1, 2), targets, ignore_index=-100, reduction="none"
        )
        return nll.double().sum(1).tolist()
