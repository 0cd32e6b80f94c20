"""Split of a text without a separator into transcript and continuation."""

from random import Random

import jiwer
import pytest

from spectron.evaluation.systems.transcript_split import split_at_prompt


@pytest.mark.parametrize(
    ("text", "prompt", "halves"),
    [
        (
            "what does the cow say the cow says moo",
            "what does the cow say",
            ("what does the cow say", "the cow says moo"),
        ),
        ("what does a cow say The cow", "What does the cow say?", ("what does a cow say", "The cow")),
        ("what does the cow moo moo", "what does the cow say", ("what does the cow moo", "moo")),
        ("a d e f x y", "a b c d e f", ("a d e f", "x y")),
        ("moo", "", ("", "moo")),
        ("", "what", ("", "")),
        ("what", "what does", ("what", "")),
    ],
)
def test_split_at_prompt(text, prompt, halves):
    assert split_at_prompt(text, prompt) == halves


def test_split_at_prompt_has_fewest_edits():
    """Compared with the jiwer distance of every prefix, for random short texts."""
    random = Random(0)
    for _ in range(100):
        text, prompt = (" ".join(random.choices("abc", k=random.randint(1, 9))) for _ in range(2))
        first, second = split_at_prompt(text, prompt)
        words = text.split()
        assert first.split() + second.split() == words
        distances = [distance(prompt, words[:count]) for count in range(len(words) + 1)]
        assert distances[len(first.split())] == min(distances), (text, prompt)


def distance(reference: str, words: list[str]) -> int:
    result = jiwer.process_words(reference, " ".join(words))
    return result.substitutions + result.insertions + result.deletions
