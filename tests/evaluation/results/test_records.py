"""Records of items: names of audio files, fingerprints by file name, skipped samples."""

import pytest
import torch

from spectron.evaluation.metrics import FreeRunningMelError, StftDistance
from spectron.evaluation.results.records import audio_name
from spectron.evaluation.suites.plan import by_file_name


@pytest.mark.parametrize("name", ["84-121-0001", "größe.1", "a" * 150])
def test_audio_name_keeps_valid_id(name):
    assert audio_name(name) == name


def test_audio_name_unique_for_invalid_ids():
    names = ["q 1", "q/1", "q_1", "q?1", "a" * 300, "a" * 299 + "b"]
    found = [audio_name(name) for name in names]
    assert len(set(found)) == len(names)
    assert all("/" not in name and len(name) <= 170 for name in found)


def test_by_file_name_joins_equal_names():
    assert by_file_name({"b/q.jsonl": "2", "a/q.jsonl": "1", "c/r.jsonl": "3"}) == {
        "q.jsonl": ["1", "2"],
        "r.jsonl": ["3"],
    }
    assert by_file_name({"b/q.jsonl": "1", "a/q.jsonl": "2"}) == {"q.jsonl": ["1", "2"]}


def test_metric_skips_nan_and_silent_reference(make_sample):
    broken = make_sample(generated_mel=torch.full((8, 4), torch.nan))
    assert FreeRunningMelError().numerator_and_denominator(broken) is None
    noise = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    assert StftDistance().numerator_and_denominator(make_sample(generated=noise, reference=torch.zeros(4000))) is None
    assert (
        StftDistance().numerator_and_denominator(make_sample(generated=torch.zeros(4000), reference=noise)) is not None
    )
