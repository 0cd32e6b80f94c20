"""Run once after installing: ``python -m spectron.audio.installation``.

torchaudio's wheels on the package index are CUDA builds; beside a CPU build of torch their compiled libraries fail to load, and with
them everything that imports torchaudio, speechbrain included. What this project needs of torchaudio is written in Python, so the
libraries are removed where torch has no CUDA. A torch with CUDA is left alone.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch


def remove_foreign_libraries() -> list[Path]:
    """Delete torchaudio's compiled libraries where torch is a CPU build; the files deleted."""
    spec = find_spec("torchaudio")
    if torch.version.cuda is not None or spec is None or spec.origin is None:
        return []
    libraries = sorted((Path(spec.origin).parent / "lib").glob("*.so"))
    for library in libraries:
        library.unlink()
    return libraries


if __name__ == "__main__":
    removed = remove_foreign_libraries()
    print(
        f"torch {torch.__version__}: removed {len(removed)} CUDA libraries of torchaudio"
        if removed
        else f"torch {torch.__version__}: nothing to do"
    )
