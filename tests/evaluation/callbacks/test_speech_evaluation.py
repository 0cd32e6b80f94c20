"""The callback under a real trainer: its logs and files, its schedule, and that it does not influence training."""

import json
import signal
from functools import partial

import pytest
import torch
from lightning import Callback, LightningDataModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn

from spectron.audio.mel import MelConfig
from spectron.batch import SpeechBatch
from spectron.decoding import Decoding
from spectron.encoders import FrameStackEncoder
from spectron.errors import ConfigError
from spectron.evaluation.callbacks import SpeechEvaluation
from spectron.evaluation.callbacks.panel_evaluation import in_evaluation_mode
from spectron.evaluation.judges import QualityPredictor, ResemblyzerEmbedder, Transcriber
from spectron.evaluation.metrics import SpeechWordErrorRate
from spectron.heads import MelRegressionHead, PreNetSettings
from spectron.language_models import CausalLanguageModel, TokenizerSettings
from spectron.segments import SequenceSettings
from spectron.tracking.logger import RunLogger
from spectron.tracking.store import TrackingSettings
from spectron.training.checkpoints import Checkpoints, CheckpointSettings
from spectron.training.spectron import SpectronModule
from spectron.vocoders import GriffinLimVocoder
from spectron.weights.checkpoint_files import read_checkpoint

LM = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "attention_dropout": 0.1,
}
CONFIG = {"max_text_tokens": 6, "max_seconds": 0.5}


def batch(first: int, rows: int) -> SpeechBatch:
    generator = torch.Generator().manual_seed(first)
    texts = ["what does the cow say", "what is the capital of france"] * rows
    return SpeechBatch(
        ids=[f"question/{first + row}" for row in range(rows)],
        prompt=torch.randn(rows, 8000, generator=generator) * 0.1,
        prompt_num_samples=torch.tensor([8000, 6000] * rows)[:rows],
        prompt_text=texts[:rows],
        continuation=torch.randn(rows, 6000, generator=generator) * 0.1,
        continuation_num_samples=torch.tensor([6000, 5000] * rows)[:rows],
        continuation_text=["the cow says moo", "the capital of france is paris"][:rows],
        answers=[["moo"], ["paris"]][:rows],
    )


class Questions(LightningDataModule):
    def train_dataloader(self):
        return torch.utils.data.DataLoader([batch(n, 2) for n in range(40)], batch_size=None)

    def val_dataloader(self):
        return torch.utils.data.DataLoader([batch(100, 2)], batch_size=None)

    def panel(self, size: int) -> list[SpeechBatch]:
        torch.rand(7), torch.manual_seed(torch.initial_seed() + 1)  # a careless data module
        return [batch(200 + 2 * n, 2) for n in range(size // 2)]


class Always(Transcriber):
    """Recogniser that always returns the same words."""

    title = "Always"

    def __init__(self, weights: torch.Tensor | None = None) -> None:
        super().__init__()
        if weights is not None:
            self.layer = nn.Linear(1, 1)
            self.layer.weight = nn.Parameter(weights)

    def load(self) -> None:
        torch.rand(3)

    def transcribe(self, waveforms, sample_rate_hz):
        torch.rand(3)
        return ["the cow says moo"] * len(waveforms)


class Modes(Callback):
    """Callback that checks that the module stays in the mode in which Lightning put it."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        assert all(part.training for part in pl_module.modules() if not isinstance(part, Transcriber))


@pytest.fixture
def module(tmp_path) -> SpectronModule:
    text = tmp_path / "text.txt"
    text.write_text(
        "what does the cow say | the cow says moo\nwhat is the capital of france | the capital of france is paris\n"
    )
    torch.manual_seed(0)
    return SpectronModule(
        encoder=FrameStackEncoder(16, stack=8),
        language_model=CausalLanguageModel(config=LM, tokenizer=TokenizerSettings(str(text), 300)),
        head=partial(
            MelRegressionHead,
            mel=MelConfig(n_mels=20),
            frames_per_step=8,
            pre_net=PreNetSettings(bottleneck=8),
            post_net_width=16,
        ),
        vocoder=partial(GriffinLimVocoder, iterations=2),
        sequence=SequenceSettings(text_separator=" | "),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunLogger:
    folder = tmp_path_factory.mktemp("runs")
    return RunLogger("test", TrackingSettings(folder=str(folder), uri=f"sqlite:///{folder}/mlflow.db"))


@pytest.fixture
def logger(run, tmp_path) -> RunLogger:
    """One run for all tests, because a store takes seconds to open; files and measures are each test's own."""
    run.measures, run.headlines, run.folder = {}, [], tmp_path / "run"
    return run


def trainer_of(logger, *callbacks, **settings) -> Trainer:
    defaults = {
        "max_steps": 4,
        "val_check_interval": 2,
        "check_val_every_n_epoch": None,
        "max_epochs": -1,
        "num_sanity_val_steps": 1,
    }
    return Trainer(
        accelerator="cpu", logger=logger, callbacks=[Modes(), *callbacks], log_every_n_steps=1,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **{**defaults, **settings},
    )  # fmt: skip


class Listener(QualityPredictor):
    """Quality predictor that rates everything 3.5, unless its weights are missing."""

    title = "Listener"

    def __init__(self, at_home: bool = True) -> None:
        super().__init__()
        self.at_home = at_home

    def missing(self) -> str | None:
        return None if self.at_home else "the listener is out"

    def load(self) -> None:
        assert self.at_home

    def rate(self, waveforms, sample_rate_hz):
        return [3.5] * len(waveforms)


def test_two_embedders_and_optional_judge_in_training(module, logger):
    judges = {"resemblyzer": ResemblyzerEmbedder(), "untrimmed": ResemblyzerEmbedder(False), "listener": Listener()}
    trainer_of(logger, SpeechEvaluation(judges, decoding=Decoding(**CONFIG), panel_size=2)).fit(module, Questions())
    assert logger.measures["val/predicted_mos"].value == 3.5
    assert {"val/speaker_similarity", "val/speaker_similarity_untrimmed"} <= logger.measures.keys()
    with pytest.warns(UserWarning, match=r"judges\.listener is left out: the listener is out"):
        absent = SpeechEvaluation({"listener": Listener(at_home=False)})
    assert not any("mos" in name for name in absent.measure_names())


class Stopped(Always):
    """Recogniser that is interrupted by a signal."""

    def transcribe(self, waveforms, sample_rate_hz):
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("the panel went on")


def test_stop_ends_panel_at_once_and_keeps_step(module, logger, tmp_path):
    callback = SpeechEvaluation({"recogniser": Stopped()}, decoding=Decoding(**CONFIG), panel_size=2)
    checkpoints = Checkpoints(CheckpointSettings(every_n_steps=100), tmp_path / "kept")
    with pytest.raises(SIGTERMException):
        trainer_of(logger, callback, checkpoints, num_sanity_val_steps=0).fit(module, Questions())
    state = read_checkpoint(checkpoints.last)
    assert state["global_step"] == 2
    assert state["callbacks"][callback.state_key]["validations"] == 0


def test_run_has_files_measures_and_headlines(module, logger):
    callback = SpeechEvaluation(
        {"recogniser": Always(), "speaker_embedder": ResemblyzerEmbedder()},
        decoding=Decoding(**CONFIG),
        panel_size=4,
        audio_items=2,
    )
    trainer_of(logger, callback).fit(module, Questions())
    folders = sorted((logger.folder / "panel").iterdir())
    assert [folder.name for folder in folders] == ["step-0000002", "step-0000004"]  # none of the sanity check
    names = {path.name for path in folders[1].iterdir()}
    stems = ["01-question_200", "02-question_201"]
    assert {
        f"{stem}{end}" for stem in stems for end in (".png", "-prompt.wav", "-generated.wav", "-reference.wav")
    } < names
    rows = [json.loads(line) for line in (folders[1] / "samples.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["question/200", "question/201", "question/202", "question/203"]
    assert [row["scores"]["qa_accuracy"] for row in rows] == [1.0, 0.0, 1.0, 0.0]
    assert rows[1]["wavs"]["generated"] in names
    assert rows[2]["wavs"] == {}
    protocol = json.loads((folders[1] / "protocol.json").read_text())
    assert protocol["judges"]["recogniser"] == "Always"
    assert protocol["panel"] == [row["id"] for row in rows]

    measures = logger.measures
    assert (measures["val/qa_accuracy"].value, measures["val/qa_accuracy"].count) == (0.5, 4)
    assert measures["val/mel_l1_teacher_forced"].count == 4
    assert -1 <= measures["ceiling/speaker_similarity"].value <= 1
    assert measures["ceiling/speech_wer"].value == pytest.approx((0 + 4) / (4 + 6), abs=0.11)
    assert "ceiling/stopped" not in measures
    assert measures.keys() - {"val/loss"} <= callback.measure_names()
    assert [path.parent.name for path in logger.headlines] == ["step-0000004"] * len(logger.headlines)
    assert [path.suffix for path in logger.headlines] == [".wav", ".wav", ".png"]


def test_evaluation_does_not_change_training(module, logger):
    """The weights equal those of a training without the callback, bit by bit."""
    start = {name: value.clone() for name, value in module.state_dict().items()}
    ends = []
    for callbacks in (
        (),
        (SpeechEvaluation({"recogniser": Always()}, decoding=Decoding(**CONFIG), panel_size=2, audio_items=0),),
    ):
        module.load_state_dict(start)
        torch.manual_seed(9)
        trainer_of(logger, *callbacks).fit(module, Questions())
        ends.append({name: value.clone() for name, value in module.state_dict().items()})
    assert any(not torch.equal(start[name], ends[0][name]) for name in start)
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name


def evaluated_steps(callback, module, logger, **settings) -> list[int]:
    steps = []
    callback.evaluate = lambda trainer, pl_module: steps.append(trainer.global_step) or {}
    trainer_of(logger, callback, **settings).fit(module, Questions())
    return steps


@pytest.mark.parametrize(("max_steps", "expected"), [(6, [2, 4, 6]), (7, [2, 4, 6]), (8, [2, 4, 6, 8])])
def test_every_validation_is_evaluated_by_default(module, logger, max_steps, expected):
    assert evaluated_steps(SpeechEvaluation(), module, logger, max_steps=max_steps) == expected


@pytest.mark.parametrize(("max_steps", "expected"), [(8, [6, 8]), (9, [6, 8]), (12, [6, 12])])
def test_every_third_validation_and_the_last(module, logger, max_steps, expected):
    assert evaluated_steps(SpeechEvaluation(every_n_validations=3), module, logger, max_steps=max_steps) == expected


def test_resume_keeps_count_of_validations():
    first, second = SpeechEvaluation(every_n_validations=3), SpeechEvaluation(every_n_validations=3)
    first.validations, first.last_step = 5, 50
    second.load_state_dict(first.state_dict())
    assert (second.validations, second.last_step) == (5, 50)


def test_evaluation_mode_is_restored_for_each_part():
    model = nn.ModuleDict({"frozen": nn.Dropout(), "trained": nn.Dropout()})
    model["frozen"].eval()
    with in_evaluation_mode(model):
        assert not any(part.training for part in model.modules())
    assert (model.training, model["frozen"].training, model["trained"].training) == (True, False, True)


def test_validate_evaluates_whatever_the_count(module, logger):
    callback = SpeechEvaluation(
        {"recogniser": Always()},
        decoding=Decoding(**CONFIG),
        panel_size=2,
        audio_items=1,
        every_n_validations=5,
        ceiling=False,
    )
    trainer_of(logger, callback).validate(module, Questions(), verbose=False)
    assert (logger.folder / "panel" / "step-0000000" / "samples.jsonl").is_file()
    assert not any(name.startswith("ceiling/") for name in logger.measures)


def test_mistakes_are_refused_before_training(module, logger):
    with pytest.raises(ConfigError) as raised:
        SpeechEvaluation(panel_size=0)
    assert raised.value.key == "panel_size"
    with pytest.raises(ConfigError) as raised:
        SpeechEvaluation(metrics=[SpeechWordErrorRate()])
    assert raised.value.key == "metrics"
    thief = Always(module.model.encoder.project.weight.detach().clone())
    with pytest.raises(
        ConfigError, match=r"Always shares weights .* layer.weight equals the model's model.encoder.project.weight"
    ):
        trainer_of(logger, SpeechEvaluation({"thief": thief})).fit(module, Questions())
    with pytest.raises(ConfigError, match=r"spectron\.tracking\.RunLogger"):
        trainer_of(False, SpeechEvaluation()).fit(module, Questions())
    with pytest.raises(ConfigError, match="needs a task whose `model` continues speech"):
        trainer_of(logger, SpeechEvaluation()).validate(Silent(), Questions())
    with pytest.raises(ConfigError, match=r"`panel\(size\)`, and LightningDataModule has none"):
        trainer_of(logger, SpeechEvaluation()).fit(module, LightningDataModule.from_datasets([1], [1]))


class Silent(SpectronModule):
    def __init__(self) -> None:
        super(SpectronModule, self).__init__()
        self.model = nn.Linear(1, 1)
