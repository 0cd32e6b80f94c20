"""Text-only batches in a stream of speech: their places, unchanged speech, and resuming."""

from itertools import islice

import pytest
import torch

from spectron.audio.resampling import SampleRates
from spectron.datamodules import ContinuationDataModule, LineSource, TextMix
from spectron.datamodules.lines import Interleaved, LineBatches
from spectron.datamodules.splitting import Splitting
from spectron.datamodules.streaming import Batching, EndlessSampler
from spectron.errors import ConfigError, DataError

SECONDS = [3.0, *(2.0 + index % 5 / 2 for index in range(14))]


@pytest.fixture
def text(tmp_path):
    (tmp_path / "lines.txt").write_text("".join(f"Line {index}\n" for index in range(7)))
    (tmp_path / "val.txt").write_text("A\nB\nC\n")
    return {"files": str(tmp_path / "lines.txt"), "val": str(tmp_path / "val.txt"), "batch_size": 2}


def data(manifest, text=None):
    splitting = Splitting(prompt_seconds=(0.8, 1.2), min_continuation_seconds=0.4)
    return ContinuationDataModule(str(manifest), splitting=splitting, batching=Batching(batch_seconds=12.0), text=text)


def is_text(batch):
    return isinstance(batch, list)


@pytest.mark.parametrize(
    ("ratio", "every"), [(0.25, (8, 2)), (0.1, (20, 2)), (0.3, (10, 3)), (1 / 3, (9, 3)), (0.9, (10, 9))]
)
def test_text_ratio_exact_in_any_section(ratio, every, speech, text):
    module = data(speech(SECONDS), TextMix(**text, ratio=ratio))
    module.setup("fit")
    places = [module.interleaved.at(place) is not None for place in range(200)]
    length, texts = every
    assert not places[0]  # what checks an experiment looks at the first batch
    assert {sum(places[start : start + length]) for start in range(200 - length)} == {texts}


def test_mixed_text_does_not_change_speech(speech, text, run):
    manifest = speech(SECONDS)
    plain = run(data(manifest), 12)
    mixed = run(data(manifest, TextMix(**text, ratio=0.4)), 20)
    assert [batch for batch in mixed if not is_text(batch)] == plain  # the same draws of prompt lengths included
    texts = [batch for batch in mixed if is_text(batch)]
    assert [len(batch) for batch in texts] == [2, 2, 2, 1] * 2
    for number in (0, 1):
        assert sorted(line for batch in texts[4 * number : 4 * number + 4] for line in batch) == [
            f"line {index}" for index in range(7)
        ]
    assert texts[:4] != texts[4:]


def test_resumed_run_continues_mixed_text(speech, text, tmp_path, run):
    manifest, mix = speech(SECONDS), TextMix(**text, ratio=0.4)
    whole = run(data(manifest, mix), 25)
    seen = run(data(manifest, mix), 8)
    seen += run(data(manifest, mix), 16, 8)
    seen += run(data(manifest, mix), 25, 16)
    assert seen == whole
    state = torch.load(tmp_path / "25.ckpt", weights_only=True)["ContinuationDataModule"]
    assert state["consumed"] == 25
    assert max(state["starts"]) <= 15  # passes are counted in batches of speech


@pytest.mark.parametrize("change", [{"ratio": 0.5}, {"batch_size": 3}, {"lower_case": False}, None])
def test_resume_with_other_mixture_refused(change, speech, text, run):
    manifest = speech(SECONDS)
    run(data(manifest, TextMix(**text)), 3)
    other = None if change is None else TextMix(**{**text, **change})
    with pytest.raises(DataError, match="changed since the checkpoint"):
        run(data(manifest, other), 5, 3)


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_have_text_in_the_same_steps(world_size):
    """They compute the gradients of the same parameters, and together take the places in turn."""
    text = Interleaved(LineBatches(["a", "b", "c"], 1, 0), 0.4, world_size)
    alone = list(islice(EndlessSampler(lambda n: iter("xyz"), text=text), 12 * world_size))
    ranks = [
        list(islice(EndlessSampler(lambda n: iter("xyz"), rank=rank, world_size=world_size, text=text), 12))
        for rank in range(world_size)
    ]
    steps = list(zip(*ranks, strict=True))
    assert all(len({is_text(lines) for _, lines in step}) == 1 for step in steps)
    assert sum(is_text(step[0][1]) for step in steps[:10]) == 4
    assert [batch for step in steps for batch in step] == alone
    speech = [number for number, batch in alone if not is_text(batch)]
    assert speech == list(range(len(speech)))


def test_text_validation_loader_and_fingerprints(speech, text):
    module = data(speech(SECONDS), TextMix(**text))
    module.rates = SampleRates(16000, 16000)
    module.setup("validate")
    assert module.train_lines == []
    assert list(module.val_dataloader()[-1]) == [["a", "b"], ["c"]]
    assert len(module.val_dataloader()) == 2
    assert {text["files"], text["val"]} < set(module.fingerprint())


class Counting(LineSource):
    """Lines from nowhere."""

    def lines(self):
        return (f"{number} sheep" for number in range(1, 4))

    def fingerprint(self):
        return {"sheep": "3"}


class Silent(Counting):
    def lines(self):
        return iter(["", "  "])


def test_custom_line_source(speech):
    module = data(speech(SECONDS), TextMix(source=Counting()))
    module.setup("fit")
    assert module.train_lines == ["1 sheep", "2 sheep", "3 sheep"]
    assert module.fingerprint()["sheep"] == "3"
    with pytest.raises(DataError, match=r"^text: Silent gives no lines \(sheep\)"):
        data(speech(SECONDS), TextMix(source=Silent())).setup("fit")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "exactly one of the two"),
        ({"files": "a", "ratio": 1.0}, r"ratio: must be above 0 and below 1, got 1\.0"),
        ({"files": "a", "batch_size": 0}, "got 0"),
    ],
)
def test_invalid_text_mix_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        TextMix(**wrong)
