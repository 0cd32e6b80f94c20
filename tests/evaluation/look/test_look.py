"""Page of the first items: its numbers are those of training, its texts cannot become code, its errors are typed."""

import html
import json
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch

from spectron.cli.parser import main, parse
from spectron.cli.verbs import look as look_verb
from spectron.errors import ConfigError, DataError
from spectron.evaluation.look import look, write_look
from spectron.experiment.experiment import Experiment
from spectron.experiment.fitting import assemble
from spectron.experiment.loading import CONFIG_KEY, Source
from spectron.segments.text import token_texts

NASTY = "<script>alert('x')</script>&\"quoted\""
SEGMENT = """
import torch
from spectron.batch import LossTerm
from spectron.segments import Positions, Segment, Stretch


class Marks(Segment):
    trained_losses = ("marks",)

    def forward(self, batch):
        valid = torch.ones(len(batch.ids), 3, dtype=torch.bool)
        return Stretch(self.parts.language_model.embed(valid.long()), valid)

    def losses(self, stretch, hidden, optional=()):
        return {"marks": LossTerm(hidden.square().sum(), stretch.valid.sum())}

    def loss_names(self):
        return {"marks"}

    def decode(self, state, prompts, decoding):
        pass

    def positions(self, length, decoding=None):
        return Positions(3)
"""
YAML = """
name: looked
seed: 5
task: spectron.training.SpectronModule
model:
  encoder: {class_path: spectron.encoders.FrameStackEncoder, init_args: {output_dim: 8}}
  language_model:
    class_path: spectron.language_models.CausalLanguageModel
    init_args:
      config: {model_type: llama, hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1, num_attention_heads: 2,
               max_position_embeddings: 512}
      tokenizer: {text: "${here}/manifest.jsonl", vocabulary_size: 300}
  head:
    class_path: spectron.heads.MelRegressionHead
    init_args: {mel: {n_mels: 20}, frames_per_step: 3, post_net_width: 8}
  vocoder: {class_path: spectron.vocoders.GriffinLimVocoder, init_args: {iterations: 2}}
  sequence: {context: {marks: my_marks.py:Marks}, text_separator: " | "}
  loss_weights: {speech: 0.3, alignment: 0.5}
data:
  class_path: spectron.datamodules.ContinuationDataModule
  init_args:
    manifest: ${here}/manifest.jsonl
    splitting: {prompt_seconds: 0.8, min_continuation_seconds: 0.4}
    batching: {batch_seconds: 4.5, seed: 23}
trainer: {max_steps: 2, accelerator: cpu, enable_progress_bar: false}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The YAML of a tiny experiment with a segment of a user, on noise with words and names that look like code."""
    folder = tmp_path_factory.mktemp("looked")
    (folder / "my_marks.py").write_text(SEGMENT)
    rng, lines = np.random.default_rng(0), []
    for index, (seconds, split) in enumerate([(2.1, "train"), (1.6, "train"), (1.9, "train"), (1.7, "dev")]):
        soundfile.write(folder / f"u{index}.flac", 0.1 * rng.standard_normal(round(seconds * 16000)), 16000)
        words = [[["cow", "dög", NASTY][n % 3], n / 2, n / 2 + 0.4] for n in range(int(seconds * 2))]
        lines.append({"id": f"<i>{index}", "audio_filepath": f"u{index}.flac", "words": words, "split": split})
        lines[-1] |= {"text": " ".join(word for word, *_ in words), "speaker": NASTY, "duration": seconds}
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "looked.yaml").write_text(YAML)
    return folder / "looked.yaml"


@pytest.fixture(scope="module")
def looked(file):
    return look(Experiment.read(file), 3)


@pytest.fixture(scope="module")
def text(looked, tmp_path_factory):
    return write_look(looked, tmp_path_factory.mktemp("page") / "look.html", "looked.yaml").read_text()


@pytest.fixture(scope="module")
def trained(file):
    """The task of the experiment, and its first training batch with the first items."""
    module, data = assemble(Experiment.read(file))
    return module, next(iter(data.train_dataloader()))


def test_losses_equal_those_of_the_training_batch(looked, trained):
    module, batch = trained
    count = len(batch.ids)
    assert 1 < count <= 3
    assert [item.id for item in looked.items][:count] == batch.ids
    with torch.inference_mode():
        wanted = module.loss_terms(batch)
    found = [segment.losses for item in looked.items[:count] for segment in item.segments]
    assert {"text", "speech", "alignment", "marks"} <= set(wanted)
    assert set(wanted) == set().union(*found)
    for name, term in wanted.items():
        terms = [losses[name] for losses in found if name in losses]
        assert sum(float(each.total) for each in terms) == pytest.approx(float(term.total), rel=1e-4), name
        assert sum(float(each.count) for each in terms) == float(term.count), name


def test_losses_of_places_add_up_to_those_of_the_segment(looked):
    for segment in (segment for item in looked.items for segment in item.segments):
        for name, values in segment.by_place.items():
            assert len(values) == len(segment.places)
            assert sum(values) == pytest.approx(float(segment.losses[name].total), rel=1e-4), name
    whole = {segment.name: set(segment.losses) - set(segment.by_place) for segment in looked.items[0].segments}
    assert whole == {"prompt": set(), "marks": {"marks"}, "text": set(), "speech": set()}


def test_weighted_total_is_that_of_the_task(looked):
    means = {name: float(term.mean) for name, term in looked.losses.items()}
    total = means["text"] + 0.3 * means["speech"] + 0.5 * means["alignment"] + means["marks"]
    assert looked.loss == pytest.approx(total, rel=1e-5)
    assert (looked.data_seed, looked.experiment.config["seed"], looked.max_positions) == (23, 5, 512)


def test_places_name_tokens_and_times(looked):
    item = looked.items[0]
    _, _, text, speech = item.segments
    read, predicted = ["".join(getattr(place, name) for place in text.places) for name in ("reads", "predicts")]
    said = predicted.replace("(part)", "")  # a token whose space shows with the next one
    assert said == f"{item.prompt_text} | {item.continuation_text}".lower() + "end of text"
    assert read == "start of text" + predicted.removesuffix("end of text")
    seconds = len(item.continuation) / looked.speech_rate_hz
    times = [(place.begin, place.end) for place in speech.places]
    assert times[0][0] == 0
    assert times[-1][0] < seconds <= times[-1][1] + 0.02
    assert all(one[1] == other[0] for one, other in pairwise(times))
    for place, nats in zip(speech.places, speech.by_place["alignment"], strict=True):
        middle = (place.begin + place.end) / 2
        assert (nats > 0) == any(word.begin <= middle < word.end for word in item.words)
    begins = [segment.begin for segment in item.segments]
    assert begins == [0, *np.cumsum([len(segment.places) for segment in item.segments])[:-1]]


def test_tokens_of_one_letter_give_its_text_once(trained):
    lm = trained[0].model.language_model
    ids, counts = lm.tokenize(["dög und dög"])
    texts = token_texts(lm, ids[0, : int(counts[0])].tolist())
    assert "".join(texts).replace("(part)", "").replace("\N{REPLACEMENT CHARACTER}", "") == "dög und dög"


def test_page_has_a_box_for_each_position_and_no_foreign_markup(looked, text):
    shown = Counter(re.findall(r'<span class="place[^>]*data-about="position \d+ · (\w+)', text))
    assert shown == Counter(
        {
            segment.name: sum(len(i.segments[place].places) for i in looked.items)
            for place, segment in enumerate(looked.items[0].segments)
        }
    )
    body = text.partition("<body>")[2]
    assert "<i>0" not in body
    assert "<script>alert" not in body
    assert html.escape("<i>0") in body
    assert len(re.findall(r"<audio", body)) == 2 * len(looked.items)
    assert not re.search(r'(?:src|href)="(?!data:|#)', body)


def test_browser_plays_all_recordings_and_runs_no_stored_text(looked, tmp_path, open_in_browser):
    _, console, seen = open_in_browser(write_look(looked, tmp_path / "look.html", "looked.yaml"))
    assert console == []
    assert seen["requests"] == []
    assert seen["errors"] == [None] * 2 * len(looked.items)
    seconds = [
        length
        for item in looked.items
        for length in (len(item.prompt) / looked.prompt_rate_hz, len(item.continuation) / looked.speech_rate_hz)
    ]
    assert seen["durations"] == pytest.approx(seconds, abs=0.15)
    assert min(seen["widths"]) > 0


def test_page_marks_losses_that_no_place_has(text):
    rows = re.findall(r'<th scope="row">(\w+)</th>.*?<td>(yes|only the whole)</td></tr>', text)
    assert ("marks", "only the whole") in rows
    assert ("speech", "yes") in rows


def test_checkpoint_gives_its_own_losses(file, tmp_path):
    experiment = Experiment.read(file)
    module = experiment.module()
    for weight in module.model.head.parameters():
        weight.data.zero_()
    path = tmp_path / "some.ckpt"
    torch.save({"state_dict": module.state_dict(), CONFIG_KEY: experiment.stored_config}, path)
    found = look(Experiment.read(file), 1, "val", Source(path)).items
    assert [(item.id, item.split) for item in found] == [("<i>3", "dev")]
    # A head of zeros predicts the mean of the log-mel.
    [steps] = [segment.by_place["stop"] for segment in found[0].segments if segment.name == "speech"]
    assert steps[0] == pytest.approx(3 * np.log(2), rel=1e-5)


@pytest.mark.parametrize("items", [0, 101])
def test_number_of_items_out_of_range_is_refused(file, items):
    with pytest.raises(ConfigError) as refused:
        look(Experiment.read(file), items)
    assert refused.value.key == "--items"


def test_task_without_a_sequence_is_refused():
    from places import TINY

    with pytest.raises(ConfigError) as refused:
        look(Experiment.read(TINY))
    assert refused.value.key == "task"


def test_unreadable_items_are_named(file):
    for name in ("u0", "u1", "u2"):
        (file.parent / f"{name}.flac").rename(file.parent / f"{name}.away")
        soundfile.write(file.parent / f"{name}.flac", np.zeros(33600), 16000)
    try:
        with pytest.raises(DataError):
            look(Experiment.read(file), 1)
    finally:
        for name in ("u0", "u1", "u2"):
            (file.parent / f"{name}.away").rename(file.parent / f"{name}.flac")


def test_command_writes_pages_of_a_yaml_and_of_a_checkpoint(file, tmp_path, capsys):
    experiment, page = Experiment.read(file), tmp_path / "pages" / "look.html"
    path = tmp_path / "some.ckpt"
    torch.save({"state_dict": experiment.module().state_dict(), CONFIG_KEY: experiment.stored_config}, path)
    options = ["--items", "1", "-o", str(page), "--device", "cpu", "model.loss_weights.alignment=0"]
    for reference in ([str(file)], [str(path), "--trust", "--split", "val"]):
        assert main(["look", *reference, *options]) == 0
        assert capsys.readouterr().out.endswith(f"{page}\n")
        text = page.read_text()
        assert f"<dd>{reference[0]}</dd>" in text
        assert "alignment" not in text.partition("Settings")[0].partition("<body>")[2]


def test_export_is_refused_as_it_has_no_data(tmp_path):
    with pytest.raises(ConfigError):
        look_verb(parse(["look", "mini", "-o", str(tmp_path / "look.html")]))


def test_folder_as_output_is_refused_before_any_work(tmp_path):
    with pytest.raises(ConfigError):
        look_verb(parse(["look", "no-such-experiment", "-o", str(tmp_path)]))
