"""Every experiment takes a training step and a validation, with everything real but short: its parts, data, judges, files, MLflow."""

import json
import shutil
from pathlib import Path

import pytest

from spectron.experiment import Experiment
from spectron.fitting import fit

FOLDER = Path(__file__).parents[2] / "experiments"
EXPERIMENTS = sorted(p for p in FOLDER.rglob("*.yaml") if "weights" not in p.parts and "\nname:" in p.read_text())
SHORT = ["trainer.max_steps=1", "trainer.val_check_interval=1", "trainer.limit_val_batches=1", "trainer.num_sanity_val_steps=0"]


@pytest.fixture(scope="module")
def surroundings(small_corpus, tmp_path_factory):
    """A store of runs, and corpora laid out as SPECTRON_DATA expects them."""
    folder = tmp_path_factory.mktemp("surroundings")
    speech = folder / "librispeech_mini"
    shutil.copytree(small_corpus / "audio", speech / "audio")
    shutil.copy(small_corpus / "carriers.jsonl", speech / "manifest.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECTRON_DATA", str(folder))
        patch.setenv("SPECTRON_RUNS", str(folder / "runs"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


def overrides_for(text: str, corpus: Path) -> list[str]:
    """Point an experiment at the small corpus, and keep its panel short."""
    chosen = list(SHORT)
    if "librispeech" in text:
        splitting = ["data.init_args.splitting.prompt_seconds=0.8", "data.init_args.splitting.min_continuation_seconds=0.5"]
        return [*chosen, *splitting, f"shared.scorer={FOLDER}/mini/weights/judge_text/language_model", *PANEL]
    if "TextDataModule" in text or "extends: pretrain_text" in text:
        files = {"train": "judge_train" if "judge" in text else "train", "val": "judge_dev" if "judge" in text else "dev"}
        chosen += [f"data.init_args.{key}={corpus / 'text' / name}.txt" for key, name in files.items()]
        return [*chosen, "data.init_args.corpus=null", f"model.language_model.init_args.tokenizer.text={corpus / 'text' / 'train.txt'}"]
    manifest = "questions" if "SpokenQADataModule" in text else "carriers"
    chosen += [f"data.init_args.manifest={corpus / manifest}.jsonl", "data.init_args.corpus=null"]
    return [*chosen, *PANEL] if manifest == "questions" else chosen


PANEL = ["callbacks.speech.init_args.panel_size=2", "callbacks.speech.init_args.audio_items=1"]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_it_takes_a_step(path, small_corpus, surroundings):
    text = path.read_text()
    outcome = fit(Experiment.read(path, overrides_for(text, small_corpus)))
    measures = {measure.name: measure for measure in outcome.measures}
    assert measures["val/loss"].value > 0
    assert (outcome.folder / "checkpoints" / "last.ckpt").is_file()
    assert (outcome.folder / "config.yaml").is_file()
    if any(override.startswith("callbacks.speech") for override in overrides_for(text, small_corpus)):
        assert measures["val/stopped"].count == 2
        assert measures["ceiling/speech_wer"].count == 2
        panel = next((outcome.folder / "panel").iterdir())
        samples = [json.loads(line) for line in (panel / "samples.jsonl").read_text().splitlines()]
        assert len(samples) == 2
        assert [path.suffix for path in outcome.headlines] == [".wav", ".png"]
        assert all(path.is_file() for path in outcome.headlines)


def test_every_experiment_is_here():
    assert len(EXPERIMENTS) == 6
