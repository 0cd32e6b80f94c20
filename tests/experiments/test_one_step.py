"""Every experiment takes a training step and a validation, with everything real but short: its parts, data, judges, files, MLflow."""

import json
import shutil
from pathlib import Path

import pytest
from places import ROOT
from speechbrain_folders import write_speechbrain_folder
from vocoders import LJ_SPEECH, write_authors_hifigan

from spectron.config.composition import compose
from spectron.experiment.experiment import Experiment
from spectron.experiment.fitting import fit

FOLDER = ROOT / "experiments"
EXPERIMENTS = sorted(
    path
    for path in FOLDER.rglob("*.yaml")
    if not {"weights", "evaluation", "expected"} & set(path.parts)
    and "\nname:" in path.read_text()
    and "\nrows:" not in path.read_text()
)
SHORT = [
    "trainer.max_steps=1",
    "trainer.val_check_interval=1",
    "trainer.limit_val_batches=1",
    "trainer.num_sanity_val_steps=0",
]


# The tiny models that stand for those on the hub, so that every family's real code runs.
STANDING_FOR = {
    "facebook/wav2vec2-base-960h": "wav2vec2",
    "facebook/hubert-base-ls960": "hubert",
    "microsoft/wavlm-base-plus": "wavlm",
    "facebook/data2vec-audio-base-960h": "data2vec",
    "facebook/w2v-bert-2.0": "w2v_bert",
    "facebook/mms-300m": "mms",
    "openai/whisper-small.en": "whisper",
    "openai-community/gpt2": "gpt2",
    "openai-community/gpt2-medium": "gpt2",
    "facebook/opt-350m": "opt_projected",
    "EleutherAI/pythia-410m": "gpt_neox",
    "EleutherAI/pythia-1b": "gpt_neox",
    "meta-llama/Llama-3.2-1B": "llama",
    "Qwen/Qwen3-0.6B-Base": "qwen3",
    "google/gemma-3-270m": "gemma3",
    "mistralai/Mistral-7B-v0.1": "mistral",
}


@pytest.fixture(scope="module")
def surroundings(small_corpus, tmp_path_factory, make_runs):
    """A store of runs, and corpora and models laid out as SPECTRON_DATA expects them."""
    folder = tmp_path_factory.mktemp("surroundings")
    lines = [json.loads(line) for line in (small_corpus / "carriers.jsonl").read_text().splitlines()]
    splits = {"librispeech_mini": {}, "librispeech": {"train": "train-clean-100", "dev": "dev-clean"}, "librilight": {}}
    for corpus, renamed in splits.items():
        shutil.copytree(small_corpus / "audio", folder / corpus / "audio")
        renewed = [line | {"split": renamed.get(line["split"], line["split"])} for line in lines]
        (folder / corpus / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in renewed))
    shutil.copytree(small_corpus / "text", folder / "text")
    write_authors_hifigan(folder / "hifigan_v3_lj", "2", LJ_SPEECH)
    write_speechbrain_folder("conformer", folder / "models" / "asr-conformer-transformerlm-librispeech")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECTRON_DATA", str(folder))
        patch.setenv("SPECTRON_RUNS", str(make_runs(folder / "runs")))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


@pytest.fixture
def tiny(tiny_encoder, tiny_language_model):
    """Returns a function that gives the overrides which put tiny models in the place of those that a configuration names."""

    def overrides(values: dict) -> list[str]:
        found = []
        for part, write in (("encoder", tiny_encoder), ("language_model", tiny_language_model)):
            arguments = values["model"].get(part, {}).get("init_args", {})
            if (family := STANDING_FOR.get(arguments.get("source"))) is not None:
                found.append(f"model.{part}.init_args.source={write(family)}")
            if isinstance(arguments.get("layer"), int):
                found.append(f"model.{part}.init_args.layer=1")
        return found

    return overrides


def overrides_for(path: Path, corpus: Path) -> list[str]:
    """Point an experiment at the small corpus, and keep its panel short."""
    text, chosen = path.read_text(), list(SHORT)
    if path.parent.name == "librispeech" or "librispeech-mini" in text:
        chosen += [
            "data.init_args.splitting.prompt_seconds=0.8",
            "data.init_args.splitting.min_continuation_seconds=0.5",
        ]
        if path.parent.name == "librispeech":  # the judges have been at work in the others
            return [
                *chosen,
                *FEW_POSITIONS,
                "callbacks.speech=null",
                "data.init_args.batching.num_workers=0",
                *ONE_DEVICE,
            ]
        return [*chosen, f"shared.scorer={FOLDER}/mini/weights/judge_text/language_model", *PANEL]
    if "RecordingsDataModule" in text:
        parts = [
            f"data.init_args.{key}=[{{manifest: {corpus}/carriers.jsonl, split: {key.replace('val', 'dev')}}}]"
            for key in ("train", "val")
        ]
        panel = ["callbacks.vocoder.init_args.panel_size=2", "callbacks.vocoder.init_args.audio_items=1"]
        return [*chosen, *parts, *panel, "data.init_args.held_out=null", "data.init_args.corpus=null"]
    if "TextDataModule" in text or "extends: pretrain_text" in text:
        files = {
            "train": "judge_train" if "judge" in text else "train",
            "val": "judge_dev" if "judge" in text else "dev",
        }
        chosen += [f"data.init_args.{key}={corpus / 'text' / name}.txt" for key, name in files.items()]
        return [
            *chosen,
            "data.init_args.corpus=null",
            f"model.language_model.init_args.tokenizer.text={corpus / 'text' / 'train.txt'}",
        ]
    values = compose(path).values
    data = values["data"].get("init_args", {})
    manifest = "questions" if values["data"]["class_path"].endswith("SpokenQADataModule") else "carriers"
    chosen += [f"data.init_args.manifest={corpus / manifest}.jsonl", "data.init_args.corpus=null"]
    if "continuation_data" in data:
        chosen.append(f"data.init_args.continuation_data.manifest={corpus}/carriers.jsonl")
    if "start" in values.get("shared", {}):
        chosen.append(f"shared.start={FOLDER}/mini/weights/spectron")
    if "text" in data:
        chosen.append(f"data.init_args.text.files={corpus}/text/train.txt")
    return [*chosen, *PANEL] if "panel_size" in str(values.get("callbacks", {}).get("speech")) else chosen


# Tiny models of GPT-2 and Pythia have 128 positions.
FEW_POSITIONS = ["model.head.init_args.frames_per_step=8", "trainer.accumulate_grad_batches=1"]
ONE_DEVICE = ["trainer.strategy=auto", "trainer.devices=1"]
PANEL = ["callbacks.speech.init_args.panel_size=2", "callbacks.speech.init_args.audio_items=1"]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_it_takes_a_step(path, small_corpus, surroundings, tiny):
    overrides = overrides_for(path, small_corpus)
    outcome = fit(Experiment.read(path, [*overrides, *tiny(compose(path).values)]))
    measures = {measure.name: measure for measure in outcome.measures}
    assert measures["val/loss"].value > 0
    assert (outcome.folder / "checkpoints" / "last.ckpt").is_file()
    assert (outcome.folder / "config.yaml").is_file()
    if any(override.startswith("callbacks.speech.") for override in overrides):
        assert measures["val/stopped"].count == 2
        assert measures["ceiling/speech_wer"].count == 2
    if any(override.startswith("callbacks.vocoder.") for override in overrides):
        assert measures["griffin_lim/mel_distance"].count == measures["val/mel_distance"].count == 2
        assert measures["recording/speech_wer"].count == 2
    if any(override.startswith("callbacks.") and "null" not in override for override in overrides):
        panel = next((outcome.folder / "panel").iterdir())
        samples = [json.loads(line) for line in (panel / "samples.jsonl").read_text().splitlines()]
        assert len(samples) == 2
        assert [path.suffix for path in outcome.headlines] == [".wav", ".png"]
        assert all(path.is_file() for path in outcome.headlines)


def test_every_experiment_is_here():
    assert len(EXPERIMENTS) == 40
