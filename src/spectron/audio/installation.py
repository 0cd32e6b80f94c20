"""Removal of torchaudio's CUDA libraries; run ``python -m spectron.audio.installation`` once after installing.

The torchaudio wheels of the package index are CUDA builds. With a CPU build of torch, their compiled libraries fail to
load, and so does everything that imports torchaudio, such as speechbrain. This project uses only Python code of
torchaudio, so the libraries are removed if torch has no CUDA. With a CUDA build of torch nothing is changed.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch


def remove_foreign_libraries() -> list[Path]:
    """Delete torchaudio's compiled libraries if torch is a CPU build, and return the deleted files."""
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
