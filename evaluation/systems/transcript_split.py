"""Where the transcript of the prompt ends in a text that puts no mark there, as the paper's does not."""

from __future__ import annotations

from spectron.evaluation.metrics.normalizer import normalize


def split_at_prompt(text: str, prompt_text: str) -> tuple[str, str]:
    """Cut a text into the beginning that is nearest to ``prompt_text`` in word edits, and the rest.

    Of several equally near beginnings, the one whose number of words is nearest to the prompt's is taken.
    """
    words, wanted = text.split(), normalize(prompt_text).split()
    distances = list(range(len(wanted) + 1))  # of the empty beginning to the first 0, 1, 2, ... words of the prompt
    whole = [distances[-1]]
    for word in map(normalize, words):
        diagonal, distances[0] = distances[0], distances[0] + 1
        for place, other in enumerate(wanted, start=1):
            changed = diagonal + (word != other)
            diagonal, distances[place] = distances[place], min(changed, distances[place] + 1, distances[place - 1] + 1)
        whole.append(distances[-1])
    cut = min(range(len(whole)), key=lambda count: (whole[count], abs(count - len(wanted))))
    return " ".join(words[:cut]), " ".join(words[cut:])
