"""Language models that say how likely a text is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from evaluation.judges.contracts import TextScorer
from spectron.errors import ConfigError


class TransformersTextScorer(TextScorer):
    """Any causal LM of transformers.

    Every token of the text is scored, the first one too: a start token stands before it (the tokenizer's own, or its end token where
    it has no start token, as with GPT-2). The end of the text is not scored. A text longer than the model's context is scored in
    pieces that each begin anew, so that no token is left out.

    Args:
        source: Name on the hub or local folder.

    Raises:
        ConfigError: if ``source`` is a path that is not there, or, at ``load``, no causal LM with a usable tokenizer.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        if source.startswith((".", "/", "~")) and not Path(source).expanduser().is_dir():
            raise ConfigError(f"TransformersTextScorer.source: no folder {source}; name one in transformers' format, or a model of the hub")
        self.source = str(Path(source).expanduser()) if source.startswith("~") else source
        self.tokenizer: Any = None
        self.lm: Any = None

    @property
    def title(self) -> str:
        """Class, model and the tokenizer that counts the tokens."""
        return f"TransformersTextScorer({self.source}, its own tokenizer)"

    def load(self) -> None:
        """Read model and tokenizer."""
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # it would tear the training's own
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(self.source)
            self.lm = AutoModelForCausalLM.from_pretrained(self.source, use_safetensors=True, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"TransformersTextScorer.source: {self.source!r} is no causal LM that can be read here (config.json, a tokenizer and "
                f"model.safetensors are needed): {error}"
            ) from error
        begin = self.tokenizer.bos_token_id
        self.begin_id = self.tokenizer.eos_token_id if begin is None else begin
        if self.begin_id is None:
            raise ConfigError(f"TransformersTextScorer.source: the tokenizer of {self.source!r} has no token to begin a text with")

    def score(self, texts: list[str]) -> list[tuple[float, int]]:
        """Summed negative log-likelihood in nats and token count of each text."""
        rows = [self.tokenizer(text.strip(), add_special_tokens=False)["input_ids"] for text in texts]
        room = self.room()
        pieces = [(owner, row[begin : begin + room]) for owner, row in enumerate(rows) for begin in range(0, len(row), room)]
        sums = [0.0] * len(texts)
        if pieces:
            for (owner, _), nll in zip(pieces, self.piece_sums([torch.tensor(ids) for _, ids in pieces]), strict=True):
                sums[owner] += nll
        return list(zip(sums, map(len, rows), strict=True))

    def room(self) -> int:
        """Tokens of text that fit beside the start token."""
        longest = getattr(self.lm.config.get_text_config(), "max_position_embeddings", None)
        return 1024 if longest is None else longest - 1

    def piece_sums(self, pieces: list[Tensor]) -> list[float]:
        """Negative log-likelihood of token sequences (N,), each after the start token."""
        # Padding on the right: a causal model never looks at it, so that a padded batch equals its rows alone.
        targets = pad_sequence(pieces, batch_first=True, padding_value=-100).to(self.lm.device)  # (B, N)
        inputs = torch.nn.functional.pad(targets[:, :-1].clamp(min=0), (1, 0), value=self.begin_id)
        logits = self.lm(input_ids=inputs, attention_mask=torch.ones_like(inputs)).logits  # (B, N, V)
        nll = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), targets, ignore_index=-100, reduction="none")
        return nll.double().sum(1).tolist()
