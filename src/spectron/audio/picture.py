"""Pictures of log-mel spectrograms on a common time axis, to compare prompt, generated and reference speech."""

from __future__ import annotations

import textwrap
import warnings
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from spectron.files import writing, written_whole

LINE_CHARACTERS = 100  # caption characters that fit under a panel


@dataclass
class MelPanel:
    """Spectrogram in a picture: ``mel`` (T, M) natural-log magnitudes at ``frame_rate_hz``, title, and spoken text."""

    title: str
    mel: Tensor
    frame_rate_hz: float
    caption: str = ""


def mel_picture(path: Path, panels: list[MelPanel]) -> Path:
    """Draw panels on a common time axis and colour scale, one below another, and write a PNG.

    Args:
        path: File to write; missing folders are made.
        panels: Panels from top to bottom; a panel without frames shows the text "no speech".

    Returns:
        ``path``.

    Raises:
        ValueError: if there is no panel.
        WriteError: if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not panels:
        raise ValueError("a picture needs at least one panel")
    # A separate Figure instead of pyplot: no global state, no display, and safe in worker threads.
    figure = Figure(figsize=(10, 2.6 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    longest = max(panel.mel.shape[0] / panel.frame_rate_hz for panel in panels)
    filled = [panel.mel for panel in panels if panel.mel.numel()]
    low, high = (
        (min(mel.min().item() for mel in filled), max(mel.max().item() for mel in filled)) if filled else (0.0, 1.0)
    )
    for axes, panel in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        seconds = panel.mel.shape[0] / panel.frame_rate_hz
        if panel.mel.numel():
            image = panel.mel.detach().float().cpu().T.numpy()  # (M, T)
            axes.imshow(
                image,
                origin="lower",
                aspect="auto",
                extent=(0, seconds, 0, panel.mel.shape[1]),
                vmin=low,
                vmax=high,
                cmap="magma",
            )
        else:
            axes.text(0.5, 0.5, "no speech", transform=axes.transAxes, ha="center", va="center")
        axes.set_xlim(0, max(longest, 1e-3))
        # Without mathtext, because names of files and transcripts can contain dollar signs.
        axes.set_title(f"{panel.title} ({seconds:.2f} s)", loc="left", fontsize=10, parse_math=False)
        axes.set_ylabel("mel band", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_formatter("{x:g} s")
        axes.set_xlabel(
            "\n".join(textwrap.wrap(printable(panel.caption), LINE_CHARACTERS)), fontsize=9, parse_math=False
        )
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # matplotlib draws a box instead
        figure.savefig(part, dpi=100, format="png")
    return path


def printable(text: str) -> str:
    """Return a text with its control characters replaced: an untrained model can write them."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
