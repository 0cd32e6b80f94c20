"""Exported models: one safetensors file a part, a ``config.yaml`` that builds them again, and digests of the weights.

The configuration is an experiment's: ``task``, ``model`` and ``weights``. What loads an experiment therefore loads an
export, and another experiment can start from it, whole (``extends: <folder>/config.yaml``) or in parts (``weights:
{encoder: <folder>/encoder.safetensors}``).
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from spectron.contracts import SavesItself
from spectron.files import write_text, writing
from spectron.weights.digests import write_digests
from spectron.weights.state_dicts import require_sound_tensors, stored

WEIGHTS = (".safetensors", ".ckpt")


def export_parts(model: nn.Module, config: dict[str, Any], folder: Path, half: bool = False) -> list[Path]:
    """Write every part of a model.

    Args:
        model: Its direct children are the parts.
        config: The resolved experiment, of which ``task`` and ``model`` are kept.
        folder: Made if missing.
        half: Store 16-bit floats: half the size, loaded back as 32-bit.

    Returns:
        The files and folders written.

    Raises:
        CheckpointError: if a weight is not finite, or too large for a 16-bit float.
        WriteError: if a file cannot be written. ``config.yaml``, which makes the folder an export, is written last.
    """
    with writing(folder, SafetensorError):
        return _export_parts(model, config, folder, half)


def _export_parts(model: nn.Module, config: dict[str, Any], folder: Path, half: bool) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = {"task": config["task"], "model": copy.deepcopy(config["model"]), "weights": {}}
    written: list[Path] = []
    for name, part in model.named_children():
        if isinstance(part, SavesItself):
            arguments = part.save(folder / name, half=half)
            arguments["source"] = f"${{here}}/{name}"
            kept["model"][name] = {"class_path": config["model"][name]["class_path"], "init_args": arguments}
            written.append(folder / name)
            continue
        tensors = {key: stored(value, half) for key, value in part.state_dict().items()}
        if not tensors:
            continue
        path = folder / f"{name}.safetensors"
        save_file(tensors, path)
        kept["weights"][name] = f"${{here}}/{path.name}"
        written.append(path)
    files = [file for part in written for file in (part.rglob("*") if part.is_dir() else [part])]
    weights = [file for file in files if file.suffix in WEIGHTS]
    for path in weights:
        if path.suffix == ".safetensors":
            require_sound_tensors(path)
    digests = write_digests(weights)
    # Last: a folder without it is no export.
    settings = folder / "config.yaml"
    write_text(settings, OmegaConf.to_yaml(OmegaConf.create(kept)))
    for path in weights:  # safetensors writes by way of a private temporary file, which others could not read
        path.chmod(settings.stat().st_mode)
    return [*written, settings, *digests]
