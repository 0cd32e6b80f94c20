"""Settings of decoding: limits, sampling, and what stands in for what the model would write or say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from spectron.ranges import Count, CountOrZero, NonNegative, Range, Seconds, Seed, checks_ranges


@checks_ranges
@dataclass
class Sampling:
    """Settings of the choice of the next code of a speech head, in decoding.

    Args:
        temperature: 0 takes the most probable code; above 0, codes are sampled.
        top_k: Sample among the ``top_k`` most probable codes; 0 means all.
    """

    temperature: NonNegative = 1.0
    top_k: CountOrZero = 0


@checks_ranges
@dataclass
class Decoding:
    """Settings of decoding.

    Args:
        max_text_tokens: Most text tokens, end token included; for no text, set ``sequence.text: none``.
        max_seconds: Longest speech; a row that reaches it counts as cut off.
        min_seconds: Speech before the stop probability is considered.
        stop_threshold: Stop probability at which a row ends; above 1, no row ends before ``max_seconds``.
        temperature: 0 takes the most probable token; above 0, tokens are sampled.
        top_k: Sample among the ``top_k`` most probable tokens; 0 means all.
        seed: Seeds each row's sampling together with the row's id.
        text: Text before the speech. ``trained``: as in the model's training (``sequence.text``), usually the text that
            it writes. ``given``: the prompts' true ``texts``, to compare speech with the reference. ``empty``: the same
            sequence as for an empty text in training. ``filler``: ``filler_tokens`` tokens without content.
        filler_tokens: Length of the ``filler`` text.
        length: ``free``: until the stop probability or ``max_seconds``. ``reference``: the prompt's
            ``speech_num_samples``, whatever stop probability and limits say; rows without a reference are free.
    """

    max_text_tokens: Count = 64
    max_seconds: Seconds = 10.0
    min_seconds: Annotated[float, Range(0, 86_400)] = 0.1
    stop_threshold: Annotated[float, Range(0, 2)] = 0.5
    temperature: NonNegative = 0.0
    top_k: CountOrZero = 0
    seed: Seed = 0
    text: Literal["trained", "given", "empty", "filler"] = "trained"
    filler_tokens: Count = 16
    length: Literal["free", "reference"] = "free"
