"""Tokenizer that is trained on the corpus, for language models from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spectron.errors import DataError
from spectron.ranges import Size, checks_ranges
from spectron.text_files import read_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@checks_ranges
@dataclass
class TokenizerSettings:
    """Settings of a byte-level BPE tokenizer: it can write any text, and frequent words become one token.

    Args:
        text: Text file to train on, one text per line; of a ``.jsonl`` manifest, the field ``text``.
        vocabulary_size: Largest number of tokens, including special ones and the 256 bytes.
        lower_case: Train on lower-case text, the default of the data modules.
    """

    text: str
    vocabulary_size: Size = 1000
    lower_case: bool = True


def train_tokenizer(settings: TokenizerSettings) -> PreTrainedTokenizerFast:
    """Train a tokenizer on the settings' file; the same file gives the same tokenizer.

    Raises:
        DataError: beginning with ``tokenizer.text``, for a file without text.
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
