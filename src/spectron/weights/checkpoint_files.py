"""Checkpoint files, read without running code."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from spectron.errors import CheckpointError


def read_checkpoint(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Load a checkpoint onto the CPU, refusing everything but tensors and plain values.

    Args:
        path: The file.
        mmap: Leave the tensors in the file until they are used.

    Raises:
        CheckpointError: if it is missing, cut short, not a checkpoint, or holds objects that could run code.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}.")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path} is not a whole checkpoint: it was cut short or is a file of another kind. Cure: use another one."
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("WeightsUnpickler error: ")[2].partition("\n")[0] or "unknown objects"
        raise CheckpointError(
            f"{path} holds more than tensors and plain values and is not loaded, as it could run code ({reason})"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {str(error).splitlines()[0]}. Cure: use another checkpoint."
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path} is not a checkpoint: it holds a {type(checkpoint).__name__}.")
    return checkpoint
