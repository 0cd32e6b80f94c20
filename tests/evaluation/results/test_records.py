"""What is kept of an item."""

import pytest
import torch

from spectron.evaluation.metrics import FreeRunningMelError, StftDistance
from spectron.evaluation.results.records import audio_name
from spectron.evaluation.suites.plan import _by_name


@pytest.mark.parametrize("name", ["84-121-0001", "größe.1", "a" * 150])
def test_an_id_that_can_name_a_file_does(name):
    assert audio_name(name) == name


def test_ids_that_cannot_name_files_are_told_apart():
    names = ["q 1", "q/1", "q_1", "q?1", "a" * 300, "a" * 299 + "b"]
    found = [audio_name(name) for name in names]
    assert len(set(found)) == len(names)
    assert all("/" not in name and len(name) <= 170 for name in found)


def test_files_of_one_name_are_told_apart():
    assert _by_name({"b/q.jsonl": "2", "a/q.jsonl": "1", "c/r.jsonl": "3"}) == {"q.jsonl": ["1", "2"], "r.jsonl": ["3"]}
    assert _by_name({"b/q.jsonl": "1", "a/q.jsonl": "2"}) == {"q.jsonl": ["1", "2"]}


def test_what_is_no_number_or_silent_is_skipped(make_sample):
    broken = make_sample(generated_mel=torch.full((8, 4), torch.nan))
    assert FreeRunningMelError().numerator_and_denominator(broken) is None
    noise = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    assert StftDistance().numerator_and_denominator(make_sample(generated=noise, reference=torch.zeros(4000))) is None
    assert (
        StftDistance().numerator_and_denominator(make_sample(generated=torch.zeros(4000), reference=noise)) is not None
    )
