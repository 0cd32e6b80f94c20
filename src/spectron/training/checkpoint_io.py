"""Checkpoint files of a training, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO

from spectron.errors import CheckpointError, WriteError
from spectron.files import written_whole
from spectron.weights.checkpoint_files import read_checkpoint, with_digest


class AtomicCheckpointIO(CheckpointIO):
    """Writes a checkpoint aside and renames it, so that a killed process leaves the old file or the new one, never a
    part.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path``.

        Raises:
            CheckpointError: if the disk does not take it; the file that was there stays.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(path) as part, part.open("wb") as file:
                torch.save(with_digest(checkpoint), file)
                file.flush()
                # Without it the rename may reach the disk before the content does.
                os.fsync(file.fileno())
        except (OSError, WriteError, RuntimeError) as error:
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
        """Delete ``path`` if it exists."""
        Path(path).unlink(missing_ok=True)
