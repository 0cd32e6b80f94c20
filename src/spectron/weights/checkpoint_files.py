"""Checkpoint files, read without running code and not before their checksums agree."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spectron.errors import CheckpointError
from spectron.weights.digests import require_intact
from spectron.weights.soundness import require_sound, tensors_in

PICKLE = "data.pkl"  # record with everything except the numbers of the tensors
# Parts of a checkpoint whose numbers must be finite. Others hold infinity for "no value yet".
SOUND = ("state_dict", "optimizer_states", "gradients")
BLOCK = 2**20
DIGEST = "values_sha256"  # key of a checkpoint with the SHA-256 of its values
SMALL = 256  # numbers in a tensor up to which the SHA-256 covers them: of the others, it covers kind and shape


def read_checkpoint(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Load a checkpoint onto the CPU, refusing everything but tensors and plain values.

    Args:
        path: The file.
        mmap: Leave the tensors in the file until they are used, and do not check them.

    Raises:
        CheckpointError: if it is missing, cut short, damaged, not a checkpoint, holds objects that could run code, or
            has weights that are not finite.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}.", file=path)
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path} is not a whole checkpoint: it was cut short or is a file of another kind. Cure: use another one.",
            file=path,
        )
    checkpoint = _load(path, mmap)
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path} is not a checkpoint: it holds a {type(checkpoint).__name__}.", file=path)
    digest = checkpoint.pop(DIGEST, None)
    if digest is not None and digest != digest_of(checkpoint):
        raise CheckpointError(
            f"{path} has other values than it was written with: their SHA-256 differs. Use another checkpoint; if you "
            f"changed the values yourself, remove the key {DIGEST}",
            file=path,
        )
    if not mmap:
        for name in SOUND:
            require_sound(tensors_in(checkpoint.get(name), name), str(path))
    return checkpoint


def with_digest(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint to be written, with the SHA-256 that ``read_checkpoint`` compares.

    The checksums of the file do not cover a change after which it was written again.
    """
    return checkpoint | {DIGEST: digest_of(checkpoint)}


def digest_of(tree: Any) -> str:
    """Return the SHA-256 of the plain values and small tensors in a tree, and of kind and shape of other tensors."""
    digest = sha256()

    def add(value: Any) -> None:
        digest.update(f"{type(value).__name__} ".encode())
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)} ".encode())
            if value.numel() <= SMALL:
                digest.update(f"{value.detach().flatten().tolist()} ".encode())
        elif isinstance(value, Mapping):
            digest.update(f"{len(value)} ".encode())
            for key, inner in value.items():
                add(key)
                add(inner)
        elif isinstance(value, list | tuple):
            digest.update(f"{len(value)} ".encode())
            for inner in value:
                add(inner)
        elif isinstance(value, str):
            digest.update(f"{len(value)} ".encode() + value.encode("utf-8", "surrogatepass"))
        elif isinstance(value, int):
            digest.update(f"{value:x} ".encode())
        elif isinstance(value, float):
            digest.update(f"{value!r} ".encode())

    add(tree)
    return digest.hexdigest()


def step_of(path: Path) -> int:
    """Return the number of optimiser steps after which a checkpoint was written.

    Raises:
        CheckpointError: if it holds no such number, or as ``read_checkpoint``.
    """
    step = read_checkpoint(path, mmap=True).get("global_step")
    if not isinstance(step, int):
        raise CheckpointError(f"{path} holds no number of steps, `global_step`: use another checkpoint.", file=path)
    return step


def read_pickled_tensors(path: Path, key: str, is_float: Callable[[str], bool] | None = None) -> dict[str, Any]:
    """Load the tensors of another program, in nested dicts.

    Args:
        path: A file of ``torch.save``.
        key: Key of the configuration that names it, for errors.
        is_float: Returns whether a name must hold floats; None accepts any plain kind of number.

    Raises:
        CheckpointError: with this key, as ``read_checkpoint``.
    """
    try:
        require_intact(path)
        state = _load(path)
        if not isinstance(state, dict):
            raise CheckpointError(f"{path} holds a {type(state).__name__}, and not tensors by name")
        require_sound(tensors_in(state), str(path), is_float=is_float)
    except CheckpointError as error:
        raise error.within(key) from error.__cause__
    return state


def state_of(checkpoint: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint's model.

    Raises:
        CheckpointError: if it has no tensors by name.
    """
    state = checkpoint.get("state_dict")
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise CheckpointError(f"{path} holds no weights: its `state_dict` has no tensors by name.", file=path)
    return state


def _load(path: Path, mmap: bool = False) -> Any:
    """Load a file of ``torch.save``, tensors and plain values only."""
    try:
        if zipfile.is_zipfile(path):
            _require_checksums(path, pickle_only=mmap)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        reason = str(error).partition("WeightsUnpickler error: ")[2].partition("\n")[0] or "unknown objects"
        raise CheckpointError(
            f"{path} holds more than tensors and plain values and is not loaded, as it could run code ({reason})",
            file=path,
        ) from error
    except Exception as error:  # a damaged file makes zipfile and torch fail in any way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path} cannot be read: {reason}. Cure: use another one, or copy it again.", file=path
        ) from error


def _require_checksums(path: Path, pickle_only: bool) -> None:
    """Compare the records of a checkpoint with the CRC-32 that ``torch.save`` writes; ``torch.load`` does not.

    Raises:
        CheckpointError: naming the first record that differs.
        Exception: of the library, if the file is damaged elsewhere.
    """
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if pickle_only and Path(record.filename).name != PICKLE:
                continue
            try:
                with archive.open(record) as content:
                    while content.read(BLOCK):
                        pass
            except zipfile.BadZipFile as error:
                raise CheckpointError(
                    f"{path} is damaged: the checksum of its record {record.filename} differs. Cure: use another one, "
                    "or copy it again.",
                    file=path,
                ) from error
