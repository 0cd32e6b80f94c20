"""The whole text of the most common errors, as ``spectron`` prints it."""

import pytest
import torch
from places import TINY
from safetensors.torch import save_file

from spectron.cli.parser import main


@pytest.fixture
def printed(tmp_path, monkeypatch, capsys):
    """Return a function that runs a command in an empty folder and returns what it prints on standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        assert main([str(argument) for argument in arguments]) == 1
        text = capsys.readouterr().err.strip()
        return text.replace(str(tmp_path), "HERE").replace(str(TINY), "TINY")

    return run


def test_unknown_key(printed):
    assert printed("check", TINY, "model.widht=3") == (
        "spectron: error: model.widht: TinyTask takes no `widht`. Did you mean `width`? (in the command line)"
    )


def test_wrong_type(printed, tmp_path):
    (tmp_path / "delta.yaml").write_text(f"extends: {TINY}\nmodel: {{kind: fanci}}\n")
    assert printed("check", "delta.yaml") == (
        "spectron: error: model.kind: expects one of plain, fancy, got 'fanci'. Did you mean `fancy`? "
        "(in HERE/delta.yaml)"
    )


def test_wrong_kind_of_class(printed):
    assert printed("check", TINY, "callbacks.x=lightning.pytorch.callbacks.EarlyStoping") == (
        "spectron: error: callbacks.x.class_path: `lightning.pytorch.callbacks` has no class `EarlyStoping`. "
        "Did you mean `lightning.pytorch.callbacks.EarlyStopping`? (in the command line)"
    )
    assert printed("check", TINY, "callbacks.x=torch.nn.Linear").startswith(
        "spectron: error: callbacks.x.class_path: `torch.nn.Linear` is not a Callback."
    )


def test_missing_yaml(printed, tmp_path):
    (tmp_path / "demo.yaml").touch()
    assert printed("check", "dem.yaml") == (
        "spectron: error: there is no file or recipe dem.yaml. Did you mean `demo.yaml`?"
    )


def test_missing_data_file(printed):
    data = "data={class_path: spectron.datamodules.PairsDataModule, init_args: {manifest: gone.jsonl}}"
    assert printed("check", TINY, data) == (
        "spectron: error: data.init_args.manifest: there is no file HERE/gone.jsonl: correct the path (relative paths "
        "start at the current folder, and `${here}` is the folder of the YAML), or set SPECTRON_DATA to the folder "
        "with your corpora (in the command line)"
    )


def test_unset_environment_variable(printed, tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
    (tmp_path / "delta.yaml").write_text(f"extends: {TINY}\nname: ${{oc.env:NO_SUCH_VARIABLE}}\n")
    assert printed("check", "delta.yaml") == (
        "spectron: error: name: the environment variable NO_SUCH_VARIABLE is not set. Set it: export "
        "NO_SUCH_VARIABLE=... (or override name=...). (in HERE/delta.yaml)"
    )


def test_weights_that_do_not_fit(printed, tmp_path):
    save_file({"linear.weight": torch.zeros(1, 9), "scale": torch.zeros(1)}, tmp_path / "end.safetensors")
    assert printed("check", TINY, "weights.end=end.safetensors") == (
        "spectron: error: weights.end: end.safetensors does not cover the model: 1 tensors of the model are missing "
        "(linear.bias); 1 tensors are left over (scale); 1 tensors differ in shape (linear.weight is (1, 9), not "
        "(1, 4)). Give those of this configuration; those that a base names are left out by "
        "`weights: {<part>: null}` in your own YAML (in the command line)"
    )


def test_user_file_that_fails_to_import(printed, tmp_path):
    (tmp_path / "my_end.py").write_text("import torch\n\nimport no_such_package\nEnd = no_such_package.End\n")
    assert printed("check", TINY, "model.end=my_end.py:End") == (
        "spectron: error: model.end.class_path: HERE/my_end.py cannot be imported: line 3: ModuleNotFoundError: No "
        "module named 'no_such_package'. (in the command line)"
    )


def test_missing_optional_package(printed, monkeypatch):
    monkeypatch.setattr("spectron.errors.find_spec", lambda name: None)
    callback = (
        "callbacks.speech={class_path: spectron.evaluation.callbacks.SpeechEvaluation, "
        "init_args: {judges: {speaker_embedder: spectron.evaluation.judges.ResemblyzerEmbedder}}}"
    )
    assert printed("check", TINY, callback) == (
        "spectron: error: callbacks.speech.init_args.judges.speaker_embedder: ResemblyzerEmbedder needs the extra "
        "judges: pip install 'spectron-slm[judges]' (missing: resemblyzer) (in the command line)"
    )


def test_unknown_run(printed, runs):
    assert printed("evaluate", "nowhere").replace(str(runs), "RUNS") == (
        "spectron: error: no run 'nowhere' in sqlite:///RUNS/mlflow.db; it holds no runs yet"
    )
