"""A short training run on synthetic speech gives the losses that it gave when it was written down.

The figures were printed by this very test. They may move where the model, the losses or the data change on purpose: print them anew,
look whether the change explains them, and write them down.
"""

import pytest
import torch

from spectron.experiment import Experiment
from spectron.fitting import fit

CURVE = [8.5922, 7.6843, 7.2406]

YAML = """
name: golden
seed: 5
task: spectron.module.SpectronModule
shared: {mel: {mel_bins: 40}}
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
  class_path: datamodules.SpokenQADataModule
  init_args: {manifest: CORPUS/questions.jsonl, val_splits: [heldout_voices], batching: {batch_seconds: 20.0}}
trainer: {max_steps: 24, val_check_interval: 8, limit_val_batches: 4, num_sanity_val_steps: 0, log_every_n_steps: 8, accelerator: cpu}
"""


@pytest.fixture
def losses(small_corpus, tmp_path, monkeypatch):
    """Validation losses every eight steps."""
    monkeypatch.setenv("SPECTRON_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    file = tmp_path / "golden.yaml"
    file.write_text(YAML.replace("CORPUS", str(small_corpus)))
    torch.set_num_threads(1)
    outcome = fit(Experiment.read(file))
    from mlflow import MlflowClient

    from spectron.runs import TrackingSettings

    client = MlflowClient(TrackingSettings(folder=str(tmp_path / "runs")).store_uri)
    return [round(metric.value, 4) for metric in client.get_metric_history(outcome.run_id, "val/loss")]


def test_the_losses_are_those_written_down(losses):
    assert losses == pytest.approx(CURVE, rel=1e-2), losses
    assert losses[-1] < 0.9 * losses[0]
