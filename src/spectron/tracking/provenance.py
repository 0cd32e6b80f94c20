"""Provenance of a run: code, packages, machine, data."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import spectron
from spectron.tracking.measure import short


def git_state(folder: Path | None = None) -> tuple[str, str]:
    """Return commit and uncommitted changes of the repository that holds the code; empty texts without a repository.

    Args:
        folder: A folder of the repository; by default the folder of this package.

    Returns:
        The id of the commit, and a patch that ends with the names of files that git does not track.
    """
    folder = folder or Path(spectron.__file__).parent
    commit = _git(folder, "rev-parse", "HEAD").strip()
    if not commit:
        return "", ""
    unknown = _git(folder, "ls-files", "--others", "--exclude-standard", ":/")
    return commit, _git(folder, "diff", "HEAD") + "".join(f"# not in git: {name}\n" for name in unknown.splitlines())


def code_version() -> dict[str, Any]:
    """Return version and commit of this code, whether it was changed since, and the versions of its packages."""
    commit, patch = git_state()
    return {"version": spectron.__version__, "commit": commit, "changed": bool(patch), "packages": package_versions()}


def weights_sha256(module: nn.Module, files: Iterable[Path] = ()) -> str:
    """Compute the SHA-256 of weights, which depends neither on the device nor on the format of the stored weights.

    It covers name, type, shape and bytes of every parameter and buffer in the order of their names, then name and bytes
    of every file.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted({**dict(module.named_parameters()), **dict(module.named_buffers())}.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    for path in sorted(files, key=lambda path: (path.name, str(path))):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of every package that this one requires, also in an extra."""
    required = importlib.metadata.requires(spectron.DISTRIBUTION) or []
    names = {re.split(r"[^\w.-]", line)[0] for line in required if 'extra == "dev"' not in line}
    return {"python": platform.python_version(), "spectron": spectron.__version__} | {
        name: _version(name) for name in sorted(names - {spectron.DISTRIBUTION})
    }


def device_name(device: torch.device) -> str:
    """Return the name of a device for people."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} (CUDA {torch.version.cuda})"
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def parameter_counts(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Count the trainable and frozen parameters of each part, and those outside of parts under the model's class name.

    A parameter that two parts share is counted for the first.
    """
    counts: dict[str, tuple[int, int]] = {}
    seen: set[int] = set()
    own = [("", list(model.parameters(recurse=False)))]
    for name, parameters in [*own, *((name, list(part.parameters())) for name, part in model.named_children())]:
        new = [parameter for parameter in parameters if id(parameter) not in seen]
        seen |= {id(parameter) for parameter in new}
        trainable = sum(parameter.numel() for parameter in new if parameter.requires_grad)
        if new or name:
            counts[name or type(model).__name__] = (trainable, sum(parameter.numel() for parameter in new) - trainable)
    return counts


def trainable_share(counts: dict[str, tuple[int, int]]) -> tuple[int, int, float]:
    """Return trainable parameters, all parameters and their ratio, from counts by part."""
    trainable, frozen = (sum(column) for column in zip(*counts.values(), strict=True)) if counts else (0, 0)
    return trainable, trainable + frozen, trainable / max(trainable + frozen, 1)


def fingerprint(data: Any) -> dict[str, str]:
    """Return the hashes of the files of a data module by name; empty if it reports none."""
    return dict(data.fingerprint()) if hasattr(data, "fingerprint") else {}


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, errors="replace", timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):  # a run does not stop because git is missing or does not answer
        return ""
    return done.stdout if done.returncode == 0 else ""


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def trainable_line(counts: dict[str, tuple[int, int]]) -> str:
    """Write the trainable fraction of a model for people: ``trainable 1.2 M of 90 M, 1.3 %``."""
    trainable, every, share = trainable_share(counts)
    return f"trainable {short(trainable)} of {short(every)}, {100 * share:.3g} %"
