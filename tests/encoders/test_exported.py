"""Encoders of exported folders."""

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from torch import nn

from spectron.encoders import ConformerEncoder, ConformerSettings, ExportedEncoder, PretrainedEncoder
from spectron.errors import ConfigError
from spectron.weights.exporting import export_parts

SIZE = {"width": 16, "layers": 1, "heads": 2, "feedforward": 32, "kernel": 3}


@pytest.fixture
def export(tmp_path):
    """Return the folder of an exported Conformer, and the Conformer."""
    torch.manual_seed(6)
    encoder = ConformerEncoder(ConformerSettings(**SIZE)).eval()
    spec = {"class_path": "spectron.encoders.ConformerEncoder", "init_args": {"conformer": SIZE}}
    config = {"task": "spectron.training.CTCModule", "model": {"encoder": spec}}
    export_parts(nn.ModuleDict({"encoder": encoder}), config, tmp_path / "export")
    return tmp_path / "export", encoder


def encoded(encoder):
    torch.manual_seed(2)
    with torch.no_grad():
        return encoder.eval()(torch.randn(2, 8000), torch.tensor([8000, 5000]))


def changed(folder, change):
    config = OmegaConf.load(folder / "config.yaml")
    change(config)
    OmegaConf.save(config, folder / "config.yaml")


def test_class_sizes_and_weights_come_from_folder(export):
    folder, original = export
    encoder = ExportedEncoder(str(folder))
    assert (encoder.sample_rate_hz, encoder.output_dim, encoder.frame_rate_hz) == (16000, 16, 25.0)
    torch.testing.assert_close(encoded(encoder), encoded(original))
    fresh = ExportedEncoder(str(folder), pretrained=False)
    assert not torch.allclose(encoded(fresh)[0], encoded(original)[0], atol=1e-2)


@pytest.mark.parametrize("half", [False, True])
def test_exported_encoder_is_exported_again(export, tmp_path, half):
    folder, original = export
    arguments = ExportedEncoder(str(folder)).save(tmp_path / "again", half=half)
    tolerance = 2e-2 if half else 1e-6
    torch.testing.assert_close(
        encoded(ExportedEncoder(str(tmp_path / "again"), **arguments)),
        encoded(original),
        atol=tolerance,
        rtol=tolerance,
    )


def test_encoder_in_own_format_is_loaded(tiny_encoder, tmp_path):
    original = PretrainedEncoder(str(tiny_encoder("hubert")), layer=1)
    spec = {"class_path": "spectron.encoders.PretrainedEncoder", "init_args": {"source": "gone", "layer": 1}}
    config = {"task": "spectron.training.CTCModule", "model": {"encoder": spec}}
    export_parts(nn.ModuleDict({"encoder": original}), config, tmp_path / "export")
    encoder = ExportedEncoder(str(tmp_path / "export"))
    torch.testing.assert_close(encoded(encoder), encoded(original))
    encoder.save(tmp_path / "again")
    torch.testing.assert_close(encoded(ExportedEncoder(str(tmp_path / "again"))), encoded(original))
    assert not torch.allclose(
        encoded(ExportedEncoder(str(tmp_path / "export"), pretrained=False))[0], encoded(original)[0], atol=1e-2
    )


def test_weights_that_do_not_cover_encoder_are_refused(export):
    folder, _ = export
    (folder / "weights.sha256").unlink()
    tensors = load_file(folder / "encoder.safetensors")
    save_file(
        {name: value for name, value in tensors.items() if not name.startswith("norm.")}, folder / "encoder.safetensors"
    )
    with pytest.raises(ConfigError, match=r"2 tensors of the model are missing \(norm\.bias") as raised:
        ExportedEncoder(str(folder))
    assert raised.value.key == "source"


def test_class_that_is_no_encoder_is_refused(export):
    folder, _ = export
    changed(folder, lambda config: config.model.encoder.update({"class_path": "torch.nn.Linear", "init_args": {}}))
    with pytest.raises(ConfigError, match=r"`torch\.nn\.Linear` is not a SpeechEncoder") as raised:
        ExportedEncoder(str(folder))
    assert raised.value.key == "source"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda config: config.update({"weights": None}), r"has no weights\.encoder"),
        (lambda config: config.model.pop("encoder"), r"has no model\.encoder"),
        (
            lambda config: config.model.encoder.init_args.conformer.update({"widht": 3}),
            r"takes no `widht`. Did you mean `width`",
        ),
    ],
)
def test_incomplete_configuration_is_refused(export, change, said):
    folder, _ = export
    changed(folder, change)
    with pytest.raises(ConfigError, match=rf"{said}") as raised:
        ExportedEncoder(str(folder))
    assert raised.value.key == "source"


def test_folder_without_export_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no config\.yaml") as raised:
        ExportedEncoder(str(tmp_path))
    assert raised.value.key == "source"
