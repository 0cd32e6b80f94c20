"""Where the transcript ends in a text without a mark."""

import jiwer
import pytest

from evaluation.halves import split_at_prompt
from evaluation.metrics import normalize


@pytest.mark.parametrize(
    ("text", "prompt", "halves"),
    [
        ("what does the cow say the cow says moo", "what does the cow say", ("what does the cow say", "the cow says moo")),
        ("what does a cow say The cow", "What does the cow say?", ("what does a cow say", "The cow")),
        ("what does the cow moo moo", "what does the cow say", ("what does the cow moo", "moo")),
        ("a d e f x y", "a b c d e f", ("a d e f", "x y")),
        ("moo", "", ("", "moo")),
        ("", "what", ("", "")),
        ("what", "what does", ("what", "")),
    ],
)
def test_split(text, prompt, halves):
    assert split_at_prompt(text, prompt) == halves


def test_no_other_cut_is_nearer():
    text, prompt = "one two four three five six seven six eight", "one two three four six seven"
    first, second = split_at_prompt(text, prompt)
    assert f"{first} {second}" == text
    words = text.split()

    def distance(count: int) -> int:
        result = jiwer.process_words(normalize(prompt), " ".join(words[:count]))
        return result.substitutions + result.insertions + result.deletions

    assert distance(len(first.split())) == min(map(distance, range(len(words) + 1)))
