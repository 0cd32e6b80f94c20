"""Damage to checkpoints and exports: bytes, records, values and tensors, with checksums and digests that agree."""

import hashlib
import json
import random
import shutil
import zipfile
from pathlib import Path

import torch
import yaml
from mutations import mutated_bytes, mutated_document, with_changes
from safetensors.torch import load_file, save_file
from stored_mutations import mutated_json


def mutate_checkpoint(path: Path, draw: random.Random) -> None:
    """Damage a checkpoint in place."""
    kind = draw.choice(["bytes", "bytes", "value", "value", "value", "tensor", "record", "whole"])
    if kind == "bytes":
        path.write_bytes(mutated_bytes(path.read_bytes(), draw))
    elif kind == "value":
        torch.save(with_changes(torch.load(path, weights_only=True), draw), path)
    elif kind == "tensor":
        checkpoint = torch.load(path, weights_only=True)
        damage_tensor(checkpoint[draw.choice(["state_dict", "state_dict", "optimizer_states"])], draw)
        torch.save(checkpoint, path)
    elif kind == "record":
        _damage_record(path, draw)
    else:
        path.write_bytes(draw.choice([b"", b"\0" * 100, b"PK\x05\x06" + bytes(18), path.read_bytes()[:-30]]))


def _damage_record(path: Path, draw: random.Random) -> None:
    """Remove, rename or change a record of a checkpoint, and write the archive again with right checksums."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    name = draw.choice(sorted(records))
    content = records.pop(name)
    kind = draw.choice(["remove", "rename", "change", "change"])
    if kind == "rename":
        records[name + "x"] = content
    elif kind == "change":
        records[name] = mutated_bytes(content, draw)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)


def damage_tensor(tree, draw: random.Random) -> None:
    """Replace one tensor in nested dicts and lists by one of another shape, kind or content."""
    holders = [(holder, key) for holder in _holders(tree) for key in _keys(holder) if torch.is_tensor(holder[key])]
    if not holders:
        return
    holder, key = draw.choice(holders)
    value = holder[key]
    holder[key] = draw.choice(
        [
            value.reshape(-1)[:1],
            value.double(),
            value.to(torch.int64),
            value.to(torch.complex64),
            torch.full_like(value, float("nan")) if value.is_floating_point() else value + 1,
            value[None],
            torch.zeros(0),
            value * 1e30,
        ]
    )


def _keys(holder):
    return list(holder) if isinstance(holder, dict) else range(len(holder))


def _holders(tree):
    if isinstance(tree, dict | list):
        yield tree
        for key in _keys(tree):
            yield from _holders(tree[key])


def mutate_export(folder: Path, draw: random.Random) -> Path:
    """Damage one file of an export in place, and return it."""
    path = draw.choice(sorted(file for file in folder.rglob("*") if file.is_file()))
    kind = draw.random()
    if kind < 0.15:
        path.unlink()
        if draw.random() < 0.5:
            path.mkdir()
    elif kind < 0.3:
        path.write_bytes(draw.choice([b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf" + path.read_bytes()]))
    elif path.suffix == ".json" and kind < 0.8:
        path.write_bytes(mutated_json(json.loads(path.read_bytes()), draw).encode("utf-8", "surrogatepass"))
    elif path.suffix == ".yaml" and kind < 0.8:
        text = mutated_document(yaml.safe_load(path.read_text()), draw)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    elif path.suffix == ".safetensors" and kind < 0.8:
        tensors = load_file(path)
        if kind < 0.4:
            del tensors[draw.choice(sorted(tensors))]
        damage_tensor(tensors, draw)
        try:
            save_file({name: value.contiguous() for name, value in tensors.items()}, path, metadata={"format": "pt"})
        except Exception:  # a kind of tensor that the format does not have
            path.write_bytes(b"")
        _write_digest(path)
    else:
        path.write_bytes(mutated_bytes(path.read_bytes(), draw))
        if draw.random() < 0.5:
            _write_digest(path)
    return path


def _write_digest(path: Path) -> None:
    """Write the digests of a folder again."""
    listed = path.parent / "weights.sha256"
    if listed.is_file():
        files = sorted(file for file in path.parent.iterdir() if file.suffix in (".safetensors", ".ckpt"))
        lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files if file.is_file()]
        listed.write_text("".join(lines))


def copied(source: Path, target: Path) -> Path:
    """Return a fresh copy of a folder."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))
