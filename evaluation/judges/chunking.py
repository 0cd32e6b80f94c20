"""Chunking of recordings for judges with a limited input: cuts at quiet places, batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from spectron.audio.resampling import resample

PIECE_SECONDS = 30.0  # longest input of a judge: Whisper's window; the cost of attention grows with the square
TOGETHER_SECONDS = 120.0  # largest batch, padding included
CPU_TOGETHER_SECONDS = (
    12.0  # the same on a CPU: its caches are small, and larger batches are slower than single recordings
)
LEAST_SECONDS = 0.1  # a shorter recording contains no word and no voice, and front ends refuse it
QUIET_SECONDS = 0.2  # duration of the quiet place of a cut: longer than the closure of a plosive

Evidence = TypeVar("Evidence")


def by_pieces(
    waveforms: list[Tensor],
    from_hz: int,
    to_hz: int,
    device: torch.device,
    assess: Callable[[list[Tensor]], Sequence[Evidence]],
    longest_seconds: float = PIECE_SECONDS,
    together_seconds: float | None = None,
) -> list[list[tuple[int, Evidence]]]:
    """Return the evidence of the pieces of each recording.

    Args:
        waveforms: Recordings (S,) on any device.
        from_hz: Their sample rate.
        to_hz: Sample rate of the input of ``assess``.
        device: Device of the input of ``assess``.
        assess: Returns the evidence of each piece (S',) of a batch.
        longest_seconds: Longest piece.
        together_seconds: Largest batch, padding included; the default depends on the device.

    Returns:
        For every recording, the number of samples (at ``to_hz``) and the evidence of its pieces, in order. Digital
        silence and pieces below 0.1 s are left out: the list of a recording can be empty.
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
        evidence |= zip(group, assess([pieces[place][1].to(device) for place in group]), strict=True)
    found: list[list[tuple[int, Evidence]]] = [[] for _ in waveforms]
    for place, (owner, piece) in enumerate(pieces):
        found[owner].append((len(piece), evidence[place]))
    return found


def join_texts(pieces: list[list[tuple[int, str]]]) -> list[str]:
    """Join the words of the pieces of each recording."""
    return [" ".join(text.strip() for _, text in heard if text.strip()) for heard in pieces]


def join_embeddings(pieces: list[list[tuple[int, Tensor]]], width: int, device: torch.device) -> Tensor:
    """Average the embeddings of each recording's pieces by length, as (B, E) of length 1; NaN without a piece."""
    result = torch.full((len(pieces), width), torch.nan, device=device)
    for row, heard in enumerate(pieces):
        sayings = [num_samples * embedding for num_samples, embedding in heard if not embedding.isnan().any()]
        if sayings:
            result[row] = torch.nn.functional.normalize(torch.stack(sayings).sum(0), dim=0)
    return result


def cut(waveform: Tensor, sample_rate_hz: int, longest_seconds: float) -> Iterator[Tensor]:
    """Cut a waveform (S,) into successive pieces that are not longer than ``longest_seconds``.

    Each piece ends in the middle of the quietest 0.2 s of its last third, so that cuts fall into pauses between words.
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
    """Yield places of items in groups of similar size, not larger than ``most`` with padding, unless one item is."""
    group: list[int] = []
    for place in sorted(range(len(sizes)), key=sizes.__getitem__):
        if group and sizes[place] * (len(group) + 1) > most:
            yield group
            group = []
        group.append(place)
    if group:
        yield group
