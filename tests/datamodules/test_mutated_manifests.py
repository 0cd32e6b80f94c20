"""Damaged manifests give right items, or an error that names the file."""

import json
import random
from itertools import pairwise

import pytest
from manifest_mutations import mutate_manifest

from spectron.audio.resampling import SampleRates
from spectron.datamodules.continuation import ContinuationDataModule
from spectron.datamodules.pairs import PairsDataModule
from spectron.datamodules.splitting import Splitting
from spectron.datamodules.spoken_qa import SpokenQADataModule
from spectron.errors import SpectronError


def continuations(manifest):
    data = ContinuationDataModule(manifest, splitting=Splitting(0.5, True, 0.2))
    data.setup("fit")
    return data


def questions(manifest):
    data = SpokenQADataModule(manifest, val_splits=["dev"])
    data.setup("fit")
    return data


def pairs(manifest):
    data = PairsDataModule(manifest)
    data.setup("test")
    return data


KINDS = {"utterances": continuations, "questions": questions, "pairs": pairs}


def lines_of(kind, manifest):
    """Return valid lines of a kind on the recordings of the manifest."""
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    if kind == "questions":
        answer = {
            "answers": ["Lima", "7"],
            "answer_text": "lima",
            "answer_audio_filepath": "u1.flac",
            "answer_duration": 1.5,
            "answer_words": [["lima", 0.1, 0.9]],
        }
        return [line | answer for line in lines]
    if kind == "pairs":
        sides = {f"{side}_{key}": value for side in ("positive", "negative") for key, value in (("text", "a b"),)}
        files = {"positive_audio_filepath": "u0.flac", "negative_audio_filepath": "u1.flac", "positive_duration": 1.5}
        return [
            {"id": line["id"], "group": "g", **sides, **files, "context_seconds": 0.2, "negative_duration": 1.5}
            for line in lines
        ]
    return lines


def batches_of(data):
    """Return all validation batches."""
    data.rates = SampleRates(16000, 16000)
    found = data.item_batches()
    both = [found[place] for place in range(len(found))]  # a batch, or the two batches of pairs
    return [one for batch in both for one in (batch if isinstance(batch, tuple) else (batch,))]


def read_mutated(folder, kind, lines, seed, count):
    """Read damaged manifests of a kind; return how many were refused. Any other error than a named one is a failure."""
    rng = random.Random(seed)
    manifest = folder / "mutated.jsonl"
    refused = 0
    for _ in range(count):
        manifest.write_bytes(mutate_manifest(lines, rng))
        try:
            data = KINDS[kind](str(manifest))
            batches = batches_of(data)
        except SpectronError as error:
            str(error).encode()
            refused += 1
            continue
        for batch in batches:
            assert all(isinstance(text, str) for text in [*batch.ids, *batch.prompt_text, *batch.continuation_text])
            for words in batch.continuation_words:
                assert all(begin.begin <= end.begin for begin, end in pairwise(words))
            assert batch.prompt.isfinite().all()
    return refused


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_manifest_is_read_or_refused(speech, tmp_path, kind):
    lines = lines_of(kind, speech([1.5, 1.5, 1.5]))
    assert 20 < read_mutated(tmp_path, kind, lines, seed=20, count=300) < 300
