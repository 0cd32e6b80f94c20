"""A manifest of noise with word times, and a synthetic corpus, both small."""

import json

import numpy as np
import pytest
import soundfile
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback

from spectron.audio.resampling import SampleRates
from spectron.datamodules.synthetic.corpus import write_corpus
from spectron.datamodules.synthetic.corpus_plan import CorpusSettings


@pytest.fixture
def speech(tmp_path):
    """Return a function that writes a manifest of utterances of given seconds.

    There is a word every half second. All but the first utterance are in the split train.
    """

    def write(seconds, rate=16000, **fields):
        rng = np.random.default_rng(0)
        lines = []
        for index, length in enumerate(seconds):
            file = f"u{index}.flac"
            soundfile.write(tmp_path / file, 0.1 * rng.standard_normal(round(length * rate)), rate)
            words = [[f"W{n}", n / 2, n / 2 + 0.4] for n in range(int(length * 2))]
            line = {
                "id": f"u{index}",
                "audio_filepath": file,
                "text": " ".join(word for word, *_ in words),
                "words": words,
            }
            lines.append(
                line | {"duration": length, "speaker": f"s{index % 3}", "split": "train" if index else "dev"} | fields
            )
        manifest = tmp_path / "manifest.jsonl"
        manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return manifest

    return write


@pytest.fixture(scope="session")
def tiny():
    return CorpusSettings(
        voices=2,
        carriers=6,
        dev_carriers=3,
        judge_carriers=8,
        wordings_per_voice=1,
        text_lines=300,
        judge_text_lines=400,
    )


@pytest.fixture(scope="session")
def corpus(tmp_path_factory, tiny):
    """The folder of a synthetic corpus with few carriers."""
    folder = tmp_path_factory.mktemp("synthetic") / "corpus"
    write_corpus(folder, tiny, workers=2)
    return folder


class Recorder(LightningModule):
    """Notes the batches that it was given: lines of text, or ids with the lengths of their prompts."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch if isinstance(batch, list) else (batch.ids, batch.prompt_num_samples.tolist()))

    def sample_rates(self):
        return SampleRates(16000, 16000)

    def configure_optimizers(self):
        return None


class StopAt(Callback):
    """Stops in the middle of the endless epoch."""

    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        trainer.should_stop = trainer.fit_loop.epoch_loop.batch_progress.total.processed >= self.steps


@pytest.fixture
def run(tmp_path):
    """Return a function that trains from the checkpoint of a step to another step, and returns the batches."""

    def run(data, steps, resumed=None):
        recorder = Recorder()
        quiet = {
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
        stop = StopAt(steps)
        trainer = Trainer(
            accelerator="cpu", max_epochs=-1, limit_val_batches=0, default_root_dir=tmp_path, callbacks=stop, **quiet
        )
        checkpoint = None if resumed is None else tmp_path / f"{resumed}.ckpt"
        trainer.fit(recorder, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        trainer.save_checkpoint(tmp_path / f"{steps}.ckpt")
        return recorder.seen

    return run
