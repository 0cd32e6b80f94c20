"""Split of a text without a separator, as in the paper, into transcript and continuation."""

from __future__ import annotations

from spectron.evaluation.metrics.normalizer import normalize


def split_at_prompt(text: str, prompt_text: str) -> tuple[str, str]:
    """Split a text into the prefix with the fewest word edits to ``prompt_text``, and the rest.

    Among prefixes with equal edits, take the one whose number of words is closest to the prompt's.
    """
    words, wanted = text.split(), normalize(prompt_text).split()
    distances = list(
        range(len(wanted) + 1)
    )  # edits from the empty prefix to the first 0, 1, 2, ... words of the prompt
    whole = [distances[-1]]
    for word in map(normalize, words):
        diagonal, distances[0] = distances[0], distances[0] + 1
        for place, other in enumerate(wanted, start=1):
            changed = diagonal + (word != other)
            diagonal, distances[place] = distances[place], min(changed, distances[place] + 1, distances[place - 1] + 1)
        whole.append(distances[-1])
    cut = min(range(len(whole)), key=lambda count: (whole[count], abs(count - len(wanted))))
    return " ".join(words[:cut]), " ".join(words[cut:])
