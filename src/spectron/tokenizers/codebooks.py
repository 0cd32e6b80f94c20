"""Files of codebooks: centroids in safetensors, never pickles."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from spectron.errors import ConfigError
from spectron.weights.hub import locate, reading
from spectron.weights.state_dicts import all_floats, read_tensors

FILE = "codebooks.safetensors"


def write_codebooks(codebooks: Tensor, folder: Path) -> Path:
    """Write codebooks (Q, K, D) into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"codebooks": codebooks.detach().float().cpu().contiguous()}, folder / FILE)
    return folder / FILE


def read_codebooks(source: str) -> Tensor:
    """Read codebooks (Q, K, D) of a file, or of the file ``codebooks.safetensors`` of a folder or hub name.

    Raises:
        ConfigError: with the key ``codebooks``, if the file cannot be read or holds no centroids.
    """
    path = Path(source)
    if not path.is_file():
        if path.suffix in (".km", ".bin", ".npy", ".pkl", ".joblib", ".pt"):
            raise ConfigError(f"{source!r} is not a file of safetensors", key="codebooks")
        path = locate(source) / FILE
    if not path.is_file():
        raise ConfigError(f"{source!r} holds no {FILE}. Name a file or folder of codebooks", key="codebooks")
    if path.suffix != ".safetensors":
        raise ConfigError(
            f"{source!r} is not in safetensors. A pickled k-means could run code; store its `cluster_centers_` as "
            "`centroids` (K, D) with safetensors.numpy.save_file",
            key="codebooks",
        )
    with reading(source, "codebooks"):
        tensors = read_tensors(path, "codebooks", is_float=all_floats)
    found = tensors.get("codebooks", tensors.get("centroids"))
    if found is None or found.ndim not in (2, 3) or 0 in found.shape:
        held = ", ".join(f"{name} {tuple(value.shape)}" for name, value in tensors.items())
        raise ConfigError(
            f"{source!r} holds {held or 'nothing'}: store `codebooks` (Q, K, D), or `centroids` (K, D)",
            key="codebooks",
        )
    return torch.as_tensor(found if found.ndim == 3 else found[None]).float()
