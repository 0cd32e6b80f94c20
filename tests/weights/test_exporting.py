"""Exported parts load again exactly, and nothing that does not cover a part is taken."""

import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from spectron.encoders import PretrainedEncoder
from spectron.errors import CheckpointError
from spectron.language_models import CausalLanguageModel, TokenizerSettings
from spectron.weights.exporting import export_parts
from spectron.weights.state_dicts import load_part

CONFIG = {"task": "some.Task", "model": {"encoder": {"class_path": "some.Encoder"}, "width": 3}}


def test_parts_go_out_and_in_again(tmp_path):
    model = nn.ModuleDict({"encoder": nn.Linear(3, 4), "nothing": nn.ReLU()})
    export_parts(model, CONFIG, tmp_path)
    fresh = nn.Linear(3, 4)
    load_part(fresh, tmp_path / "encoder.safetensors", "encoder")
    torch.testing.assert_close(fresh.weight, model["encoder"].weight)
    text = (tmp_path / "config.yaml").read_text()
    assert "encoder: ${here}/encoder.safetensors" in text
    assert "nothing" not in text


def test_half_size_is_loaded_back_as_32_bit(tmp_path):
    model = nn.ModuleDict({"encoder": nn.Linear(3, 4)})
    export_parts(model, CONFIG, tmp_path, half=True)
    assert load_file(tmp_path / "encoder.safetensors")["weight"].dtype == torch.float16
    fresh = nn.Linear(3, 4)
    load_part(fresh, tmp_path / "encoder.safetensors", "encoder")
    assert fresh.weight.dtype == torch.float32
    torch.testing.assert_close(fresh.weight, model["encoder"].weight, atol=1e-3, rtol=1e-3)


def test_a_language_model_is_exported_with_its_tokenizer(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cow says moo\n")
    lm = CausalLanguageModel(
        config={"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 1},
        tokenizer=TokenizerSettings(str(text), 300),
    )
    config = {"task": "t", "model": {"language_model": {"class_path": "spectron.language_models.CausalLanguageModel"}}}
    export_parts(nn.ModuleDict({"language_model": lm}), config, tmp_path / "out", half=True)
    again = CausalLanguageModel(source=str(tmp_path / "out" / "language_model"))
    assert again.tokenize(["the cow"])[0].tolist() == lm.tokenize(["the cow"])[0].tolist()
    for name, value in lm.lm.state_dict().items():
        torch.testing.assert_close(again.lm.state_dict()[name], value, atol=1e-3, rtol=1e-3)
    assert again.lm.dtype == torch.float32


def test_others_may_read_what_is_exported(tiny_language_model, tiny_encoder, tmp_path):
    parts = {
        "encoder": PretrainedEncoder(str(tiny_encoder("hubert"))),
        "language_model": CausalLanguageModel(str(tiny_language_model("llama"))),
    }
    config = {"task": "t", "model": {name: {"class_path": "some.Part"} for name in parts}}
    before = os.umask(0o027)
    try:
        export_parts(nn.ModuleDict({**parts, "head": nn.Linear(1, 1)}), config, tmp_path / "out")
    finally:
        os.umask(before)
    weights = sorted((tmp_path / "out").rglob("*.safetensors"))
    assert [path.stat().st_mode & 0o777 for path in weights] == [0o640] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("bias"), r"1 tensors of the model are missing \(bias\)"),
        (lambda t: t.update(extra=torch.zeros(1)), r"1 tensors are left over \(extra\)"),
        (lambda t: t.update(bias=torch.zeros(5)), r"1 tensors differ in shape \(bias is \(5,\), not \(4,\)\)"),
    ],
)
def test_weights_that_do_not_cover_the_part(change, message, tmp_path):
    tensors = {k: v.clone() for k, v in nn.Linear(3, 4).state_dict().items()}
    change(tensors)
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_part(nn.Linear(3, 4), tmp_path / "w.safetensors", "encoder")


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(CheckpointError, match=r"weights\.encoder: there is no file"):
        load_part(nn.Linear(1, 1), tmp_path / "none.safetensors", "encoder")
    save_file({"weight": torch.zeros(1, 1), "bias": torch.zeros(1)}, tmp_path / "broken.safetensors")
    whole = (tmp_path / "broken.safetensors").read_bytes()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n"
    for content, cure in (
        (whole[:-4], "Fetch, copy or export it again"),
        (b"", "Fetch, copy"),
        (pointer, "run `git lfs pull`"),
    ):
        (tmp_path / "broken.safetensors").write_bytes(content)
        said = (
            rf"^weights\.encoder: .*/broken\.safetensors is no whole safetensors file \({len(content)} bytes; .*{cure}"
        )
        with pytest.raises(CheckpointError, match=said):
            load_part(nn.Linear(1, 1), tmp_path / "broken.safetensors", "encoder")
