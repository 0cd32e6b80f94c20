"""Files that cannot be written: the error names the file, and what was written before stays."""

import errno
import os
from pathlib import Path

import pytest
import torch
from full_disk import files_of_at_most
from torch import nn

from spectron.audio.mel import MelConfig
from spectron.audio.picture import MelPanel, mel_picture
from spectron.cli.continuing import write_answer
from spectron.cli.parser import main
from spectron.datamodules.prepare.manifests import write_lines
from spectron.datamodules.synthetic.corpus import write_corpus
from spectron.datamodules.synthetic.corpus_plan import CorpusSettings
from spectron.errors import CheckpointError, MemoryExhaustedError, WriteError
from spectron.evaluation.results.records import DoneBatches, Record, Stopwatch, write_waveforms
from spectron.evaluation.suites.evaluating import judged
from spectron.files import CURES, machine_error, write_text
from spectron.inference.speaker import Answer, Recording
from spectron.language_models import CausalLanguageModel, TokenizerSettings
from spectron.training.checkpoint_io import AtomicCheckpointIO
from spectron.weights.checkpoint_files import read_checkpoint
from spectron.weights.exporting import export_parts

NOISE = torch.rand(16000, generator=torch.Generator().manual_seed(0)) - 0.5


def an_answer():
    prompt = Recording(NOISE, 16000, "q.wav")
    return Answer(prompt, "", "what", "lima", NOISE, 16000, True, torch.zeros(40, 20), MelConfig(n_mels=20))


def export(folder):
    """Export a language model with its tokenizer, and a part of one tensor."""
    text = folder / "text.txt"
    text.write_text("the cow says moo\n" * 9)
    config = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 1}
    parts = {"language_model": CausalLanguageModel(config=config, tokenizer=TokenizerSettings(str(text), 300))}
    parts["head"] = nn.Linear(30, 30)
    described = {"language_model": {"class_path": "spectron.language_models.CausalLanguageModel"}}
    return lambda: export_parts(nn.ModuleDict(parts), {"task": "t", "model": described}, folder / "out")


def add_batch(folder):
    done = DoneBatches(folder / "work")
    line = {"task": "long", "system": "model", "id": "a", "text": "x" * 20_000}
    return lambda: done.add(("long", "model", 0), [line])


def write_record(folder):
    record = Record("a", waveforms={"generated": (NOISE, 16000), "reference": (-NOISE, 16000)})
    return lambda: write_waveforms(record, folder, "long", "model")


def speak_corpus(folder):
    settings = CorpusSettings(
        2, 6, 3, 8, wordings_per_voice=1, text_lines=300, judge_text_lines=400, only=["carriers/dev"]
    )
    return lambda: write_corpus(folder / "corpus", settings, workers=0)


WRITERS = {
    "wav": write_record,
    "picture": lambda folder: lambda: mel_picture(folder / "a.png", [MelPanel("x", NOISE[:800].reshape(40, 20), 80.0)]),
    "export": export,
    "corpus": speak_corpus,
    "batch": add_batch,
    "manifest": lambda folder: lambda: write_lines(folder / "m.jsonl", [{"id": "a" * 20_000}]),
    "text": lambda folder: lambda: write_text(folder / "a" / "b.txt", "x" * 20_000),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_file_cut_by_full_disk_is_named(kind, tmp_path):
    write = WRITERS[kind](tmp_path)
    sizes = [0, 700, 5_000] if kind == "export" else [0, 700]
    for size in sizes:
        with files_of_at_most(size), pytest.raises(WriteError) as caught:
            write()
        assert caught.value.file.is_relative_to(tmp_path)
        assert not list(tmp_path.rglob("*.part"))
    write()  # again, with room


def test_batch_cut_by_full_disk_is_judged_again(tmp_path):
    line = {"task": "long", "system": "model", "id": "a"}
    done = DoneBatches(tmp_path)
    done.add(("long", "model", 0), [line])
    with files_of_at_most(done.file.stat().st_size + 20), pytest.raises(WriteError):
        done.add(("long", "model", 1), [line])
    again = DoneBatches(tmp_path)
    assert list(again.read()) == [("long", "model", 0)]
    again.add(("long", "model", 1), [line])
    assert list(DoneBatches(tmp_path).read()) == [("long", "model", 0), ("long", "model", 1)]


def test_answer_without_picture_is_complete(tmp_path, capsys, caplog):
    wav_bytes = 44 + 2 * len(NOISE)
    with files_of_at_most(wav_bytes):
        answer = an_answer()
        answer.mel = torch.rand(4000, 200)
        answer.draw = lambda path: mel_picture(path, [MelPanel("x", torch.rand(2000, 300), 80.0)] * 4)
        write_answer(Path("q.wav"), answer, tmp_path / "a.wav")
    assert (tmp_path / "a.wav").stat().st_size == wav_bytes
    assert "lima" in capsys.readouterr().out
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert [file.name for file in tmp_path.iterdir()] == ["a.wav"]


def test_answer_whose_speech_cannot_be_written_is_printed(tmp_path, capsys):
    with files_of_at_most(1000), pytest.raises(WriteError) as caught:
        write_answer(Path("q.wav"), an_answer(), tmp_path / "a.wav")
    assert caught.value.file == tmp_path / "a.wav"
    assert "lima" in capsys.readouterr().out


def test_checkpoint_cut_by_full_disk_keeps_old_one(tmp_path):
    store, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    store.save_checkpoint({"step": 1}, path)
    with files_of_at_most(1000), pytest.raises(CheckpointError):
        store.save_checkpoint({"weights": NOISE}, path)
    assert read_checkpoint(path) == {"step": 1}


@pytest.mark.parametrize("number", CURES)
def test_errors_of_disk_have_file_and_cure(number, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("spectron.files.os.replace", fail)
    for write in (an_answer().save, lambda path: Stopwatch(path).keep()):
        with pytest.raises(WriteError) as caught:
            write(tmp_path / "a.wav")
        assert caught.value.file == tmp_path / "a.wav"
        assert CURES[number] in caught.value.message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "full", "/x/y"), WriteError),
        (MemoryError(), MemoryExhaustedError),
        (torch.OutOfMemoryError("CUDA out of memory"), MemoryExhaustedError),
        (OSError(errno.ENOENT, "none"), type(None)),
        (RuntimeError("a defect"), type(None)),
    ],
)
def test_command_reports_machine_error_without_traceback(error, kind, monkeypatch, capsys):
    def verb(options):
        try:
            raise error
        except Exception as cause:
            raise RuntimeError("of a library") from cause

    monkeypatch.setattr("spectron.cli.verbs.recipes", verb)
    assert isinstance(machine_error(error), kind)
    if kind is type(None):
        with pytest.raises(RuntimeError):
            main(["recipes"])
        return
    assert main(["recipes"]) == 1
    assert capsys.readouterr().err.startswith("spectron: error: ")


class Task:
    """Task that raises an error for batches or for single items."""

    def __init__(self, error, alone):
        self.error, self.alone = error, alone

    def batch(self, place):
        return type("Batch", (), {"ids": ["a", "b"], "skipped": []})

    def judge(self, system, place, bench, rows=None):
        if rows is None or self.alone:
            raise self.error
        return [Record(str(row)) for row in rows]


def test_item_without_memory_or_disk_is_no_failure_of_system():
    assert len(judged(Task(MemoryError(), alone=False), "model", 0, None)) == 2
    for error, kind in ((MemoryError(), MemoryExhaustedError), (OSError(errno.ENOSPC, "full"), WriteError)):
        with pytest.raises(kind):
            judged(Task(error, alone=True), "model", 0, None)
