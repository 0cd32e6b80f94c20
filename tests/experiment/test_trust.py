"""Code that a checkpoint or an export brings runs only if it is trusted; secrets of the environment are not stored."""

import json

import pytest
import torch
import yaml
from places import ROOT, TINY

from spectron import load
from spectron.cli.parser import main
from spectron.config.composition import compose
from spectron.config.user_classes import code_outside_packages
from spectron.encoders import ExportedEncoder
from spectron.errors import ConfigError, UntrustedCodeError
from spectron.evaluation.judges import CTCTranscriber
from spectron.experiment.experiment import Experiment
from spectron.experiment.fitting import fit
from spectron.experiment.loading import CONFIG_KEY, find_source, load_experiment
from spectron.tracking.store import find_run

WEIGHTS = ROOT / "experiments" / "mini" / "weights" / "spectron"
BUNDLED = yaml.safe_load((WEIGHTS / "config.yaml").read_text().replace("${here}", str(WEIGHTS)))
CODE = """
from pathlib import Path

Path({marker!r}).write_text("ran")

from spectron.vocoders import GriffinLimVocoder


class V(GriffinLimVocoder):
    pass
"""


@pytest.fixture
def strange(tmp_path, monkeypatch):
    """Folder of a stranger's export, with code beside it and in the current folder."""
    folder, here = tmp_path / "strange", tmp_path / "here"
    for place in (folder, here):
        place.mkdir()
        for name in ("extra.py", "strange_module.py"):
            (place / name).write_text(CODE.format(marker=str(tmp_path / "marker")))
    monkeypatch.chdir(here)
    return folder


def config_with(**changes) -> dict:
    config = json.loads(json.dumps(BUNDLED))
    config["model"] |= changes
    return config


def write_export(folder, config) -> str:
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return str(folder)


def write_checkpoint(folder, config) -> str:
    torch.save({CONFIG_KEY: config, "state_dict": {}, "global_step": 0}, folder / "strange.ckpt")
    return str(folder / "strange.ckpt")


REMOTE = {
    "class_path": "spectron.encoders.PretrainedEncoder",
    "init_args": {"source": "encoder", "remote_code": True},
}


@pytest.mark.parametrize("write", [write_export, write_checkpoint])
@pytest.mark.parametrize(
    "changes",
    [
        {"vocoder": "extra.py:V"},
        {"vocoder": {"class_path": "FOLDER/extra.py:V"}},
        {"vocoder": {"class_path": "strange_module.V"}},
        {"encoder": {"class_path": "extra.py:V"}},  # of the wrong kind
        {"encoder": REMOTE},
    ],
    ids=["file beside it", "absolute file", "module", "wrong kind", "remote code"],
)
def test_code_of_a_stranger_does_not_run(strange, tmp_path, write, changes):
    changes = json.loads(json.dumps(changes).replace("FOLDER", str(strange)))
    reference = write(strange, config_with(**changes))
    for attempt in (lambda: load(reference), lambda: load_experiment(find_source(reference), model_only=True)):
        with pytest.raises(UntrustedCodeError) as raised:
            attempt()
        assert raised.value.key.startswith(f"model.{next(iter(changes))}")
        assert raised.value.origin in reference or raised.value.origin.startswith(reference)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("verb", ["ask REF question", "export REF out", "evaluate REF mini", "fit mine.yaml"])
def test_verbs_name_code_before_it_runs(strange, tmp_path, capsys, verb):
    reference = write_export(strange, config_with(vocoder="extra.py:V") | {"task": "spectron.training.SpectronModule"})
    (tmp_path / "here" / "mine.yaml").write_text(f"extends: [mini/spectron, {reference}/config.yaml]\n")
    assert main(verb.replace("REF", reference).split()) == 1
    said = capsys.readouterr().err
    assert str(strange / "extra.py") in said
    assert "--trust" in said
    assert not (tmp_path / "marker").exists()


def test_trusted_code_runs(strange, tmp_path):
    reference = write_export(strange, config_with(vocoder="extra.py:V"))
    experiment = load_experiment(find_source(reference), model_only=True, trust=True)
    assert (tmp_path / "marker").read_text() == "ran"
    assert experiment.part_classes["vocoder"] == f"{strange}/extra.py:V"


def test_parts_that_read_an_export_trust_no_code(strange, tmp_path):
    encoder = {"class_path": "strange_module.V"}
    folder = write_export(strange, {"task": "spectron.training.CTCModule", "model": {"encoder": encoder}})
    for attempt in (lambda: ExportedEncoder(folder), lambda: CTCTranscriber(folder).load()):
        with pytest.raises(UntrustedCodeError, match="would run the code of"):
            attempt()
    assert not (tmp_path / "marker").exists()


def test_own_code_runs_and_is_announced_once(strange, tmp_path, caplog, monkeypatch):
    monkeypatch.syspath_prepend(TINY.parent)
    own = tmp_path / "here" / "own.yaml"
    own.write_text(f"extends: {TINY}\ncallbacks: {{c: strange_callback.py:C}}\n")
    code = "from lightning.pytorch import Callback\n\n\nclass C(Callback):\n  pass\n"
    (own.parent / "strange_callback.py").write_text(code)
    for _ in range(2):
        Experiment.read(own)
    told = [record.message for record in caplog.records if "strange_callback" in record.message]
    assert told == [f"Running the code of {own.parent / 'strange_callback.py'}"]


def test_installed_packages_are_no_code_of_a_stranger():
    for class_path in ("torch.nn.Linear", "spectron.vocoders.GriffinLimVocoder", "json.JSONDecoder", "no_such.Module"):
        assert code_outside_packages(class_path) is None


def test_stored_configuration_is_not_interpolated(strange, monkeypatch):
    monkeypatch.setenv("SECRET", "hush")
    path = strange / "config.yaml"
    path.write_text("a: ${oc.env:SECRET}\nb: '\\${c}'\nc: 1\n")
    (strange / "delta.yaml").write_text("extends: config.yaml\nd: ${oc.env:SECRET}\n")
    stored = {"a": "${oc.env:SECRET}", "b": "\\${c}", "c": 1}
    assert compose(path, stored=True).values == stored
    assert compose(strange / "delta.yaml").values == stored | {"d": "hush"}


def test_tracking_of_a_checkpoint_is_not_used(strange, monkeypatch):
    monkeypatch.setenv("SECRET", "hush")
    config = Experiment.read(TINY).config | {"tracking": {"uri": "http://127.0.0.1:9/${oc.env:SECRET}", "folder": "x"}}
    experiment = load_experiment(find_source(write_checkpoint(strange, config)), trust=True)
    assert (experiment.tracking().uri, experiment.tracking().runs_folder.name) != ("http://127.0.0.1:9/hush", "x")
    assert "127.0.0.1" not in json.dumps(experiment.config)


def test_run_stores_no_secret(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hush")
    monkeypatch.setenv("FOLDER", str(tmp_path))
    path = tmp_path / "own.yaml"
    path.write_text(
        f"extends: {TINY}\nshared: {{a: '${{oc.env:SECRET}}', b: '${{oc.env:FOLDER}}/x', "
        "c: 'postgres://me:hush@host/db'}\n"
    )
    outcome = fit(Experiment.read(path))
    record = find_run(outcome.run_id)
    assert record.params["shared.a"] == "${oc.env:SECRET}"
    assert record.params["shared.b"] == f"{tmp_path}/x"
    assert record.params["shared.c"] == "postgres://host/db"
    found = [file for file in outcome.folder.rglob("*") if file.is_file() and b"hush" in file.read_bytes()]
    assert not found
    assert b"hush" not in (runs / "mlflow.db").read_bytes()
    assert fit(Experiment.read(path, ["trainer.max_steps=5"]), outcome.run_id).run_id == outcome.run_id


def test_value_that_was_not_stored_is_asked_for(strange):
    config = config_with()
    config["model"]["encoder"]["init_args"]["conformer"]["width"] = "${oc.env:WIDTH}"
    with pytest.raises(ConfigError, match="not stored") as raised:
        load(write_export(strange, config))
    assert raised.value.key == "model.encoder.init_args.conformer.width"
