"""Derived rates, widths and sizes in the stored configuration of a run, and checks of single parts."""

import logging
from pathlib import Path

import pytest
import yaml
from places import EXPERIMENTS

from spectron.cli.parser import main
from spectron.errors import CheckpointError, ConfigError, DataError
from spectron.experiment.experiment import Experiment
from spectron.experiment.fitting import fit, inspect_experiment
from spectron.experiment.loading import find_source, load_experiment, read_config
from spectron.experiment.part_check import named_parts
from spectron.experiment.resuming import find_resumable
from spectron.tracking.store import find_run, list_runs

ENCODER = """
import torch
from spectron.contracts import SpeechEncoder


class Chunks(SpeechEncoder):
    def __init__(self, chunk: int = 640) -> None:
        super().__init__()
        self.sample_rate_hz, self.chunk = 16000, chunk
        self.layer = torch.nn.Linear(chunk, 24)

    def forward(self, waveform, num_samples):
        inside = torch.arange(waveform.shape[1], device=waveform.device) < num_samples[:, None]
        waveform = torch.nn.functional.pad(waveform * inside, (0, -waveform.shape[1] % self.chunk))
        return self.layer(waveform.unflatten(1, (-1, self.chunk))), -(-num_samples // self.chunk)
"""

YAML = """
name: found
task: spectron.training.SpectronModule
model:
  encoder: my_encoder.py:Chunks
  language_model:
    class_path: spectron.language_models.CausalLanguageModel
    init_args:
      config: {model_type: llama, hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1, num_attention_heads: 2}
      tokenizer: {text: CORPUS/text/train.txt, vocabulary_size: 300}
  head:
    class_path: spectron.heads.MelRegressionHead
    init_args: {mel: {n_mels: 20}, frames_per_step: 2, post_net_width: 8}
  vocoder: {class_path: spectron.vocoders.GriffinLimVocoder, init_args: {iterations: 2}}
data:
  class_path: spectron.datamodules.SpokenQADataModule
  init_args: {manifest: CORPUS/questions.jsonl, val_splits: [unseen_speakers], batching: {batch_seconds: 10.0}}
trainer:
  {max_steps: 2, val_check_interval: 2, limit_val_batches: 1, num_sanity_val_steps: 0,
   accelerator: cpu, enable_progress_bar: false}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory, small_corpus):
    folder = tmp_path_factory.mktemp("found")
    (folder / "my_encoder.py").write_text(ENCODER)
    (folder / "found.yaml").write_text(YAML.replace("CORPUS", str(small_corpus)))
    return folder / "found.yaml"


@pytest.fixture(scope="module")
def run(file, runs):
    return fit(Experiment.read(file))


def test_stored_config_holds_resolved_values(run, file):
    stored = yaml.safe_load((run.folder / "config.yaml").read_text())
    found = stored["resolved"]
    assert found["encoder"] == {"sample_rate_hz": 16000, "frame_rate_hz": 25.0, "output_dim": 24}
    assert found["language_model"] == {
        "class": "LlamaForCausalLM",
        "hidden_size": 16,
        "vocabulary": 300,
        "max_positions": 2048,
    }
    assert (found["head"]["frames_per_step"], found["head"]["format"]["n_mels"]) == (2, 20)
    assert found["vocoder"]["format"] == found["head"]["format"]
    assert read_config(run.folder / "checkpoints" / "last.ckpt")["resolved"] == found
    assert find_run(run.run_id).params["resolved.encoder.output_dim"] == "24"
    assert stored["model"]["encoder"]["class_path"] == f"{file.parent}/my_encoder.py:Chunks"


def test_resume_and_load_with_resolved_values(run, file):
    assert find_resumable(Experiment.read(file, ["trainer.max_steps=4"]), "").run_id == run.run_id
    source = find_source(run.run_id)
    again = load_experiment(source, trust=True)
    assert (
        again.module().state_dict().keys()
        == load_experiment(source, model_only=True, trust=True).module().state_dict().keys()
    )


def test_changed_resolved_values_overwritten_and_logged(run, tmp_path, caplog):
    stored = yaml.safe_load((run.folder / "config.yaml").read_text())
    stored["resolved"]["encoder"]["output_dim"] = 99
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(stored))
    experiment = Experiment.read(tmp_path / "again.yaml", ["model.encoder.init_args.chunk=320"])
    logging.getLogger("lightning.pytorch.utilities.rank_zero").propagate = True
    with caplog.at_level(logging.INFO):
        experiment.module()
    assert experiment.config["resolved"]["encoder"] == {
        "sample_rate_hz": 16000,
        "frame_rate_hz": 50.0,
        "output_dim": 24,
    }
    assert f"resolved.encoder.output_dim: 99 in {tmp_path / 'again.yaml'}, 24 now" in caplog.text
    assert "resolved.encoder.frame_rate_hz: 25.0" in caplog.text
    assert "resolved.head" not in caplog.text


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "chunk = 16000, chunk",
            "output_dim, self.frame_rate_hz, self.chunk = 16000, 9, 25.0, chunk",
            "output_dim is 9, but its features are 24",
        ),
        ("self.sample_rate_hz, self.chunk = 16000, chunk", "self.chunk = chunk", "sets no sample_rate_hz"),
        (
            "        super().__init__()\n",
            "",
            r"my_encoder\.py, line 9: AttributeError: cannot assign module before",
        ),
        (", -(-num_samples // self.chunk)\n", "\n", r"forward returns a tensor \(3, 25, 24\).*Return the pair"),
        (
            "self.layer(waveform.",
            "self.lajer(waveform.",
            r"my_encoder\.py, line 15: AttributeError: .*lajer",
        ),
        ("num_samples // self.chunk)", "num_samples / self.chunk)", r"num_steps a tensor \(3\) of torch.float32"),
        ("self.layer(waveform.", "self.layer(waveform[:, :5].", r"my_encoder\.py, line 15: RuntimeError"),
    ],
)
def test_malformed_user_encoder_refused_when_built(file, tmp_path, before, after, message):
    assert before in ENCODER
    (tmp_path / "my_encoder.py").write_text(ENCODER.replace(before, after))
    (tmp_path / "wrong.yaml").write_text(file.read_text())
    with pytest.raises(ConfigError, match=f"Chunks: .*{message}") as raised:
        Experiment.read(tmp_path / "wrong.yaml").module()
    assert (raised.value.key, raised.value.origin) == ("model.encoder", f"{tmp_path}/wrong.yaml")


def test_probing_leaves_training_mode(file):
    module = Experiment.read(file).module()
    assert all(part.training for part in module.modules())


def test_missing_manifest_and_weights_refused(file, tmp_path):
    for gone, whole in (
        (f"{tmp_path}/gone.jsonl", f"{tmp_path}/gone.jsonl"),
        ("gone.jsonl", f"{Path.cwd()}/gone.jsonl"),
    ):
        with pytest.raises(DataError, match=f"there is no file {whole}") as raised:
            inspect_experiment(Experiment.read(file, [f"data.init_args.manifest={gone}"]))
        assert (raised.value.key, raised.value.origin) == ("data.init_args.manifest", "the command line")
    (tmp_path / "encoder.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"Did you mean \S+/encoder\.safetensors\?") as raised:
        Experiment.read(file, [f"weights.encoder={tmp_path}/encodr.safetensors"]).module()
    assert (raised.value.key, raised.value.origin) == ("weights.encoder", "the command line")


@pytest.mark.parametrize("run", [inspect_experiment, fit])
def test_callback_errors_leave_no_run(file, runs, tmp_path, run):
    before = len(list_runs())
    judge = "callbacks.speech.init_args.judges.text_scorer"
    overrides = ["callbacks.speech.class_path=spectron.evaluation.callbacks.SpeechEvaluation"]
    overrides += [
        f"{judge}.class_path=spectron.evaluation.judges.TransformersTextScorer",
        f"{judge}.init_args.source={tmp_path}",
        "callbacks.speech.init_args.judges.recogniser.class_path=spectron.evaluation.judges.CTCTranscriber",
        f"callbacks.speech.init_args.judges.recogniser.init_args.folder={EXPERIMENTS}/mini/weights/judge_recogniser",
    ]
    with pytest.raises(ConfigError, match=rf"(?s)'{tmp_path}' .*no weights at all") as raised:
        run(Experiment.read(file, overrides))
    assert (raised.value.key, raised.value.origin) == (f"{judge}.init_args.source", "the command line")
    vocoders = ["callbacks.vocoder.class_path=spectron.evaluation.callbacks.VocoderEvaluation"]
    with pytest.raises(ConfigError, match="needs a task that trains a vocoder") as raised:
        run(Experiment.read(file, vocoders))
    assert (raised.value.key, raised.value.origin) == ("callbacks.vocoder", "the command line")
    assert len(list_runs()) == before


def test_failed_check_exits_1_and_names_check(file, capsys):
    (file.parent / "leaky.py").write_text(ENCODER.replace("waveform * inside", "waveform"))
    assert main(["check", "--part", "encoder", str(file), f"model.encoder={file.parent}/leaky.py:Chunks"]) == 1
    printed = capsys.readouterr()
    assert "✓ shapes" in printed.out
    assert "✗ padding                noise in the padding changes valid features: mask the waveform" in printed.out
    assert printed.err.strip().endswith("leaky.py:Chunks fails padding")


@pytest.mark.parametrize("part", ["head", "vocoder"])
def test_part_built_alone_names_its_key(file, part):
    (file.parent / "refusing.py").write_text(
        "from spectron.heads import MelRegressionHead\nfrom spectron.vocoders import GriffinLimVocoder\n\n\n"
        "class Refusinghead(MelRegressionHead):\n"
        "  def __init__(self, hidden_size, source: str = ''):\n        raise OSError('no')\n\n\n"
        "class Refusingvocoder(GriffinLimVocoder):\n"
        "  def __init__(self, mel, source: str = ''):\n        raise OSError('no')\n"
    )
    experiment = Experiment.read(file, [f"model.{part}={file.parent}/refusing.py:Refusing{part}"])
    with pytest.raises(ConfigError, match=f"Refusing{part}: no") as raised:
        list(named_parts(experiment, part)[0].verdicts())
    assert (raised.value.key, raised.value.origin) == (f"model.{part}", "the command line")


@pytest.mark.parametrize(("part", "given"), [("head", "int"), ("vocoder", "SpeechFormat")])
def test_part_without_supplied_argument_refused(file, part, given):
    (file.parent / "bare.py").write_text(
        "from spectron.heads import MelRegressionHead\nfrom spectron.vocoders import GriffinLimVocoder\n\n\n"
        "class Barehead(MelRegressionHead):\n    def __init__(self):\n        super().__init__(24)\n\n\n"
        "class Barevocoder(GriffinLimVocoder):\n    def __init__(self):\n        super().__init__(None)\n"
    )
    with pytest.raises(ConfigError, match=f"must take {given} as its first argument") as raised:
        Experiment.read(file, [f"model.{part}={file.parent}/bare.py:Bare{part}"])
    assert (raised.value.key, raised.value.origin) == (f"model.{part}.class_path", "the command line")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "model.optimisation.freeze=['encoder.lajer.*']",
            r"freeze: 'encoder\.lajer\.\*' matches no parameter\. Did you mean `encoder\.layer\.\*`\?",
        ),
        (
            "model.optimisation.freeze=['encodr.*']",
            r"freeze: 'encodr\.\*' matches no parameter\. Did you mean `encoder\.\*`\?",
        ),
        (
            "weights.encodr=encoder.safetensors",
            r"weights\.encodr: the model has no such part. Did you mean `encoder`\?",
        ),
    ],
)
def test_unmatched_weights_or_freeze_refused(file, override, told):
    with pytest.raises(ConfigError, match=told):
        list(named_parts(Experiment.read(file, [override]), "encoder")[0].verdicts())


def test_freeze_patterns_of_other_parts_accepted(file):
    freeze = "model.optimisation.freeze=['encoder.*','sequence.*','*.bias','language_model.lm.*']"
    part = named_parts(Experiment.read(file, [freeze]), "encoder")[0].build(0)
    assert not any(parameter.requires_grad for parameter in part.parameters())


def test_check_part_metric_and_judge_of_callbacks(file, tmp_path, capsys):
    (tmp_path / "rates.py").write_text(
        "from spectron.evaluation.metrics import MetricSpec, RatioMetric\n\n\nclass Rate(RatioMetric):\n"
        "    label = MetricSpec('rate', 'words/s', None)\n\n"
        "    def numerator_and_denominator(self, sample):\n"
        "        return len(sample.text.split()), sample.generated_seconds\n"
    )
    speech = "callbacks={speech: {class_path: spectron.evaluation.callbacks.SpeechEvaluation, init_args: {%s}}}"
    metrics = speech % f"metrics: [spectron.evaluation.metrics.StoppedShare, {tmp_path}/rates.py:Rate]"
    assert main(["check", "--part", "metric", str(file), metrics]) == 1
    printed = capsys.readouterr()
    assert (
        "callbacks.speech.init_args.metrics.0: spectron.evaluation.metrics.StoppedShare\n"
        "✓ form                   stopped in share" in printed.out
    )
    assert "✗ odd samples            one without speech alone: rate is inf; leave out a sample" in printed.out.replace(
        "\n", " "
    )
    assert (
        printed.err.strip()
        == f"spectron: error: callbacks.speech.init_args.metrics.1: {tmp_path}/rates.py:Rate fails odd samples"
    )
    assert main(["check", "--part", "judge", str(file), metrics]) == 1
    assert (
        "no judge is named in this experiment, and defaults are not examined; named are callbacks.speech."
        in capsys.readouterr().err
    )
    embedder = speech % "judges: {voices: spectron.evaluation.judges.ResemblyzerEmbedder}"
    assert main(["check", "--part", "judge", str(file), embedder]) == 0
    assert "✓ odd items              answered: no voice, no voice" in capsys.readouterr().out
