"""Weights in safetensors: read whole, intact and sound, and matched with a model one to one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from spectron.errors import CheckpointError, nearest
from spectron.files import is_file
from spectron.weights.digests import require_intact
from spectron.weights.soundness import require_sound

FLOATS_IN_HEADER = ("F64", "F32", "F16", "BF16")
LFS_POINTER = b"version https://git-lfs"


def load_part(part: nn.Module, path: Path, name: str) -> None:
    """Load a part's tensors from a safetensors file, all of them and nothing else.

    Raises:
        CheckpointError: if the file is missing, is not safetensors, or does not cover the part exactly.
    """
    require_file(path, name)
    key = f"weights.{name}"
    tensors = read_tensors(path, key)
    require_cover(part.state_dict(), tensors, str(path), key)
    part.load_state_dict(tensors)


def read_tensors(path: Path, key: str, is_float: Callable[[str], bool] | None = None) -> dict[str, Tensor]:
    """Read a safetensors file.

    Args:
        path: The file.
        key: Key of the configuration that names it, for errors.
        is_float: Returns whether a name must hold floats; None accepts any plain kind of number.

    Raises:
        CheckpointError: with this key, if the file is no whole safetensors file or differs from its digest, or a tensor
            is not finite or not of the expected kind.
    """
    require_whole(path, key)
    require_intact(path, key)
    tensors = load_file(path)
    require_sound(tensors.items(), str(path), key, is_float)
    return tensors


def require_sound_file(path: Path, key: str) -> None:
    """Make the checks of ``read_tensors`` for a file that a library will read; one tensor is in memory at a time.

    Raises:
        CheckpointError: as ``read_tensors``.
    """
    require_whole(path, key)
    require_intact(path, key)
    require_sound_tensors(path, key)


def require_sound_tensors(path: Path, key: str = "") -> None:
    """Refuse a safetensors file whose tensors are not finite or no plain kind of number.

    Raises:
        CheckpointError: with this key.
    """
    with safe_open(path, framework="pt") as file:
        require_sound(((name, file.get_tensor(name)) for name in sorted(file.keys())), str(path), key)


def stored(value: Any, half: bool) -> Any:
    """Return a value of a state for writing: on the CPU, as 16-bit floats if ``half``."""
    if not isinstance(value, Tensor):
        return value
    value = value.detach().cpu().contiguous()
    return value.half() if half and value.is_floating_point() else value


def all_floats(name: str) -> bool:
    """Return True: as ``is_float``, for weights without any whole numbers."""
    return True


def whole_numbers_in(path: Path) -> list[str]:
    """Return the names of the tensors of a safetensors file that hold no floats; only its header is read."""
    with safe_open(path, framework="pt") as file:
        return [name for name in sorted(file.keys()) if file.get_slice(name).get_dtype() not in FLOATS_IN_HEADER]


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
    if not is_file(path):
        near = nearest(path.name, (file.name for file in path.parent.glob("*.safetensors")))
        cure = f"Did you mean {path.parent / near}?" if near else "Correct the path."
        raise CheckpointError(f"there is no file {path}. {cure}", key=f"weights.{name}", file=path)


def require_cover(wanted: dict[str, Tensor], found: dict[str, Tensor], where: str, key: str = "") -> None:
    """Refuse tensors that do not match a model's names, shapes and kinds of numbers one to one, or are not finite.

    Raises:
        CheckpointError: naming the first tensors that are missing, left over, or of another shape or kind.
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
    require_sound(found.items(), where, key, lambda name: wanted[name].is_floating_point())
