"""Unit HiFi-GAN against speechbrain's own, and folders that were made for other units."""

import dataclasses

import pytest
import torch
from vocoders import unit_generator, write_speechbrain_hifigan, write_unit_hifigan

from spectron.audio.codes import CodeFormat
from spectron.errors import ConfigError, DataError
from spectron.vocoders import UnitHiFiGANVocoder

FORMAT = CodeFormat(16000, 50.0, (10,), "0" * 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_unit_hifigan(tmp_path_factory.mktemp("units"), 10)


def test_waveform_is_that_of_speechbrain_without_its_lengths(folder):
    units = torch.arange(20)[None, :, None] % 10
    library = unit_generator(10)
    library.duration_predictor = False  # the speech head gives the unit of each frame
    library.remove_weight_norm()
    waveform, num_samples = UnitHiFiGANVocoder(FORMAT, str(folder))(units, torch.tensor([20]))
    assert num_samples.tolist() == [20 * 320]
    torch.testing.assert_close(waveform, library.inference(units + 1)[0], atol=1e-6, rtol=1e-4)


def test_saved_vocoder_speaks_the_same(folder, tmp_path):
    vocoder = UnitHiFiGANVocoder(FORMAT, str(folder))
    again = UnitHiFiGANVocoder(FORMAT, str(tmp_path), **vocoder.save(tmp_path))
    units = torch.tensor([3, 1, 4])
    torch.testing.assert_close(again.speak(units), vocoder.speak(units))


@pytest.mark.parametrize(
    "change",
    [{"sizes": (11,)}, {"sizes": (9,)}, {"sizes": (10, 10)}, {"rate_hz": 25.0}, {"sample_rate_hz": 8000}],
)
def test_generator_of_other_units_is_refused(folder, change):
    with pytest.raises(ConfigError) as raised:
        UnitHiFiGANVocoder(dataclasses.replace(FORMAT, **change), str(folder))
    assert raised.value.key == "source"


def test_unit_beyond_the_table_is_refused(folder):
    with pytest.raises(DataError):
        UnitHiFiGANVocoder(FORMAT, str(folder))(torch.full((1, 3, 1), 10), torch.tensor([3]))


@pytest.mark.parametrize("kind", ["speakers", "spectrograms", "nothing"])
def test_folder_of_another_generator_is_refused(tmp_path, kind):
    if kind == "speakers":
        write_unit_hifigan(tmp_path, 10, multi_speaker=True)
    if kind == "spectrograms":
        write_speechbrain_hifigan(tmp_path)
    with pytest.raises(ConfigError) as raised:
        UnitHiFiGANVocoder(FORMAT, str(tmp_path))
    assert raised.value.key == "source"
