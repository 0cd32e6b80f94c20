"""One training step and one validation of every recipe, with its real parts, data, judges, files and MLflow."""

import json
import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from places import EXPERIMENTS
from project_yamls import BASES, RECIPES, name_of
from short_runs import ONE_STEP, SHORT_PANEL
from speech_codecs import write_speech_codec
from speechbrain_folders import write_speechbrain_folder
from vocoders import LJ_SPEECH, write_authors_hifigan

from spectron.config.composition import compose
from spectron.encoders import PretrainedEncoder
from spectron.experiment.experiment import Experiment
from spectron.experiment.fitting import fit
from spectron.tokenizers.codebooks import write_codebooks

# Tiny models of the same families replace the models of the hub, so that the real code of every family runs.
FAMILY_OF = {
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
# The real corpora that the recipes read, with their names of the splits of the tests' corpus; None has no splits.
CORPORA = {
    "librispeech": {"train": "train-clean-100", "dev": "dev-clean"},
    "librispeech_mini": {"judge_dev": "test"},
    "librispeech_speakers": None,
    "ljspeech_mini": None,
    "librilight": {},
}
# Overrides of a recipe that has a key.
OVERRIDES = {
    "data.init_args.corpus": ["data.init_args.corpus=null"],
    "data.init_args.splitting": [
        "data.init_args.splitting.prompt_seconds=0.8",
        "data.init_args.splitting.min_continuation_seconds=0.5",
    ],
    "data.init_args.batching.num_workers": ["data.init_args.batching.num_workers=0"],
    "shared.start": [f"shared.start={EXPERIMENTS}/mini/weights/spectron"],
    "shared.scorer": [f"shared.scorer={EXPERIMENTS}/mini/weights/judge_text/language_model"],
    "trainer.strategy": ["trainer.strategy=auto"],
    "trainer.accumulate_grad_batches": ["trainer.accumulate_grad_batches=1"],
    "callbacks.speech": SHORT_PANEL,
    "callbacks.vocoder": ["callbacks.vocoder.init_args.panel_size=2", "callbacks.vocoder.init_args.audio_items=1"],
}
# The tiny language models have 128 positions. The judges of these recipes already run in librispeech_mini.yaml.
OVERRIDES_OF_LIBRISPEECH = ["model.head.init_args.frames_per_step=8", "callbacks.speech=null"]


def in_corpus(entry: dict, renamed: dict[str, str] | None) -> dict:
    """Return a manifest entry with the corpus' own name of its split."""
    if renamed is None:
        return {key: value for key, value in entry.items() if key != "split"}
    return entry | {"split": renamed.get(entry["split"], entry["split"])}


@pytest.fixture(scope="module")
def workplace(small_corpus, tmp_path_factory, make_runs):
    """Enter a folder with the corpora, models and runs that the recipes name."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "data").mkdir()
    for name in {name for file in [*RECIPES, *BASES] for name in re.findall(r"\bdata/([\w-]+)", file.read_text())}:
        (folder / "data" / name).symlink_to(small_corpus)
    entries = [json.loads(line) for line in (small_corpus / "carriers.jsonl").read_text().splitlines()]
    for corpus, renamed in CORPORA.items():
        (folder / corpus).mkdir()
        (folder / corpus / "audio").symlink_to(small_corpus / "audio")
        lines = [json.dumps(in_corpus(entry, renamed)) for entry in entries]
        (folder / corpus / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "text").symlink_to(small_corpus / "text")
    write_authors_hifigan(folder / "hifigan_v3_lj", "2", LJ_SPEECH)
    write_speechbrain_folder("conformer", folder / "models" / "asr-conformer-transformerlm-librispeech")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SPECTRON_DATA", str(folder))
        patch.setenv("SPECTRON_RUNS", str(make_runs(folder / "runs")))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


@pytest.fixture
def overrides_for(workplace, tiny_encoder, tiny_language_model):
    """Return a function that gives the overrides of a recipe for one short step on the tests' data and models."""

    def overrides(recipe: Path) -> list[str]:
        config = OmegaConf.create(compose(recipe).values)
        chosen = [*ONE_STEP]
        for key, values in OVERRIDES.items():
            if OmegaConf.select(config, key) is not None:
                chosen += values
        parts = {
            "model.encoder": tiny_encoder,
            "model.language_model": tiny_language_model,
            "model.tokenizer.init_args.encoder": tiny_encoder,
            "shared.tokenizer.init_args.encoder": tiny_encoder,
        }
        for part, write in parts.items():
            arguments = f"{part}.init_args"
            if (family := FAMILY_OF.get(OmegaConf.select(config, f"{arguments}.source"))) is not None:
                chosen.append(f"{arguments}.source={write(family)}")
            if isinstance(OmegaConf.select(config, f"{arguments}.layer"), int):
                chosen.append(f"{arguments}.layer=1")
        if OmegaConf.select(config, "shared.units") is not None:
            width = PretrainedEncoder(str(tiny_encoder("hubert"))).output_dim
            chosen.append(f"shared.units={write_codebooks(torch.randn(1, 8, width), workplace / 'units')}")
            if "language_model" in config.model:  # units need more positions than the tiny models have
                small = EXPERIMENTS / "mini/weights/text/language_model"
                chosen.append(f"model.language_model.init_args.source={small}")
            if OmegaConf.select(config, "callbacks.speech") is not None:
                chosen.append("callbacks.speech=null")
        if OmegaConf.select(config, "shared.codec") is not None:  # the tiny codec has four codebooks
            skipped = 2 if config.shared.skip_levels else 0
            chosen.append(f"shared.codec={write_speech_codec('mimi', workplace / 'mimi')}")
            chosen += [f"shared.levels={2 + skipped}", f"shared.skip_levels={skipped}"]
        return chosen + (OVERRIDES_OF_LIBRISPEECH if recipe.parent.name == "librispeech" else [])

    return overrides


@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_recipe_trains_and_validates_one_step(recipe, overrides_for):
    experiment = Experiment.read(recipe, overrides_for(recipe))
    outcome = fit(experiment)
    measures = {measure.name: measure for measure in outcome.measures}
    assert measures["val/loss"].value > 0
    assert (outcome.folder / "checkpoints" / "last.ckpt").is_file()
    assert (outcome.folder / "config.yaml").is_file()
    panels = {name for name in ("speech", "vocoder") if experiment.config["callbacks"].get(name) is not None}
    if "speech" in panels:
        assert measures["val/stopped"].count == 2
        assert measures["ceiling/speech_wer"].count == 2
    if "vocoder" in panels:
        assert measures["griffin_lim/mel_distance"].count == measures["val/mel_distance"].count == 2
        assert measures["recording/speech_wer"].count == 2
    if panels:
        panel = next((outcome.folder / "panel").iterdir())
        samples = [json.loads(line) for line in (panel / "samples.jsonl").read_text().splitlines()]
        assert len(samples) == 2
        assert [path.suffix for path in outcome.headlines] == [".wav", ".png"]
        assert all(path.is_file() for path in outcome.headlines)


def test_speech_or_vocoder_panels_run_in_ten_recipes(overrides_for):
    callbacks = [compose(recipe, overrides_for(recipe)).values.get("callbacks", {}) for recipe in RECIPES]
    assert sum(entry.get("speech") is not None for entry in callbacks) == 9
    assert sum(entry.get("vocoder") is not None for entry in callbacks) == 1
