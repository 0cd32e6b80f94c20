"""Checkpoint files: written whole or not at all, and read without running code."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO

from spectron.errors import CheckpointError
from spectron.files import written_whole


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


class AtomicCheckpointIO(CheckpointIO):
    """Writes a checkpoint aside and renames it, so that a killed process leaves the old file or the new one, never a part."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path``.

        Raises:
            CheckpointError: if the disk does not take it; the file that was there stays.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(path) as part, part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                # Without it the rename may reach the disk before the content does.
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f"checkpoint {path} cannot be written: {error}. Cure: make room, or choose another folder."
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Load ``path`` onto the CPU; tensors and plain values only, whatever ``weights_only`` says.

        Raises:
            CheckpointError: as ``read_checkpoint``.
        """
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete ``path`` where it exists."""
        Path(path).unlink(missing_ok=True)
