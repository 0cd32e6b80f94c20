"""Weights of parts: safetensors in, all of them and nothing else."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from spectron.errors import CheckpointError, nearest

LFS_POINTER = b"version https://git-lfs"


def load_part(part: nn.Module, path: Path, name: str) -> None:
    """Load a part's tensors from a safetensors file, all of them and nothing else.

    Raises:
        CheckpointError: if the file is missing, is not safetensors, or does not cover the part exactly.
    """
    require_file(path, name)
    require_whole(path, f"weights.{name}")
    tensors = load_file(path)
    require_cover(part.state_dict(), tensors, str(path), key=f"weights.{name}")
    part.load_state_dict(tensors)


def require_whole(path: Path, key: str) -> None:
    """Refuse a file that is no safetensors or is cut short; only its header is read.

    Raises:
        CheckpointError: with this key.
    """
    try:
        with safe_open(path, framework="pt"):
            pass
    except Exception as error:  # the library raises its own untyped error for a broken file
        with path.open("rb") as file:
            pointer = file.read(len(LFS_POINTER)) == LFS_POINTER
        cure = (
            "It stands for a file that git-lfs has not fetched: run `git lfs pull`"
            if pointer
            else "Fetch, copy or export it again"
        )
        raise CheckpointError(
            f"{path} is no whole safetensors file ({path.stat().st_size} bytes; {error}). {cure}", key=key, file=path
        ) from error


def require_file(path: Path, name: str) -> None:
    """Check that the file of a part's weights exists.

    Raises:
        CheckpointError: with the likeliest file beside it.
    """
    if not path.is_file():
        near = nearest(path.name, (file.name for file in path.parent.glob("*.safetensors")))
        cure = f"Did you mean {path.parent / near}?" if near else "Correct the path."
        raise CheckpointError(f"there is no file {path}. {cure}", key=f"weights.{name}", file=path)


def require_cover(wanted: dict[str, torch.Tensor], found: dict[str, torch.Tensor], where: str, key: str = "") -> None:
    """Refuse tensors that do not match a model's names and shapes one to one.

    Raises:
        CheckpointError: naming the first tensors that are missing, left over, or of another shape.
    """
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    shapes = [
        f"{k} is {tuple(found[k].shape)}, not {tuple(wanted[k].shape)}"
        for k in wanted.keys() & found.keys()
        if found[k].shape != wanted[k].shape
    ]
    problems = [
        f"{len(names)} {what} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
        for what, names in (
            ("tensors of the model are missing", missing),
            ("tensors are left over", extra),
            ("tensors differ in shape", sorted(shapes)),
        )
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{where} does not cover the model: {'; '.join(problems)}. Give those of this configuration; "
            "those that a base names are left out by `weights: {<part>: null}` in your own YAML",
            key=key,
        )
