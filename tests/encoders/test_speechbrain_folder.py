"""Encoders of speechbrain from a folder, compared with speechbrain's own loader."""

import pickle
import shutil
from pathlib import Path

import pytest
import torch
from speechbrain_folders import FOLDERS, write_speechbrain_folder

from spectron.encoders import SpeechBrainEncoder
from spectron.errors import CheckpointError, ConfigError


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: write_speechbrain_folder(kind, tmp_path_factory.mktemp(kind) / "model") for kind in FOLDERS}


def built(folder, **arguments):
    rate = {"sample_rate_hz": 16000} if "sample_rate:" not in (folder / "hyperparams.yaml").read_text() else {}
    return SpeechBrainEncoder(str(folder), **rate, **arguments)


def audio():
    torch.manual_seed(1)
    num_samples = torch.tensor([16000, 9000, 4321])
    return torch.randn(3, 16000) * torch.linspace(0.01, 0.3, 16000), num_samples


def theirs(folder, kind, waveform):
    """Return speechbrain's features of one recording, from its own loader of hyperparams.yaml and weights."""
    from hyperpyyaml import load_hyperpyyaml
    from speechbrain.utils.checkpoints import torch_parameter_transfer

    text = (
        (folder / "hyperparams.yaml").read_text().replace("sentencepiece.SentencePieceProcessor", "torch.nn.Identity")
    )
    made = load_hyperpyyaml(text)
    for name, loadable in made["pretrainer"].loadables.items():
        if hasattr(loadable, "glob_mean"):
            loadable._load(folder / f"{name}.ckpt")
        elif (folder / f"{name}.ckpt").exists():
            torch_parameter_transfer(loadable, folder / f"{name}.ckpt")
    modules = torch.nn.ModuleDict(made["modules"]).eval()
    whole = torch.ones(1)
    with torch.no_grad():
        if kind == "ecapa":
            return modules["embedding_model"](
                modules["mean_var_norm"](modules["compute_features"](waveform), whole), whole
            )[0]
        features = modules["encoder"](waveform, whole)
        return features.flatten(2)[0]


@pytest.mark.parametrize("kind", FOLDERS)
def test_rows_equal_speechbrain_alone(folders, kind):
    encoder = built(folders[kind]).eval()
    waveform, num_samples = audio()
    with torch.no_grad():
        features, num_steps = encoder(waveform, num_samples)
    assert features.shape[2] == encoder.output_dim
    for row, samples in enumerate(num_samples.tolist()):
        expected = theirs(folders[kind], kind, waveform[row : row + 1, :samples])
        assert int(num_steps[row]) == len(expected)
        torch.testing.assert_close(features[row, : len(expected)], expected, atol=1e-4, rtol=1e-4)


def test_only_encoder_is_built_and_nothing_written(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encoder = built(folders["crdnn"])
    assert set(encoder.loadables) == {"normalizer", "asr"}
    assert not list(tmp_path.iterdir())


def changed(folders, tmp_path, old, new, kind="ecapa"):
    folder = shutil.copytree(folders[kind], tmp_path / "copy")
    text = (folder / "hyperparams.yaml").read_text()
    assert old in text
    (folder / "hyperparams.yaml").write_text(text.replace(old, new))
    return folder


NORM = "!new:speechbrain.processing.features.InputNormalization"


@pytest.mark.parametrize(
    "tag",
    [
        "!new:subprocess.Popen",
        "!apply:os.system",
        "!name:os.system",
        "!new:speechbrain.utils.fetching.os.PathLike",
        "!new:speechbrain.nnet.activations.torch.hub.tqdm",
        "!name:torch.nn.functional.importlib.import_module",
        "!new:torch.nn.modules.module.OrderedDict",
        "!new:speechbrain.dataio.encoder.CategoricalEncoder",
        "!applyref:os.system",
        "!include:/etc/passwd",
        "!!python/object/apply:os.system",
    ],
)
def test_unsafe_tag_is_refused(folders, tmp_path, tag):
    folder = changed(folders, tmp_path, NORM, tag)
    with pytest.raises(
        ConfigError, match=r"^remote_code: .*allow it with|^source: .*could not determine a constructor"
    ):
        built(folder)


def test_trusted_code_is_run(folders, tmp_path):
    folder = changed(folders, tmp_path, NORM, "!new:norm_of_mine.Norm")
    (folder / "norm_of_mine.py").write_text(
        "from speechbrain.processing.features import InputNormalization\n\n\n"
        "class Norm(InputNormalization):\n    pass\n"
    )
    with pytest.raises(ConfigError, match=r"norm_of_mine\.Norm") as raised:
        built(folder)
    assert raised.value.key == "remote_code"
    encoder = built(folder, remote_code=True)
    waveform, num_samples = audio()
    torch.testing.assert_close(
        encoder.eval()(waveform, num_samples), built(folders["ecapa"]).eval()(waveform, num_samples)
    )
    arguments = encoder.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "norm_of_mine.py").is_file()
    assert arguments["remote_code"]


def test_pickles_are_refused(folders, tmp_path):
    folder = shutil.copytree(folders["ecapa"], tmp_path / "copy")
    (folder / "embedding_model.ckpt").write_bytes(pickle.dumps({"weight": Evil(tmp_path / "was_here")}))
    with pytest.raises(CheckpointError, match=r"embedding_model\.ckpt holds more than tensors") as raised:
        built(folder)
    assert raised.value.key == "source"
    assert not (tmp_path / "was_here").exists()


class Evil:
    """Object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("kind", "old", "new", "said"),
    [
        (
            "crdnn",
            "    encoder: !ref <encoder>\n",
            "    enc: !ref <enc>\n",
            r"^source: .*has the modules enc, lm_model",
        ),
        ("crdnn", "rnn_neurons: 12", "rnn_neurons: 14", r"^source: .*size mismatch"),
        (
            "crdnn",
            "normalizer: !ref <normalizer>\n        asr",
            "norm: !ref <normalizer>\n        asr",
            r"^source: .*lacks norm\.ckpt",
        ),
        ("conformer", "num_encoder_layers: 2", "num_encoder_layers: 3", r"^source: .*asr\.ckpt lacks \d+ tensors"),
    ],
)
def test_folder_that_does_not_fit_is_refused(folders, tmp_path, kind, old, new, said):
    with pytest.raises(ConfigError, match=said):
        built(changed(folders, tmp_path, old, new, kind))


def test_missing_sample_rate_is_refused(folders):
    with pytest.raises(ConfigError, match=r"hyperparams\.yaml has no `sample_rate`") as raised:
        SpeechBrainEncoder(str(folders["ecapa"]))
    assert raised.value.key == "sample_rate_hz"
    with pytest.raises(ConfigError, match=r"hyperparams\.yaml states 16000, not 8000") as raised:
        SpeechBrainEncoder(str(folders["crdnn"]), sample_rate_hz=8000)
    assert raised.value.key == "sample_rate_hz"


@pytest.mark.parametrize("kind", FOLDERS)
def test_saved_encoder_is_loaded_again(folders, tmp_path, kind):
    encoder = built(folders[kind])
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    again = SpeechBrainEncoder(str(tmp_path / "saved"), **encoder.save(tmp_path / "saved"))
    torch.testing.assert_close(again.eval()(*audio()), encoder.eval()(*audio()))


def test_statistics_are_frozen_and_saved(folders):
    encoder = built(folders["crdnn"]).train()
    before = {
        name: value.clone() for name, value in encoder.state_dict().items() if "glob" in name or "running" in name
    }
    assert any("glob_mean" in name for name in before)
    features, _ = encoder(*audio())
    features.square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters() if parameter.requires_grad)
    for name, value in before.items():
        torch.testing.assert_close(encoder.state_dict()[name], value)
