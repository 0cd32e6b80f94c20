"""Samples with hand-worked content, and the folder of real data."""

import os
from pathlib import Path

import pytest
import torch

from evaluation.sample import SpokenSample


@pytest.fixture
def corpora() -> Path:
    """The folder of real recordings and models; tests that want it skip without it."""
    folder = os.environ.get("SPECTRON_DATA")
    if not folder:
        pytest.skip("SPECTRON_DATA names no folder of corpora")
    return Path(folder)


@pytest.fixture
def make_sample():
    def make(**changes) -> SpokenSample:
        fields = {
            "id": "a",
            "speaker": "s",
            "prompt": torch.zeros(1600),
            "prompt_rate_hz": 16000,
            "prompt_text": "what does the cow say",
            "reference": torch.zeros(3200),
            "reference_text": "the cow says moo",
            "answers": ["moo"],
            "split": "",
            "generated": torch.zeros(1600),
            "speech_rate_hz": 16000,
            "text": "what does the cow say the cow says moo",
            "transcript": "what does the cow say",
            "continuation_text": "the cow says moo",
            "stopped": True,
            "prompt_mel": torch.zeros(8, 4),
            "reference_mel": torch.zeros(16, 4),
            "generated_mel": torch.zeros(8, 4),
            "frame_rate_hz": 80.0,
        }
        return SpokenSample(**{**fields, **changes})

    return make
