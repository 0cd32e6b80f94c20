"""Exported models: one safetensors file a part and a ``config.yaml`` that builds them again.

The configuration is an experiment's: ``task``, ``model`` and ``weights``. What loads an experiment therefore loads an export, and another
experiment can start from it, whole (``extends: <folder>/config.yaml``) or in parts (``weights: {encoder: <folder>/encoder.safetensors}``).
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from torch import nn

from spectron.errors import CheckpointError
from spectron.language_models import CausalLanguageModel


def export_parts(model: nn.Module, config: dict[str, Any], folder: Path, half: bool = False) -> list[Path]:
    """Write every part of a model.

    Args:
        model: Its direct children are the parts.
        config: The resolved experiment, of which ``task`` and ``model`` are kept.
        folder: Made if missing.
        half: Store 16-bit floats: half the size, loaded back as 32-bit.

    Returns:
        The files and folders written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = {"task": config["task"], "model": copy.deepcopy(config["model"]), "weights": {}}
    written: list[Path] = []
    for name, part in model.named_children():
        if isinstance(part, CausalLanguageModel):
            # In transformers' own format, tokenizer included: what it was built from is not needed again.
            part.save(folder / name, half=half)
            kept["model"][name] = {"class_path": config["model"][name]["class_path"], "init_args": {"source": f"${{here}}/{name}"}}
            written.append(folder / name)
            continue
        tensors = {key: value.detach().cpu().contiguous() for key, value in part.state_dict().items()}
        if not tensors:
            continue
        if half:
            tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
        path = folder / f"{name}.safetensors"
        save_file(tensors, path)
        kept["weights"][name] = f"${{here}}/{path.name}"
        written.append(path)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(kept)), encoding="utf-8")
    return [*written, folder / "config.yaml"]


def load_part(part: nn.Module, path: Path, name: str) -> None:
    """Load a part's tensors from a safetensors file, all of them and nothing else.

    Raises:
        CheckpointError: if the file is missing, is not safetensors, or does not cover the part exactly.
    """
    if not path.is_file():
        raise CheckpointError(f"weights.{name}: no such file: {path}")
    try:
        tensors = load_file(path)
    except Exception as error:  # the library raises its own untyped error for a broken file
        raise CheckpointError(f"weights.{name}: {path} is not a safetensors file ({error})") from error
    require_cover(part.state_dict(), tensors, f"weights.{name}: {path}")
    part.load_state_dict(tensors)


def require_cover(wanted: dict[str, torch.Tensor], found: dict[str, torch.Tensor], where: str) -> None:
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
        raise CheckpointError(f"{where} does not cover the model: {'; '.join(problems)}. Give the weights of the same configuration")
