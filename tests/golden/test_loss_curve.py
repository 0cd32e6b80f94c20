"""Losses of a short training on synthetic speech, compared with recorded values.

This test printed the recorded values. A deliberate change of the model, the losses or the data may change them: run the
test, check that the change explains the new values, and record those.
"""

import pytest
import torch

from spectron.experiment.experiment import Experiment
from spectron.experiment.fitting import fit
from spectron.tracking.store import TrackingSettings

CURVE = [8.4501, 7.6029, 7.139]

YAML = """
name: golden
seed: 5
task: spectron.training.SpectronModule
shared: {mel: {n_mels: 40}}
model:
  encoder:
    class_path: spectron.encoders.ConformerEncoder
    init_args: {conformer: {width: 32, layers: 2, heads: 2, feedforward: 64, kernel: 5}}
  language_model:
    class_path: spectron.language_models.CausalLanguageModel
    init_args:
      config: {model_type: llama, hidden_size: 48, intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 2}
      tokenizer: {text: CORPUS/text/train.txt, vocabulary_size: 400}
  head: {class_path: spectron.heads.MelRegressionHead, init_args: {mel: "${shared.mel}", frames_per_step: 4}}
  vocoder: {class_path: spectron.vocoders.GriffinLimVocoder}
  optimisation: {peak_learning_rate: 3.0e-3, warmup_steps: 4}
data:
  class_path: spectron.datamodules.SpokenQADataModule
  init_args: {manifest: CORPUS/questions.jsonl, val_splits: [unseen_speakers], batching: {batch_seconds: 20.0}}
trainer:
  max_steps: 24
  val_check_interval: 8
  limit_val_batches: 4
  num_sanity_val_steps: 0
  log_every_n_steps: 1
  accelerator: cpu
"""


@pytest.fixture(scope="module")
def golden(small_corpus, tmp_path_factory, make_runs):
    """Return a function that runs the experiment in a new store and gives all training and validation losses."""
    from mlflow import MlflowClient

    torch.set_num_threads(1)

    def run(*legs: list[str]) -> dict[str, list[tuple[int, float]]]:
        folder = tmp_path_factory.mktemp("golden")
        (folder / "golden.yaml").write_text(YAML.replace("CORPUS", str(small_corpus)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SPECTRON_RUNS", str(make_runs(folder / "runs")))
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            for number, overrides in enumerate(legs):
                outcome = fit(Experiment.read(folder / "golden.yaml", overrides), resume="" if number else None)
            client = MlflowClient(TrackingSettings().store_uri)
        names = ("train/text", "train/speech", "val/loss")
        return {name: [(m.step, m.value) for m in client.get_metric_history(outcome.run_id, name)] for name in names}

    return run


@pytest.fixture(scope="module")
def whole(golden):
    """Run without interruption."""
    return golden([])


def test_losses_equal_the_recorded_curve(whole):
    losses = [round(value, 4) for _, value in whole["val/loss"]]
    assert losses == pytest.approx(CURVE, rel=1e-2), losses
    assert losses[-1] < 0.9 * losses[0]


def test_resumed_run_has_the_losses_of_an_uninterrupted_run(golden, whole):
    broken = golden(["trainer.max_steps=11"], [])
    assert {name: dict(values) for name, values in broken.items()} == {
        name: dict(values) for name, values in whole.items()
    }
