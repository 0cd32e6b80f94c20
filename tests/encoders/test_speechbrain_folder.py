"""speechbrain's encoders from a folder, against speechbrain's own way of loading and running it."""

import pytest
import torch
from speechbrain_folders import FOLDERS, write_speechbrain_folder

from spectron.encoders import SpeechBrainEncoder


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
    """What speechbrain gives for one recording: hyperparams.yaml through its own loader, weights through its own hooks."""
    from hyperpyyaml import load_hyperpyyaml
    from speechbrain.utils.checkpoints import torch_parameter_transfer

    text = (folder / "hyperparams.yaml").read_text().replace("sentencepiece.SentencePieceProcessor", "torch.nn.Identity")
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
            return modules["embedding_model"](modules["mean_var_norm"](modules["compute_features"](waveform), whole), whole)[0]
        features = modules["encoder"](waveform, whole)
        return features.flatten(2)[0]


@pytest.mark.parametrize("kind", FOLDERS)
def test_rows_are_what_speechbrain_gives_for_them_alone(folders, kind):
    encoder = built(folders[kind]).eval()
    waveform, num_samples = audio()
    with torch.no_grad():
        features, num_steps = encoder(waveform, num_samples)
    assert features.shape[2] == encoder.output_dim
    for row, samples in enumerate(num_samples.tolist()):
        expected = theirs(folders[kind], kind, waveform[row : row + 1, :samples])
        assert int(num_steps[row]) == len(expected)
        torch.testing.assert_close(features[row, : len(expected)], expected, atol=1e-4, rtol=1e-4)
