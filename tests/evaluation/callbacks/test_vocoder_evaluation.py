"""The callback that compares vocoders on the same recordings."""

import json

import pytest
import torch
from lightning import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from spectron.audio.mel import LogMel, MelConfig
from spectron.batch import SpeechBatch
from spectron.cli.tables import measures_table
from spectron.errors import ConfigError
from spectron.evaluation.callbacks import VocoderEvaluation
from spectron.evaluation.judges import Transcriber
from spectron.evaluation.metrics import mel_distance
from spectron.losses.waveform import stft_distances
from spectron.tracking.logger import RunLogger
from spectron.tracking.store import TrackingSettings
from spectron.training.ctc import CTCModule
from spectron.training.vocoding import VocoderLossWeights, VocoderModule
from spectron.vocoders import GriffinLimVocoder, VocosSettings, VocosVocoder
from spectron.vocoders.discriminators import DiscriminatorSettings

MEL = MelConfig(n_mels=40)


class Parrot(Transcriber):
    """Recogniser that returns one of two words."""

    title = "Parrot()"

    def load(self):
        pass

    def transcribe(self, waveforms, sample_rate_hz):
        return ["one" for _ in waveforms]


def recordings() -> SpeechBatch:
    torch.manual_seed(3)
    time = torch.arange(8000) / 16000
    waves = torch.stack([0.3 * torch.sin(2 * torch.pi * (200 + 900 * time) * time), 0.1 * torch.randn(8000)])
    lengths, nothing = torch.tensor([8000, 6400]), torch.zeros(2, 0)
    waves[1, 6400:] = 0
    return SpeechBatch(
        ["a", "b"],
        nothing,
        torch.zeros(2, dtype=torch.long),
        ["", ""],
        waves,
        lengths,
        ["one two", "one two"],
        ["", ""],
    )


class Recordings(LightningDataModule):
    def train_dataloader(self):
        return DataLoader([recordings()] * 2, batch_size=None)

    val_dataloader = train_dataloader

    def panel(self, size):
        return [recordings()]


def vocoder_task():
    torch.manual_seed(0)
    settings = VocosSettings(width=8, layers=1, feedforward=8, draft_rounds=2)
    judges = DiscriminatorSettings(periods=[2], period_channels=[4, 4], resolutions=[256], resolution_channels=2)
    weights = VocoderLossWeights(adversarial_from_step=1)
    return VocoderModule(lambda mel: VocosVocoder(mel, vocos=settings), MEL, judges, weights)


@pytest.fixture
def outcome(tmp_path):
    logger = RunLogger("vocoder", TrackingSettings(folder=str(tmp_path / "runs")))
    callback = VocoderEvaluation(
        {"recogniser": Parrot()}, {"griffin_lim": lambda mel: GriffinLimVocoder(mel, iterations=4)}, audio_items=1
    )
    task = vocoder_task()
    settings = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "accelerator": "cpu",
    }
    Trainer(
        max_steps=2, val_check_interval=2, num_sanity_val_steps=0, logger=logger, callbacks=[callback], **settings
    ).fit(task, Recordings())
    return task, callback, logger


def test_every_vocoder_is_measured_on_same_recordings(outcome):
    task, callback, logger = outcome
    measures = logger.measures
    assert set(measures) <= callback.measure_names()
    waves, log_mel = recordings(), LogMel(MEL)
    for prefix, vocoder in (("val", task.model.vocoder.eval()), ("griffin_lim", GriffinLimVocoder(MEL, iterations=4))):
        differences, frames, distances = 0.0, 0, []
        for row, length in enumerate(waves.continuation_num_samples.tolist()):
            alone, count = waves.continuation[row : row + 1, :length], torch.tensor([length])
            mel, num_frames = log_mel(alone, count)
            with torch.no_grad():
                vocoded, num_samples = vocoder(mel, num_frames)
            difference, compared = mel_distance(log_mel(vocoded, num_samples)[0][0], mel[0])
            differences, frames = differences + difference, frames + compared
            distances.append(float(sum(stft_distances(vocoded[:, :length], alone))))
        assert measures[f"{prefix}/mel_distance"].value == pytest.approx(differences / frames, rel=1e-3)
        assert measures[f"{prefix}/stft_distance"].value == pytest.approx(sum(distances) / 2, rel=1e-3)
        assert measures[f"{prefix}/speech_wer"].value == 0.5
    assert (measures["recording/speech_wer"].value, "recording/mel_distance" in measures) == (0.5, False)


def test_every_vocoder_has_wavs_and_table_column(outcome):
    _, _, logger = outcome
    folder = logger.folder / "panel" / "step-0000002"
    assert (folder / "01-a-generated.wav").is_file()
    assert (folder / "griffin_lim" / "01-a-generated.wav").is_file()
    assert len((folder / "griffin_lim" / "samples.jsonl").read_text().splitlines()) == 2
    assert json.loads((folder / "protocol.json").read_text())["panel"] == ["a", "b"]
    assert [path.parent.name for path in logger.headlines] == ["step-0000002"] * len(logger.headlines)
    table = measures_table(list(logger.measures.values()))
    assert [str(column.header) for column in table.columns][-2:] == ["griffin lim", "recording"]


def test_task_without_vocoder_is_refused():
    from spectron.encoders import FrameStackEncoder

    with pytest.raises(ConfigError, match="VocoderModule"):
        VocoderEvaluation().require_fitting(CTCModule(FrameStackEncoder(8)))
