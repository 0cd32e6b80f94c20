"""Context length: bounds against the positions of real batches, and errors that name item and limit."""

import json
import math
from functools import partial

import pytest
import soundfile
import torch
from lightning import Trainer

from spectron.audio.mel import MelConfig
from spectron.batch import SpokenLength
from spectron.context_length import (
    Need,
    lengths_of,
    longest,
    need_of,
    require_fits_context,
    require_lines_fit_context,
)
from spectron.datamodules import ContinuationDataModule, SpokenQADataModule, TextDataModule, TextMix
from spectron.datamodules.splitting import Splitting
from spectron.datamodules.streaming import Batching
from spectron.decoding import Decoding
from spectron.encoders import FrameStackEncoder
from spectron.errors import ConfigError, DataError
from spectron.heads import MelRegressionHead
from spectron.language_models import CausalLanguageModel
from spectron.segments import Positions
from spectron.training.optimisation import Optimisation
from spectron.training.spectron import LossWeights, SpectronModule
from spectron.training.text_lm import TextModule
from spectron.vocoders import GriffinLimVocoder


@pytest.fixture
def module(tiny_language_model):
    torch.manual_seed(0)
    return SpectronModule(
        encoder=FrameStackEncoder(16, stack=2),
        language_model=CausalLanguageModel(source=str(tiny_language_model("llama"))),
        head=partial(MelRegressionHead, mel=MelConfig(n_mels=20), frames_per_step=3),
        vocoder=partial(GriffinLimVocoder, iterations=2),
        loss_weights=LossWeights(text_only=0.5),
        optimisation=Optimisation(peak_learning_rate=1e-3, warmup_steps=1),
    )


def questions(small_corpus, **arguments):
    return SpokenQADataModule(
        str(small_corpus / "questions.jsonl"),
        val_splits=["unseen_facts"],
        batching=Batching(num_buckets=1),
        **arguments,
    )


def taken(module, batch):
    """Return the positions of every row that the language model reads."""
    stretches = module.model(batch).stretches.values()
    return sum(stretch.valid.sum(1) for stretch in stretches).tolist()


def bound(module, length):
    """Return the positions that the check computes for an utterance, its whole text tokenized."""
    lm = module.model.language_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm, "max_positions", 0)
        return longest(lm, [need_of(module.model, length)]).positions


@torch.no_grad()
def test_bound_is_exact_to_three_positions(module, small_corpus):
    data = questions(small_corpus)
    data.rates = module.sample_rates()
    data.setup("validate")
    module.model.language_model.max_positions = None
    lengths = {length.id: length for length in data.lengths()}
    checked = 0
    for loader in data.val_dataloader():
        for batch in loader:
            for name, positions in zip(batch.ids, taken(module, batch), strict=True):
                assert positions <= bound(module, lengths[name]) <= positions + 3
                checked += 1
    assert checked == len(lengths) > 3


def test_drawn_prompt_counts_at_both_extremes(speech_manifest):
    splitting = Splitting(prompt_seconds=(1.0, 2.5), min_continuation_seconds=0.5)
    data = ContinuationDataModule(str(speech_manifest), splitting=splitting)
    data.setup("fit")
    spans = {(length.prompt_seconds, length.continuation_seconds) for length in data.lengths() if length.id == "u1"}
    assert spans == {(1.0, 3.0), (2.5, 1.5)}
    assert [length.id for length in data.lengths(validation_only=True)] == ["u0", "u0"]


@pytest.fixture
def speech_manifest(tmp_path):
    lines = []
    for index, seconds in enumerate([3.5, 4.0]):
        soundfile.write(tmp_path / f"u{index}.wav", [0.0] * round(seconds * 16000), 16000)
        words = [[f"w{n}", n / 2, n / 2 + 0.4] for n in range(6)]
        line = {
            "id": f"u{index}",
            "audio_filepath": f"u{index}.wav",
            "text": "w0 w1 w2 w3 w4 w5",
            "words": words,
            "speaker": "s",
        }
        lines.append(line | {"duration": seconds, "split": "train" if index else "dev"})
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "manifest.jsonl"


def test_longest_utterance_is_named_before_training(module, small_corpus):
    data = questions(small_corpus)
    data.setup("fit")
    by_bound = sorted(data.lengths(), key=lambda length: bound(module, length))
    most = bound(module, by_bound[-1])
    module.model.language_model.max_positions = most
    module.require_fits_context(data, [])
    module.model.language_model.max_positions = most - 1
    with pytest.raises(DataError, match=rf"^utterance {by_bound[-1].id} .* {most} positions .* has {most - 1}\."):
        module.require_fits_context(data, [])
    module.model.language_model.max_positions = None
    module.require_fits_context(data, [])


def test_only_doubtful_texts_are_tokenized(module, monkeypatch):
    lm, asked = module.model.language_model, []
    tokenize = lm.tokenize
    monkeypatch.setattr(lm, "tokenize", lambda texts: asked.extend(texts) or tokenize(texts))
    lines = ["cow " * n for n in range(50)]
    lm.max_positions = 1000
    require_lines_fit_context(lm, lines)
    assert asked == []
    lm.max_positions = 40
    found = longest(lm, [Need(str(n), {"text": Positions(1, line)}) for n, line in enumerate(lines)])
    assert found.item == "49"
    assert found.positions == int(tokenize(["cow " * 49])[1][0]) + 1
    assert len(asked) == sum(4 * n + 3 > 40 for n in range(50))


def test_decoding_after_longest_validation_prompt(module, small_corpus):
    data = questions(small_corpus)
    data.setup("fit")
    prompt = max(length.prompt_seconds for length in data.lengths(validation_only=True))
    decoding = Decoding(max_text_tokens=20, max_seconds=2.0)
    speech = math.ceil((2.0 * 80 + 1) / 3)
    needed = math.ceil(prompt * 50) + 1 + 1 + 20 + speech
    module.model.language_model.max_positions = needed
    require_fits_context(module.model, data.lengths(validation_only=True), decoding)
    module.model.language_model.max_positions = needed - 1
    with pytest.raises(ConfigError, match=rf" {needed} positions \(.*, text 21, speech {speech}\)") as raised:
        require_fits_context(module.model, data.lengths(validation_only=True), decoding)
    assert raised.value.key == "decoding"
    require_fits_context(module.model, [])


SPEECH = {"max_seconds": math.ceil((2.0 * 80 + 1) / 3), "reference": math.ceil((3.0 * 80 + 1) / 3)}


@pytest.mark.parametrize(
    ("switches", "text", "speech", "said"),
    [
        ({"text": "empty"}, 0, "max_seconds", "prompt 76, text 1, speech 54"),
        ({"text": "filler", "filler_tokens": 7}, 7, "max_seconds", "text 8, .* Lower filler_tokens, max_seconds"),
        ({"text": "given"}, None, "max_seconds", r"prompt 76, text \d+, speech 54.* Lower max_seconds"),
        ({"length": "reference"}, 20, "reference", r"3\.0 s of speech.* text 21, speech 81.* Lower max_text_tokens"),
    ],
)
def test_decoding_counts_its_text_and_its_length(switches, text, speech, said, module):
    """The second row has no reference and so needs ``max_seconds``, less than the first row's reference."""
    prompts = [SpokenLength("u", 1.5, 3.0, ("the cow", "says moo")), SpokenLength("v", 1.5, 0.0, ("a", "b"))]
    decoding = Decoding(max_text_tokens=20, max_seconds=2.0, **switches)
    tokens = int(module.model.language_model.tokenize(["the cow says moo"])[1][0]) if text is None else text
    needed = math.ceil(1.5 * 50) + 1 + 1 + tokens + SPEECH[speech]
    module.model.language_model.max_positions = needed
    require_fits_context(module.model, prompts, decoding)
    module.model.language_model.max_positions = needed - 1
    with pytest.raises(ConfigError, match=f"^decoding: u .*{said}") as raised:
        require_fits_context(module.model, prompts, decoding)
    assert f" {needed} positions" in raised.value.message


@pytest.mark.parametrize(("kind", "tokens"), [("empty", 0), ("filler", 16), ("none", -1)])
def test_trained_text_counts_in_training_and_decoding(kind, tokens, module):
    """A text that is never read takes no position; filler tokens do, also with ``Decoding.text: trained``."""
    model = module.model
    model.segments["text"].kind = kind
    length = SpokenLength("u", 1.5, 2.0, ("the cow " * 50, "says moo"))
    needed = math.ceil(1.5 * 50) + 1 + 1 + tokens + SPEECH["max_seconds"]
    model.language_model.max_positions = needed
    require_fits_context(model, [length])
    require_fits_context(model, [length], Decoding(max_text_tokens=500, max_seconds=2.0))
    model.language_model.max_positions = needed - 1
    with pytest.raises(DataError, match=f"needs {needed} positions"):
        require_fits_context(model, [length])
    with pytest.raises(ConfigError, match=f"needs {needed} positions .*, text {tokens + 1},"):
        require_fits_context(model, [length], Decoding(max_text_tokens=500, max_seconds=2.0))


def test_lengths_of_batch_give_the_bound_of_its_rows(module, small_corpus):
    data = questions(small_corpus)
    data.rates = module.sample_rates()
    data.setup("validate")
    batch = next(iter(data.val_dataloader()[0]))
    lengths = {length.id: length for length in data.lengths()}
    for row in lengths_of(module.model, batch):
        assert row.prompt_seconds == pytest.approx(lengths[row.id].prompt_seconds, abs=0.01)
        assert row.continuation_seconds == pytest.approx(lengths[row.id].continuation_seconds, abs=0.01)
        assert row.texts == lengths[row.id].texts


def test_lines_of_text_need_positions_too(module, tmp_path, small_corpus):
    (tmp_path / "train.txt").write_text("a cow\n" + "moo " * 600 + "\n")
    (tmp_path / "val.txt").write_text("a cow\n")
    alone = TextDataModule(str(tmp_path / "train.txt"), str(tmp_path / "val.txt"))
    alone.setup("fit")
    task = TextModule(module.model.language_model)
    mixed = questions(small_corpus, text=TextMix(files=str(tmp_path / "train.txt")))
    mixed.setup("fit")
    module.model.language_model.max_positions = 500
    said = r"^the line 'moo moo .*\.\.\.' needs \d+ positions, but the language model has 500\. Break long lines"
    for one, data in ((task, alone), (module, mixed)):
        with pytest.raises(DataError, match=said):
            one.require_fits_context(data, [])
    with pytest.raises(DataError, match="does not fit the language model's 500"):  # without the check, in a step
        module.loss_terms(alone.train_lines)


def test_text_alone_has_loss_of_text_training_and_trains_only_lm(module):
    lines = ["the cow says moo", "paris"]
    module.eval()
    terms, expected = module.loss_terms(lines), TextModule(module.model.language_model).eval().loss_terms(lines)
    assert list(terms) == ["text_only"]
    assert torch.equal(terms["text_only"].total, expected["text"].total)
    assert int(terms["text_only"].count) == int(expected["text"].count)
    loss = module.total({"text_only": terms["text_only"].mean})
    assert loss.item() == pytest.approx(0.5 * expected["text"].mean.item())
    loss.backward()
    moved = {name.split(".")[0] for name, parameter in module.model.named_parameters() if parameter.grad is not None}
    assert moved == {"language_model"}


def test_validation_total_leaves_out_text_alone(module):
    means = {"text": torch.tensor(2.0), "speech": torch.tensor(10.0), "text_only": torch.tensor(100.0)}
    assert float(module.total(means)) == 3.0
    assert "val/text_only" in module.measure_names()


def test_speech_and_text_alternate_in_training_and_validation(module, small_corpus, tmp_path):
    (tmp_path / "lines.txt").write_text("the cow says moo\nthe capital of france is paris\n")
    mix = TextMix(files=str(tmp_path / "lines.txt"), val=str(tmp_path / "lines.txt"), ratio=0.5, batch_size=2)
    module.model.language_model.max_positions = None
    data, logged = questions(small_corpus, text=mix), []
    log = module.log_dict
    module.log_dict = lambda values, **rest: logged.append(set(values)) or log(values, **rest)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    settings = {
        "max_steps": 4,
        "max_epochs": -1,
        "val_check_interval": 4,
        "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 0,
    }
    trainer = Trainer(accelerator="cpu", default_root_dir=tmp_path, limit_val_batches=1, **quiet, **settings)
    trainer.fit(module, datamodule=data)
    assert [sorted(values) == ["train/text_only"] for values in logged[:4]] == [False, True, False, True]
    assert trainer.callback_metrics["val/text_only"] > 0
    assert (
        trainer.callback_metrics["val/loss"]
        < trainer.callback_metrics["val/text"] + trainer.callback_metrics["val/speech"]
    )
