"""Distances between speech and a recording of the same words: slow loops, other libraries, known differences."""

import math

import numpy as np
import pytest
import scipy.fft
import torch
from signals import harmonics

from spectron.evaluation.metrics import MelCepstralDistance, PitchError, pitch_error
from spectron.evaluation.metrics.cepstra import align, cepstral_distances, cosine_series
from spectron.evaluation.metrics.pitch import pitch

FORCED = [MelCepstralDistance(), PitchError()]


def value(metric, sample) -> float:
    numerator, denominator = metric.numerator_and_denominator(sample)
    return numerator / denominator


def words(seed: int, syllables: int = 4) -> torch.Tensor:
    """Syllables of 0.1 s of random pitch and brightness, which an alignment can recognise."""
    generator = torch.Generator().manual_seed(seed)
    shapes = torch.rand(syllables, 2, generator=generator).tolist()
    return torch.cat([harmonics(120 * 2**height, 1600, tilt=0.3 + 2 * dull) for height, dull in shapes])


def slow_path(costs: np.ndarray) -> list[tuple[int, int]]:
    """Return the cheapest path through a table of costs, computed by its definition."""
    total = np.full((costs.shape[0] + 1, costs.shape[1] + 1), np.inf)
    total[0, 0] = 0
    for i, j in np.ndindex(costs.shape):
        total[i + 1, j + 1] = costs[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    path = [(costs.shape[0], costs.shape[1])]
    while path[-1] != (1, 1):
        i, j = path[-1]
        path.append(min([(i - 1, j - 1), (i - 1, j), (i, j - 1)], key=lambda place: total[place]))
    return [(i - 1, j - 1) for i, j in reversed(path)]


def test_cosine_series_equals_scipy():
    log_mel = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    theirs = scipy.fft.dct(log_mel.double().numpy(), norm="ortho")[:, 1:14] * math.sqrt(2 / 40)
    assert np.allclose(cosine_series(log_mel).numpy(), theirs)


def test_cepstral_distance_is_rms_decibels():
    """An envelope that differs by one cosine of 6 dB at its peaks differs by 6 / sqrt(2) dB, whatever its mean."""
    bands = torch.arange(40) + 0.5
    ripple = 6 * math.log(10) / 20 * torch.cos(math.pi * 5 / 40 * bands)
    first, second = cosine_series(torch.ones(1, 40)), cosine_series(ripple[None] + 3)
    assert cepstral_distances(first, second).tolist() == pytest.approx([6 / math.sqrt(2)])


def test_align_equals_slow_path():
    generator = torch.Generator().manual_seed(1)
    first, second = torch.randn(7, 3, generator=generator), torch.randn(10, 3, generator=generator)
    ours, theirs = align(first, second)
    assert list(zip(ours.tolist(), theirs.tolist(), strict=True)) == slow_path(torch.cdist(first, second).numpy())


def test_cepstral_distance_equals_librosa_and_slow_path(make_sample):
    import librosa

    cepstra = []
    for waveform in (words(2), words(3, 5)):
        peaked = (waveform / waveform.abs().max()).numpy()
        settings = {
            "sr": 16000,
            "n_fft": 512,
            "win_length": 400,
            "hop_length": 160,
            "n_mels": 40,
            "fmin": 20,
            "fmax": 8000,
        }
        mel = librosa.feature.melspectrogram(y=peaked, power=1.0, htk=True, norm=None, pad_mode="constant", **settings)
        log_mel = np.log(np.maximum(mel.T[: -(-len(waveform) // 160)], 0.01))
        cepstra.append(scipy.fft.dct(log_mel, norm="ortho")[:, 1:14] * math.sqrt(2 / 40))
    costs = np.linalg.norm(cepstra[0][:, None] - cepstra[1], axis=2)
    path = slow_path(costs)
    expected = 10 * math.sqrt(2) / math.log(10) * sum(costs[place] for place in path) / len(path)
    sample = make_sample(generated=words(2), reference=words(3, 5))
    assert value(MelCepstralDistance(), sample) == pytest.approx(expected, rel=1e-3)
    assert MelCepstralDistance().numerator_and_denominator(sample)[1] == len(path)


def test_pitch_of_harmonics_and_silence():
    """200 cents above 120 Hz; the tracker's steps are 20 cents."""
    for hertz in (120.0, 120 * 2 ** (200 / 1200), 240.0):
        tracked = pitch(harmonics(hertz, 8000))[5:-5]
        assert (1200 * (tracked / hertz).log2()).abs().max() < 11
    assert pitch(torch.zeros(8000)).isnan().all()


def test_pitch_error_is_rms_over_frames_voiced_in_both():
    """An octave, no difference, and two frames that are unvoiced in one of the two."""
    first = torch.tensor([200.0, 100.0, math.nan, 100.0])
    second = torch.tensor([100.0, 100.0, 100.0, math.nan])
    assert pitch_error(first, second) == (pytest.approx(1200 / math.sqrt(2)), 2)


def test_pitch_error_of_two_semitones(make_sample):
    sample = make_sample(generated=harmonics(120 * 2 ** (200 / 1200), 8000), reference=harmonics(120, 8000))
    assert value(PitchError(), sample) == pytest.approx(200, abs=20)


@pytest.mark.parametrize("metric", FORCED, ids=lambda metric: type(metric).__name__)
@pytest.mark.parametrize(("gain", "seed"), [(1.0, 0), (0.25, 1), (2.0**-12, 2), (3.0, 3), (1e-4, 4)])
def test_gain_of_recording_gives_zero_distance(metric, gain, seed, make_sample):
    recording = words(seed)
    assert value(metric, make_sample(generated=gain * recording, reference=recording)) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("metric", FORCED, ids=lambda metric: type(metric).__name__)
def test_pause_costs_less_than_other_words(metric, make_sample):
    """A longer pause before and after the words costs much less than other words."""
    recording, pause = words(4), torch.zeros(1600)
    paused = make_sample(
        generated=torch.cat([pause, recording, pause]), reference=torch.cat([pause[:800], recording, pause[:800]])
    )
    assert value(metric, paused) < 0.1 * value(metric, make_sample(generated=words(5), reference=recording))


@pytest.mark.parametrize("metric", FORCED, ids=lambda metric: type(metric).__name__)
@pytest.mark.parametrize("silence", [0, 1, 8000])
def test_forced_metric_skips_silence(metric, silence, make_sample):
    recording, nothing = harmonics(120), torch.zeros(silence)
    samples = [make_sample(generated=nothing, reference=recording), make_sample(generated=recording, reference=nothing)]
    metric.update([*samples, make_sample(generated=recording, reference=recording)])
    measured = metric.measures()
    metric.reset()
    assert (measured[0].value, measured[0].count, measured[-1].value) == (pytest.approx(0, abs=1e-6), 1, 2)


def test_pitch_error_skips_unvoiced_speech(make_sample):
    """A click is unvoiced and shorter than any window."""
    assert (
        PitchError().numerator_and_denominator(
            make_sample(generated=torch.tensor([0.0, 1.0, 0.0]), reference=harmonics(120))
        )
        is None
    )


def test_cepstral_distance_of_one_frame(make_sample):
    click = torch.tensor([0.0, 1.0, 0.0])
    assert MelCepstralDistance().numerator_and_denominator(make_sample(generated=click, reference=click)) == (0.0, 1)


def test_forced_metrics_independent_of_sample_rate(make_sample):
    low, high = harmonics(150, 8000), harmonics(150, 11025, 22050)
    at_low = make_sample(generated=low, reference=harmonics(130, 8000))
    at_high = make_sample(generated=high, reference=harmonics(130, 11025, 22050), speech_rate_hz=22050)
    for metric in FORCED:
        assert value(metric, at_high) == pytest.approx(value(metric, at_low), rel=0.05)
