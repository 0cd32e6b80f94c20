"""Files and printed lines of spoken answers."""

from pathlib import Path

import pytest
import torch

from spectron.audio.mel import MelConfig
from spectron.cli.continuing import output_files, write_answer
from spectron.errors import ConfigError
from spectron.inference.speaker import Answer, Recording


def test_output_files_for_one_and_several_prompts(tmp_path):
    one, two, same = Path("a/x.wav"), Path("b/y.flac"), Path("b/x.ogg")
    assert output_files([one], Path("o.wav")) == [Path("o.wav")]
    assert output_files([one], Path("o")) == [Path("o.wav")]
    assert output_files([one], tmp_path) == [tmp_path / "x.wav"]
    assert output_files([one, two], Path("o")) == [Path("o/x.wav"), Path("o/y.wav")]
    assert len(set(output_files([one, two, same], Path("o")))) == 3
    with pytest.raises(ConfigError, match="2 prompts need a folder"):
        output_files([one, two], Path("o.wav"))


@pytest.mark.parametrize(
    ("prompts", "output", "named"),
    [
        (["a.wav"], ".", "a.wav"),
        (["a.wav"], "a", "a.wav"),
        (["a.wav", "b.wav"], ".", "a.wav"),
        (["x.wav", "x.flac", "x-0.wav"], "o", "x-0.wav"),
    ],
)
def test_output_never_overwrites_prompt_or_answer(prompts, output, named, tmp_path):
    with pytest.raises(ConfigError, match=rf"would be written over .*{named}"):
        output_files([tmp_path / name for name in prompts], tmp_path / output)


@pytest.mark.parametrize(
    ("transcript", "differs"),
    [
        ("what is the capital of peru", False),
        ("what is the capital", True),
        ("", True),
        ("what is a capital of peru", True),
    ],
)
def test_asked_line_only_if_transcript_differs(transcript, differs, tmp_path, capsys):
    question = "What is the capital of Peru?"
    prompt = Recording(torch.zeros(16000), 16000, "q.wav")
    speech = torch.zeros(8000)
    answer = Answer(prompt, "", transcript, "lima", speech, 16000, False, torch.zeros(40, 20), MelConfig(n_mels=20))
    write_answer(Path("q.wav"), answer, tmp_path / "a.wav", question)
    printed = capsys.readouterr().out
    assert (f"\nAsked:        {question} (" in printed) is differs
    assert f"{tmp_path / 'a.wav'} (0.50 s, cut off at --max-seconds)" in printed
    assert (tmp_path / "a.png").is_file()


@pytest.mark.parametrize("halves", [("what is it", "a cow"), (None, None)], ids=["halves", "whole"])
@pytest.mark.parametrize(("text_stopped", "cut"), [(False, True), (True, False), (None, False)])
def test_cut_text_is_reported_with_the_option(halves, text_stopped, cut, tmp_path, capsys):
    prompt, mel = Recording(torch.zeros(16000), 16000, "q.wav"), torch.zeros(40, 20)
    answer = Answer(
        prompt, "a cow", *halves, torch.zeros(8000), 16000, True, mel, MelConfig(n_mels=20), text_stopped=text_stopped
    )
    write_answer(Path("q.wav"), answer, tmp_path / "a.wav")
    assert ("a cow (cut off at --max-text-tokens)\n" in capsys.readouterr().out) is cut
