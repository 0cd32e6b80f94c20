"""A tokenizer trained on the corpus' own text, for language models built from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spectron.errors import DataError
from spectron.files import read_texts

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


def train_tokenizer(settings: TokenizerSettings) -> PreTrainedTokenizerFast:
    """Train on the file that the settings name; the same file gives the same tokenizer.

    Raises:
        DataError: beginning with ``tokenizer.text``, for a file that gives no text.
    """
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
    try:
        lines = read_texts(Path(settings.text))
    except DataError as error:
        raise error.within("tokenizer.text") from error
    tokenizer.train_from_iterator([line.lower() for line in lines] if settings.lower_case else lines, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
