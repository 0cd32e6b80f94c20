"""Endless stream of batches: limits, order, and exact resuming."""

import json
from collections import Counter
from itertools import islice

import pytest
import torch

from spectron.audio.resampling import SampleRates
from spectron.datamodules.continuation import ContinuationDataModule
from spectron.datamodules.manifest import read_manifest
from spectron.datamodules.splitting import Splitting
from spectron.datamodules.streaming import Batching, BucketedEpochs, EndlessSampler
from spectron.datamodules.text_lines import TextDataModule
from spectron.errors import ConfigError, DataError

SECONDS = [1.0, 1.2, 2.5, 2.7, 1.1, 1.9, 3.0, 1.4, 1.6, 2.2, 1.3, 2.9, 1.5]


def module(manifest, **changes):
    settings = {"batch_seconds": 6.0, "num_buckets": 2} | changes
    return ContinuationDataModule(
        str(manifest), splitting=Splitting((0.3, 1.0), min_continuation_seconds=0.3), batching=Batching(**settings)
    )


def drawn(data, start=0, count=20):
    """Content of batches from a place of the stream on."""
    data.rates = SampleRates(16000, 8000)
    data.setup("fit")
    data.resumed = {"consumed": start, "steps": 0, "starts": [0]}
    return [(batch.ids, batch.prompt, batch.prompt_text) for batch in islice(data.train_dataloader(), count)]


def same(one, other):
    return all(a[0] == b[0] and torch.equal(a[1], b[1]) and a[2] == b[2] for a, b in zip(one, other, strict=True))


def test_batches_within_limit_and_epochs_complete(speech):
    cuts = read_manifest(speech(SECONDS))
    epochs = BucketedEpochs(cuts, lambda cut: cut.duration, Batching(batch_seconds=6.0, num_buckets=2))
    assert len(epochs.bins) == 1  # 26 s fill four batches of 6 s once: one bucket
    wide = BucketedEpochs(cuts, lambda cut: cut.duration, Batching(batch_seconds=3.0, num_buckets=8))
    assert len(wide.limit.edges) == 2
    orders = []
    for epoch in range(3):
        batches = list(epochs(epoch))
        assert all(max(cut.duration for cut in batch) * len(batch) <= 6.0 for batch in batches)
        assert Counter(cut.id for batch in batches for cut in batch) == Counter(cut.id for cut in cuts)
        orders.append([cut.id for batch in batches for cut in batch])
    assert orders[0] != orders[1]
    assert [cut.id for batch in epochs(1) for cut in batch] == orders[1]  # whatever was drawn in between


def test_max_items_limits_batch(speech):
    epochs = BucketedEpochs(
        read_manifest(speech(SECONDS)), lambda cut: cut.duration, Batching(batch_seconds=60.0, max_items=3)
    )
    assert [len(batch) for batch in epochs(0)] == [3, 3, 3, 3, 1]


def test_utterance_longer_than_batch_refused(speech):
    cuts = read_manifest(speech([1.0, 3.0]))
    with pytest.raises(ConfigError, match="batch_seconds=2: raise that"):
        BucketedEpochs(cuts, lambda cut: cut.duration, Batching(batch_seconds=2.0))


@pytest.mark.parametrize("start", [0, 1, 5, 6, 7, 13])
def test_stream_equal_from_any_start(speech, start):
    manifest = speech(SECONDS)
    whole = drawn(module(manifest))
    assert (
        len({epoch for ids, *_ in whole for epoch in ids}) == len(SECONDS) - 1
    )  # several passes, so borders are crossed
    assert same(drawn(module(manifest), start, 7), whole[start : start + 7])


def test_workers_do_not_change_batches(speech):
    manifest = speech(SECONDS)
    assert same(drawn(module(manifest, num_workers=2), 3, 9), drawn(module(manifest), 3, 9))


def test_draws_differ_between_epochs(speech):
    data = module(speech(SECONDS), max_items=1)  # the length of a batch is then its item's own
    whole = drawn(data, count=3 * (len(SECONDS) - 1))
    lengths = [batch[1].shape[1] for batch in whole if batch[0] == ["u1"]]
    assert len(set(lengths)) == len(lengths) == 3
    other = drawn(module(speech(SECONDS), max_items=1, seed=18), count=len(whole))
    assert [ids for ids, *_ in other] != [ids for ids, *_ in whole]


def test_ranks_take_places_in_turn():
    def epoch(number):
        return iter([f"{number}.{index}" for index in range(3)])

    alone = list(islice(EndlessSampler(epoch), 12))
    ranks = [list(islice(EndlessSampler(epoch, rank=rank, world_size=2), 6)) for rank in range(2)]
    assert sorted(ranks[0] + ranks[1]) == alone
    assert alone[4] == (4, "1.1")


def test_earlier_epochs_not_iterated():
    asked = []

    def epoch(number):
        asked.append(number)
        return iter(range(3))

    sampler = EndlessSampler(epoch, start=7, starts=[0, 3, 6])
    assert next(iter(sampler)) == (7, 1)
    assert asked == [2]
    list(islice(EndlessSampler(epoch, start=7), 5))
    assert asked == [2, 0, 1, 2, 3]


def test_empty_epoch_is_error():
    with pytest.raises(DataError, match="no batch"):
        next(iter(EndlessSampler(lambda number: iter(()))))


def test_resumed_run_continues_stream(speech, tmp_path, run):
    manifest = speech(SECONDS)
    whole = run(module(manifest), 17)
    assert len(whole) == 17
    seen = []
    for resumed, steps in ((None, 5), (5, 11), (11, 17)):  # resumed twice, once after a pass has ended
        seen += run(module(manifest), steps, resumed)
    assert seen == whole
    state = torch.load(tmp_path / "17.ckpt", weights_only=True)["ContinuationDataModule"]
    assert state["consumed"] == 17
    assert len(state["starts"]) > 1


def test_run_resumes_with_other_number_of_workers(speech, run):
    manifest = speech(SECONDS)
    whole = run(module(manifest), 6)
    assert run(module(manifest), 3) + run(module(manifest, num_workers=2), 6, 3) == whole


def test_resume_with_other_data_refused(speech, run):
    manifest = speech(SECONDS)
    run(module(manifest), 2)
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match="changed since the checkpoint"):
        run(module(manifest), 3, 2)


@pytest.fixture
def text_files(tmp_path):
    (tmp_path / "train.txt").write_text("".join(f"Line  {index}\n\n" for index in range(10)))
    (tmp_path / "val.txt").write_text("a\nb\nc\n")
    return {"train": str(tmp_path / "train.txt"), "val": str(tmp_path / "val.txt")}


def test_text_stream_resumes(text_files, run):
    whole = run(TextDataModule(**text_files, batch_size=4), 9)
    assert sorted(line for batch in whole[:3] for line in batch) == [f"line {index}" for index in range(10)]
    assert [len(batch) for batch in whole[:4]] == [4, 4, 2, 4]
    part = run(TextDataModule(**text_files, batch_size=4), 4)
    assert part + run(TextDataModule(**text_files, batch_size=4), 9, 4) == whole
    data = TextDataModule(**text_files, batch_size=2)
    data.setup("validate")
    assert list(data.val_dataloader()) == [["a", "b"], ["c"]]


def test_invalid_text_files_refused(text_files, tmp_path):
    (tmp_path / "val.txt").write_text("\n \n")
    with pytest.raises(DataError, match="holds no text"):
        TextDataModule(**text_files).setup("fit")
    with pytest.raises(DataError, match=r"there is no file .*none\.txt"):
        TextDataModule("none.txt", "none.txt").setup("fit")


def test_fingerprint_is_hash_of_files(speech, text_files):
    manifest = speech([1.0, 2.0])
    before = module(manifest).fingerprint()
    assert list(before) == [str(manifest)]
    line = json.loads(manifest.read_text().splitlines()[0])
    manifest.write_text(json.dumps(line | {"text": "other"}) + "\n")
    assert module(manifest).fingerprint() != before
    assert set(TextDataModule(**text_files).fingerprint()) == set(text_files.values())
