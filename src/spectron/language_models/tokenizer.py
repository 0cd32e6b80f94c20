"""A tokenizer trained on the corpus' own text, for language models built from scratch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spectron.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass
class TokenizerSettings:
    """Byte-level BPE: any text can be written, and frequent words become one token.

    Args:
        text: Text file to train on, one text a line; of a ``.jsonl`` manifest, the field ``text``.
        vocabulary_size: Most tokens, special ones and the 256 bytes included.
        lower_case: Train on lower-case text, which is what the data modules give by default.
    """

    text: str
    vocabulary_size: int = 1000
    lower_case: bool = True


def read_lines(path: Path) -> list[str]:
    """The non-empty texts of a text file or manifest.

    Raises:
        DataError: if the file is missing, empty, or a manifest line is not JSON with a ``text``.
    """
    if not path.is_file():
        raise DataError(
            f"tokenizer.text: no such file: {path}. Name an existing text file or manifest; where the path comes from SPECTRON_DATA, "
            "let that name the folder of your corpora"
        )
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.suffix == ".jsonl":
        try:
            lines = [json.loads(line).get("text") or "" for line in lines if line.strip()]
        except (json.JSONDecodeError, AttributeError) as error:
            raise DataError(f"{path} has a line that is not a JSON object: {error}") from error
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise DataError(f"no text in {path}")
    return lines


def train_tokenizer(settings: TokenizerSettings) -> PreTrainedTokenizerFast:
    """Train on the file that the settings name; the same file gives the same tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary_size,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    lines = read_lines(Path(settings.text))
    tokenizer.train_from_iterator([line.lower() for line in lines] if settings.lower_case else lines, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
