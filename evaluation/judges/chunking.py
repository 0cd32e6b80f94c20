"""Recordings of any length for judges that hear a limited one: cut where it is quiet, heard in batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from spectron.audio.resampling import resample

PIECE_SECONDS = (
    30.0  # the longest that a judge hears at once: Whisper's window, and attention over more grows with its square
)
TOGETHER_SECONDS = 120.0  # the most in a batch, padding included
CPU_TOGETHER_SECONDS = (
    12.0  # the same on a CPU, whose caches hold little: larger batches are slower than single recordings there
)
LEAST_SECONDS = 0.1  # less holds no word and no voice, and is below what front ends accept
QUIET_SECONDS = 0.2  # how long a place must be quiet to be cut: longer than the closure of a plosive

Evidence = TypeVar("Evidence")


def by_pieces(
    waveforms: list[Tensor],
    from_hz: int,
    to_hz: int,
    device: torch.device,
    hear: Callable[[list[Tensor]], Sequence[Evidence]],
    longest_seconds: float = PIECE_SECONDS,
    together_seconds: float | None = None,
) -> list[list[tuple[int, Evidence]]]:
    """What is heard in the pieces of each recording.

    Args:
        waveforms: Recordings (S,) on any device.
        from_hz: Their sample rate.
        to_hz: The rate that ``hear`` wants.
        device: Where it wants them.
        hear: Gives the evidence of each piece (S',) of a batch.
        longest_seconds: The longest piece that it hears.
        together_seconds: The most in a batch, padding included; by default what suits the device.

    Returns:
        For every recording its pieces' numbers of samples, at ``to_hz``, with their evidence, in order. Digital silence and pieces below
        0.1 s are not heard: a recording of nothing else has an empty list.
    """
    pieces = []
    for owner, waveform in enumerate(waveforms):
        whole = resample(waveform.detach().cpu().float(), from_hz, to_hz)
        pieces += [
            (owner, piece)
            for piece in cut(whole, to_hz, longest_seconds)
            if len(piece) >= LEAST_SECONDS * to_hz and piece.any()
        ]
    evidence: dict[int, Evidence] = {}
    together = together_seconds or (CPU_TOGETHER_SECONDS if device.type == "cpu" else TOGETHER_SECONDS)
    for group in alike([len(piece) for _, piece in pieces], int(together * to_hz)):
        evidence |= zip(group, hear([pieces[place][1].to(device) for place in group]), strict=True)
    found: list[list[tuple[int, Evidence]]] = [[] for _ in waveforms]
    for place, (owner, piece) in enumerate(pieces):
        found[owner].append((len(piece), evidence[place]))
    return found


def join_texts(pieces: list[list[tuple[int, str]]]) -> list[str]:
    """The words of each recording from those of its pieces."""
    return [" ".join(text.strip() for _, text in heard if text.strip()) for heard in pieces]


def join_embeddings(pieces: list[list[tuple[int, Tensor]]], width: int, device: torch.device) -> Tensor:
    """Embeddings (B, E) of length 1: the mean over a recording's pieces, weighted by their lengths; NaN where there is no piece."""
    result = torch.full((len(pieces), width), torch.nan, device=device)
    for row, heard in enumerate(pieces):
        sayings = [num_samples * embedding for num_samples, embedding in heard if not embedding.isnan().any()]
        if sayings:
            result[row] = torch.nn.functional.normalize(torch.stack(sayings).sum(0), dim=0)
    return result


def cut(waveform: Tensor, sample_rate_hz: int, longest_seconds: float) -> Iterator[Tensor]:
    """Successive pieces of a waveform (S,), none longer than ``longest_seconds``; together they are the whole.

    Each ends in the middle of the quietest 0.2 s of its last third, so that no word is torn apart where people pause.
    """
    longest, window = int(longest_seconds * sample_rate_hz), int(QUIET_SECONDS * sample_rate_hz)
    step = max(window // 10, 1)
    while len(waveform) > longest:
        begin = longest * 2 // 3
        power = waveform[begin:longest].unfold(0, window, step).square().mean(1)
        end = begin + int(power.argmin()) * step + window // 2
        yield waveform[:end]
        waveform = waveform[end:]
    yield waveform


def alike(sizes: list[int], most: int) -> Iterator[list[int]]:
    """Places of items in groups of similar size, none larger than ``most`` once it is padded, unless a single item is."""
    group: list[int] = []
    for place in sorted(range(len(sizes)), key=sizes.__getitem__):
        if group and sizes[place] * (len(group) + 1) > most:
            yield group
            group = []
        group.append(place)
    if group:
        yield group
