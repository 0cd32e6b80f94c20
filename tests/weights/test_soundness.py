"""Weights at every entry: what is not finite or not of the declared kind is refused, with tensor and file."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from places import EXPERIMENTS
from safetensors.torch import load_file, save_file
from speechbrain_folders import write_speechbrain_folder
from torch import nn
from vocoders import write_authors_hifigan, write_speechbrain_hifigan, write_transformers_hifigan

from spectron.audio.mel import MelConfig
from spectron.encoders import PretrainedEncoder, SpeechBrainEncoder
from spectron.errors import CheckpointError
from spectron.evaluation.judges import TransformersTextScorer, TransformersTranscriber
from spectron.language_models import CausalLanguageModel, LlamaLanguageModel
from spectron.vocoders import HiFiGANVocoder, VocosVocoder
from spectron.vocoders.vocos_network import VocosSettings
from spectron.weights.checkpoint_files import read_checkpoint
from spectron.weights.digests import FILE, require_intact, write_digests
from spectron.weights.exporting import export_parts
from spectron.weights.soundness import is_finite
from spectron.weights.state_dicts import load_part

MEL = MelConfig(n_mels=12, frame_shift_ms=2.0, window_ms=8.0)
SLANEY = replace(MEL, low_hz=0.0, mel_scale="slaney", area_norm=True)
WEIGHTS = EXPERIMENTS / "mini" / "weights"


def _set_first(value):
    def change(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[0] = value
        return tensor

    return change


WRONG = {
    "nan": _set_first(float("nan")),
    "infinity": _set_first(float("-inf")),
    "int8": lambda tensor: tensor.to(torch.int8),
    "int32": lambda tensor: tensor.to(torch.int32),
    "float8": lambda tensor: tensor.to(torch.float8_e4m3fn),
    "complex": lambda tensor: tensor.to(torch.complex64),
}


def _write_llama(folder, tiny_language_model):
    return shutil.copytree(tiny_language_model("llama"), folder)


def _write_vocos(folder, tiny_language_model):
    VocosVocoder(MEL, vocos=VocosSettings(8, 1, 8)).save(folder)
    return folder


def _hifigan(folder):
    return HiFiGANVocoder(SLANEY, str(folder), bridge="exact")


# Writes a folder, and reads it by way of each loader that a configuration can name.
ENTRIES = {
    "llama": (_write_llama, lambda f: LlamaLanguageModel(str(f))),
    "causal": (_write_llama, lambda f: CausalLanguageModel(str(f))),
    "text scorer": (_write_llama, lambda f: TransformersTextScorer(str(f)).load()),
    "vocos": (_write_vocos, lambda f: VocosVocoder(MEL, str(f))),
    "authors": (lambda f, _: write_authors_hifigan(f), _hifigan),
    "transformers": (lambda f, _: write_transformers_hifigan(f), _hifigan),
    "generator": (lambda f, _: write_speechbrain_hifigan(f), _hifigan),
    "speechbrain": (lambda f, _: write_speechbrain_folder("ecapa", f), lambda f: SpeechBrainEncoder(str(f), 16000)),
}


def _spoil(folder, change):
    """Change the largest tensor of a folder's largest file of weights; return the names of tensor and file."""
    weights = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".ckpt")]
    path = max(weights, key=lambda path: path.stat().st_size)
    pickled = path.suffix == ".ckpt"
    tensors = torch.load(path, weights_only=True) if pickled else load_file(path)
    name = max(tensors, key=lambda name: tensors[name].numel())
    tensors[name] = change(tensors[name])
    torch.save(tensors, path) if pickled else save_file(tensors, path, metadata={"format": "pt"})
    return name, path.name


@pytest.fixture(scope="module")
def written(tmp_path_factory, tiny_language_model):
    folder = tmp_path_factory.mktemp("entries")
    return {name: write(folder / name.replace(" ", "_"), tiny_language_model) for name, (write, _) in ENTRIES.items()}


@pytest.mark.parametrize("entry", ENTRIES)
def test_unsound_tensor_is_refused_at_every_entry(entry, written, tmp_path):
    load = ENTRIES[entry][1]
    load(written[entry])
    for kind, change in WRONG.items():
        folder = shutil.copytree(written[entry], tmp_path / kind)
        name, file = _spoil(folder, change)
        with pytest.raises(CheckpointError) as raised:
            load(folder)
        assert name in str(raised.value), kind
        assert file in str(raised.value), kind
        assert raised.value.key == "source"


@pytest.mark.parametrize(("family", "load"), [("wav2vec2", TransformersTranscriber), ("hubert", PretrainedEncoder)])
def test_unsound_tensor_of_library_model_is_refused(family, load, tiny_judge, tmp_path):
    for kind in ("nan", "int8", "int32"):
        folder = shutil.copytree(tiny_judge(family), tmp_path / kind)
        name, file = _spoil(folder, WRONG[kind])
        with pytest.raises(CheckpointError) as raised:
            load(str(folder)).load()
        assert name in str(raised.value), kind
        assert file in str(raised.value), kind


@pytest.mark.parametrize("kind", WRONG)
def test_unsound_tensor_of_part_is_refused(kind, tmp_path):
    tensors = {name: value.detach() for name, value in nn.Linear(3, 4).state_dict().items()}
    save_file(tensors | {"weight": WRONG[kind](tensors["weight"])}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="weight") as raised:
        load_part(nn.Linear(3, 4), tmp_path / "w.safetensors", "encoder")
    assert raised.value.key == "weights.encoder"


def test_floats_for_whole_numbers_are_refused(tmp_path):
    tensors = dict(nn.BatchNorm1d(2).state_dict())
    save_file(tensors | {"num_batches_tracked": torch.tensor(1.0)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="num_batches_tracked is float32"):
        load_part(nn.BatchNorm1d(2), tmp_path / "w.safetensors", "encoder")


@pytest.mark.parametrize("kind", ["nan", "infinity", "int8", "float8", "complex"])
@pytest.mark.parametrize("place", ["state_dict", "optimizer_states"])
def test_unsound_tensor_of_checkpoint_is_refused(place, kind, tmp_path):
    tensor = WRONG[kind](torch.randn(4, 4))
    held = {"weight": tensor} if place == "state_dict" else [{"state": {0: {"exp_avg": tensor}}}]
    torch.save({place: held}, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match=f"{place}.*(weight|0.state.0.exp_avg)"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_infinity_in_state_of_callback_is_accepted(tmp_path):
    torch.save({"state_dict": {}, "callbacks": {"best": torch.tensor(float("inf"))}}, tmp_path / "x.ckpt")
    assert read_checkpoint(tmp_path / "x.ckpt")["callbacks"]["best"] == float("inf")


def test_half_precision_that_overflows_is_not_exported(tmp_path):
    part = nn.Linear(1, 1)
    part.weight.data.fill_(1e6)
    with pytest.raises(CheckpointError, match="weight"):
        export_parts(nn.ModuleDict({"encoder": part}), {"task": "t", "model": {}}, tmp_path, half=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_finite_agrees_with_torch(dtype):
    draw = random.Random(0)
    for size in (0, 1, 7, 1000):
        for bad in (None, float("nan"), float("inf"), float("-inf")):
            tensor = torch.randn(size).to(dtype)
            if bad is not None and size:
                tensor[draw.randrange(size)] = bad
            assert is_finite(tensor) == bool(torch.isfinite(tensor).all())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    torch.manual_seed(0)
    model = nn.ModuleDict({"encoder": nn.Linear(5, 7), "head": nn.Linear(3, 3)})
    export_parts(model, {"task": "t", "model": {}}, folder)
    return folder


def _flipped(source, target, draw):
    content = bytearray(source.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    target.write_bytes(content)


def _loads(folder, name, part):
    try:
        load_part(part, folder / f"{name}.safetensors", name)
    except CheckpointError:
        return False
    return True


def test_every_flipped_bit_of_export_is_refused(exported, tmp_path):
    draw = random.Random(17)
    folder = shutil.copytree(exported, tmp_path / "copy")
    assert _loads(folder, "encoder", nn.Linear(5, 7))
    for file in 100 * ["encoder.safetensors"] + 100 * [FILE]:
        _flipped(exported / file, folder / file, draw)
        assert not (_loads(folder, "encoder", nn.Linear(5, 7)) and _loads(folder, "head", nn.Linear(3, 3)))
        shutil.copy(exported / file, folder / file)


def test_flipped_bit_of_checkpoint_is_refused_or_harmless(tmp_path):
    draw, path = random.Random(17), tmp_path / "x.ckpt"
    held = {"state_dict": {f"layer{n}.weight": torch.randn(20, 30) for n in range(6)}, "global_step": 3}
    torch.save(held, tmp_path / "whole.ckpt")
    refused = 0
    for _ in range(200):
        _flipped(tmp_path / "whole.ckpt", path, draw)
        try:
            found = read_checkpoint(path)
        except CheckpointError:
            refused += 1
            continue
        assert found["global_step"] == 3, "padding and dates of the archive hold no value"
        assert all(torch.equal(found["state_dict"][name], tensor) for name, tensor in held["state_dict"].items())
    assert refused > 150


def test_weights_without_digest_in_list_are_refused(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "copy")
    shutil.copy(folder / "head.safetensors", folder / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"no digest of other\.safetensors") as raised:
        load_part(nn.Linear(3, 3), folder / "other.safetensors", "head")
    assert raised.value.key == "weights.head"
    (folder / FILE).unlink()
    load_part(nn.Linear(3, 3), folder / "other.safetensors", "head")


def test_digests_are_those_of_sha256sum(exported):
    import hashlib

    lines = (exported / FILE).read_text().splitlines()
    assert lines == [
        f"{hashlib.sha256((exported / name).read_bytes()).hexdigest()}  {name}"
        for name in ("encoder.safetensors", "head.safetensors")
    ]


def test_bundled_weights_agree_with_their_digests():
    files = sorted(WEIGHTS.rglob("*.safetensors"))
    assert len(files) == 14
    for file in files:
        assert (file.parent / FILE).is_file()
        require_intact(file)


def test_digests_of_one_folder_are_replaced_whole(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    write_digests([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])
    assert write_digests([tmp_path / "b.safetensors"]) == [tmp_path / FILE]
    assert (tmp_path / FILE).read_text().endswith("  b.safetensors\n")
    assert not Path(f"{tmp_path / FILE}.part").exists()
