"""The command line: what it prints, what it refuses, how it ends."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from places import ROOT, TINY
from prompts import syllables
from talker import TALKER

from spectron.audio.io import read_audio, write_wav
from spectron.cli import verbs
from spectron.cli.continuing import output_files
from spectron.cli.parser import command, main, parse
from spectron.errors import DataError
from spectron.weights.checkpoint_files import read_checkpoint

SMALL = ROOT / "experiments" / "mini" / "small.yaml"
JUDGES = "callbacks.speech.init_args.judges"


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    """An export's ``config.yaml`` of an untrained model that speaks."""
    folder = tmp_path_factory.mktemp("talker")
    (folder / "text.txt").write_text("the cat sat on the mat\n" * 50)
    # An export holds no interpolations.
    (folder / "config.yaml").write_text(TALKER.replace('"${shared.mel}"', "{n_mels: 20}"))
    return folder


@pytest.fixture
def prompt(tmp_path):
    """One second of sound at a rate that no part of the model uses."""
    write_wav(tmp_path / "prompt.wav", syllables(1.0, 22050), 22050)
    return tmp_path / "prompt.wav"


@pytest.mark.parametrize(
    ("line", "verb", "collected"), [("ask mini why", "ask", False), ("compare a b", "compare", True)]
)
def test_garbage_is_looked_for_only_where_the_work_is_long(monkeypatch, line, verb, collected):
    seen = []
    monkeypatch.setattr(verbs, verb, lambda options: seen.append(gc.isenabled()))
    monkeypatch.setattr(sys, "argv", ["spectron", *line.split()])
    try:
        assert command() == 0
        assert seen == [collected]
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.enable()


def test_a_prompt_longer_than_the_model_hears_is_refused(talker, tmp_path, capsys):
    write_wav(tmp_path / "long.wav", syllables(30.0, 16000), 16000)
    short_memory = "model.language_model.init_args.config.max_position_embeddings=64"
    assert (
        main(["continue", str(talker), str(tmp_path / "long.wav"), short_memory, "-o", str(tmp_path / "out.wav")]) == 1
    )
    assert "decoding: long.wav (30.0 s of prompt, " in capsys.readouterr().err
    assert not (tmp_path / "out.wav").exists()


def test_help_comes_at_once():
    seconds = []
    for _ in range(3):  # the best of three: a busy machine is not the command's fault
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "spectron.cli.parser", "--help"], capture_output=True, text=True, check=True
        )
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.5
    assert all(verb in done.stdout for verb in ("fit", "evaluate", "continue", "compare", "check", "prepare", "export"))


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from spectron.cli.parser import build_parser; build_parser(); "
        "print(sorted({'torch', 'lightning', 'rich'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@pytest.mark.parametrize(
    ("arguments", "resume", "overrides"),
    [
        (["a=1", "b=2"], None, ["a=1", "b=2"]),
        (["--resume"], "", []),
        (["--resume", "0123abcd", "a=1"], "0123abcd", ["a=1"]),
        (["--resume", "a=1"], "", ["a=1"]),
        (["a=1", "--resume", "--debug", "b=2"], "", ["a=1", "b=2"]),
    ],
)
def test_overrides_and_resume_in_any_order(arguments, resume, overrides):
    options = parse(["fit", "x.yaml", *arguments])
    assert (options.resume, options.overrides) == (resume, overrides)
    assert parse(["fit", "--resume", "x.yaml"]).file == "x.yaml"


def test_debug_before_or_after_the_verb():
    found = [
        parse(arguments).debug
        for arguments in (["--debug", "check", "x.yaml"], ["check", "x.yaml", "--debug"], ["check", "x.yaml"])
    ]
    assert found == [True, True, False]


@pytest.mark.parametrize("line", ["fit x.yaml --resum", "continue run x.wav --loud", "compare a --x=3", "train"])
def test_unknown_options_end_with_the_usage(line, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(line.split())
    assert ended.value.code == 2
    assert "usage: spectron" in capsys.readouterr().err


def test_fit_evaluate_compare_and_check_print_tables(runs, capsys):
    for rate in ("0.01", "0.02"):
        assert main(["fit", str(TINY), f"model.speed.rate={rate}"]) == 0
    printed = capsys.readouterr().out
    assert "val/loss" in printed
    assert f"mlflow ui --backend-store-uri sqlite:///{runs}/mlflow.db" in printed
    assert main(["fit", str(TINY), "model.speed.rate=0.02", "--resume"]) == 0
    printed = capsys.readouterr().out
    assert "Nothing was validated: `spectron evaluate " in printed, "it was complete"
    assert main(["compare", "tiny"]) == 0
    printed = capsys.readouterr().out
    assert "model.speed.rate" in printed
    assert "model.width" not in printed, "only differences are shown"
    assert main(["evaluate", "tiny", "--trust", "--runs", str(runs)]) == 0
    assert "val/loss" in capsys.readouterr().out
    assert main(["check", str(TINY)]) == 0
    printed = capsys.readouterr().out
    assert "start" in printed
    assert "3 x 4" in printed


def test_a_mistake_is_one_message_without_a_traceback(capsys):
    assert main(["check", str(TINY), "model.widht=3"]) == 1
    printed = capsys.readouterr()
    assert printed.err.strip() == (
        "spectron: error: model.widht: TinyTask takes no `widht`. Did you mean `width`? (in the command line)"
    )
    with pytest.raises(Exception, match="widht"):
        main(["check", str(TINY), "model.widht=3", "--debug"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "model.language_model.init_args.source=my/own/lm",
            "model.language_model.init_args.source: there is no folder",
        ),
        ("weights.encoder=gone.safetensors", "weights.encoder: there is no file gone.safetensors"),
        ("data.init_args.manifest=gone.jsonl", "data.init_args.manifest: there is no file"),
        (
            f"{JUDGES}.text_scorer.init_args.source=my/own/judge",
            f"{JUDGES}.text_scorer.init_args.source: there is no folder",
        ),
        (
            f"{JUDGES}.recogniser.init_args.folder=gone",
            f"{JUDGES}.recogniser.init_args.folder: gone has no config.yaml",
        ),
        ("seed=3", "the corpus would be spoken now"),
    ],
)
def test_what_is_missing_is_found_before_a_corpus_is_spoken(override, message, tmp_path, monkeypatch, capsys):
    def write_corpus(*arguments):
        raise DataError("the corpus would be spoken now")

    monkeypatch.setattr("spectron.datamodules.synthetic.corpus.write_corpus", write_corpus)
    corpus = [f"data.init_args.corpus.folder={tmp_path}/new", f"data.init_args.manifest={tmp_path}/new/questions.jsonl"]
    assert main(["check", str(SMALL), *corpus, override]) == 1
    assert capsys.readouterr().err.startswith(f"spectron: error: {message}")


@pytest.mark.parametrize("verb", ["check", "fit"])
def test_an_export_is_no_experiment(verb, talker, capsys):
    file = talker / "exported" / "config.yaml"
    assert main(["export", str(talker), str(file.parent)]) == 0
    capsys.readouterr()
    assert main([verb, str(file)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"spectron: error: {file} describes an exported model, not an experiment")
    assert f"spectron continue {file.parent} prompt.wav" in said
    assert f"`extends: {file}`" in said


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        ("continue", "an exported folder"),
        ("export", "an exported folder"),
        ("continue", "model.encoder.class_path="),
        ("export", "model.encoder.class_path="),
        ("check", "model.head.init_args.frames_per_step=2"),
        ("evaluate", "callbacks.speech.init_args.panel_size=64"),
    ],
)
def test_help_says_what_is_taken_and_what_can_be_changed(verb, told, capsys):
    with pytest.raises(SystemExit):
        parse([verb, "--help"])
    assert told in " ".join(capsys.readouterr().out.split())


def test_continue_speaks_and_draws(talker, prompt, tmp_path, capsys):
    out = tmp_path / "new" / "out.wav"
    assert main(["continue", str(talker), str(prompt), "-o", str(out), "--max-seconds", "0.2"]) == 0
    waveform, rate = read_audio(out)
    assert rate == 16000
    assert 0 < len(waveform) <= 0.3 * rate
    assert out.with_suffix(".png").stat().st_size > 5000
    printed = capsys.readouterr().out
    assert all(name in printed for name in (str(prompt), str(out), "out.png"))


@pytest.mark.parametrize("text", ["empty", "filler"])
def test_continue_speaks_without_writing_first(text, talker, prompt, tmp_path, capsys):
    out = tmp_path / "out.wav"
    assert main(["continue", str(talker), str(prompt), "-o", str(out), "--max-seconds", "0.2", "--text", text]) == 0
    assert "Text:         (none)\n" in capsys.readouterr().out
    assert out.is_file()


def test_several_prompts_give_what_each_gives_alone(talker, prompt, tmp_path):
    longer = tmp_path / "longer.wav"
    write_wav(longer, syllables(3.0, 16000, 300.0), 16000)
    options = ["--max-seconds", "0.2", "--temperature", "1.0", "--seed", "5"]
    assert main(["continue", str(talker), str(prompt), str(longer), "-o", str(tmp_path / "both"), *options]) == 0
    assert main(["continue", str(talker), str(prompt), "-o", str(tmp_path / "alone.wav"), *options]) == 0
    both, _ = read_audio(tmp_path / "both" / "prompt.wav")
    alone, _ = read_audio(tmp_path / "alone.wav")
    assert (tmp_path / "both" / "longer.wav").is_file()
    torch.testing.assert_close(both, alone, atol=1e-3, rtol=0)


def test_ask_speaks_the_question_and_answers_it(talker, tmp_path, capsys):
    """What it hears is the question that it leaves behind: continuing that says the same."""
    out = tmp_path / "new" / "out.wav"
    assert (
        main(
            [
                "ask",
                str(talker),
                "what is the capital of france",
                "-o",
                str(out),
                "--max-seconds",
                "0.2",
                "--voice",
                "en+m1",
            ]
        )
        == 0
    )
    assert out.with_suffix(".png").is_file()
    question, rate = read_audio(out.with_name("out-question.wav"))
    assert 1.0 < len(question) / rate < 3.0
    printed = capsys.readouterr().out
    assert (
        main(
            [
                "continue",
                str(talker),
                str(tmp_path / "new" / "out-question.wav"),
                "-o",
                str(tmp_path / "x.wav"),
                "--max-seconds",
                "0.2",
            ]
        )
        == 0
    )
    assert read_audio(tmp_path / "x.wav")[0].equal(read_audio(out)[0])
    assert capsys.readouterr().out.replace("/x.", "/new/out.") == printed


@pytest.mark.parametrize(
    ("voice", "said"),
    [
        ("f1", "there is no voice 'f1': name an accent and a variant"),
        ("en-us+f11", "espeak-ng has no variant 'f11' for a voice en-us-f11. Did you mean `f1`?"),
        ("en-gb+f1", "espeak-ng has no accent 'en-gb'. Did you mean `en-gb-x-rp`?"),
    ],
)
def test_ask_refuses_a_voice_that_is_not_there(voice, said, talker, tmp_path, capsys):
    assert main(["ask", str(talker), "who are you", "--voice", voice, "-o", str(tmp_path / "x.wav")]) == 1
    assert capsys.readouterr().err.startswith(f"spectron: error: {said}")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--device gpu", "--device gpu: this machine has no such device. Torch sees cpu"),
        ("--device cuda:99", "--device cuda:99: this machine has no such device. Torch sees cpu"),
        ("--max-seconds 0", "decoding.max_seconds: must be above 0 and at most 86400, got 0"),
        ("--temperature -0.5", "decoding.temperature: must be at least 0, got -0.5"),
        ("-o said.mp3", "-o said.mp3: speech is written as WAV. Name it said.wav"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_the_model_is_looked_for(options, said, prompt, capsys):
    assert main(["continue", "no-such-run", str(prompt), *options.split()]) == 1
    assert capsys.readouterr().err.startswith(f"spectron: error: {said}")


@pytest.mark.parametrize(("model", "options"), [(None, "--device gpu"), (None, "--max-seconds 0"), ("no-such-run", "")])
def test_a_refused_question_is_not_left_behind(model, options, talker, tmp_path):
    assert main(["ask", model or str(talker), "who are you", "-o", str(tmp_path / "x.wav"), *options.split()]) == 1
    assert list(tmp_path.glob("x*")) == []


def test_a_wav_may_be_named_in_capitals():
    assert output_files([Path("p.wav")], Path("said.WAV")) == [Path("said.WAV")]


@pytest.mark.parametrize("option", ["--device cpu", "--resume"])
def test_what_is_for_a_suite_is_refused_without_one(option, runs, capsys):
    assert main(["evaluate", "tiny", *option.split()]) == 1
    assert f"{option.split()[0]}: needs a suite" in capsys.readouterr().err


def test_overrides_alone_are_no_recording(capsys):
    with pytest.raises(SystemExit):
        main(["continue", "mini", "model.sequence.text_separator=x"])
    assert "name a recording to continue" in capsys.readouterr().err


def test_a_question_without_quotes_is_given_back_with_them(capsys):
    with pytest.raises(SystemExit):
        main(["ask", "mini", "who", "are", "you"])
    assert "put the question in quotes: 'who are you'" in capsys.readouterr().err


def test_continue_refuses_bad_prompts_before_it_looks_for_the_model(prompt, tmp_path, capsys):
    (tmp_path / "broken.wav").write_text("no audio")
    (tmp_path / "empty.wav").touch()
    for name in ("missing.wav", "broken.wav", "empty.wav"):
        assert main(["continue", "no-such-run", str(tmp_path / name)]) == 1
        assert name in capsys.readouterr().err
    together = [str(tmp_path / name) for name in ("broken.wav", "empty.wav")]
    assert main(["continue", "no-such-run", str(prompt), *together, "-o", str(tmp_path / "answers")]) == 1
    printed = capsys.readouterr().err
    assert all(path in printed for path in together), "all of them at once"
    assert main(["continue", "no-such-run", str(prompt), str(prompt), "-o", str(tmp_path / "x.wav")]) == 1
    assert "need a folder" in capsys.readouterr().err


def test_continue_refuses_a_model_that_does_not_speak(runs, prompt, capsys):
    assert main(["fit", str(TINY)]) == 0
    assert main(["continue", "--trust", "tiny", str(prompt), "-o", str(prompt.with_name("x.wav"))]) == 1
    assert "this is a TinyTask, which cannot continue speech" in capsys.readouterr().err
    assert main(["continue", "tinyy", str(prompt)]) == 1
    assert "no run 'tinyy'" in capsys.readouterr().err


def test_export_gives_a_folder_that_loads_again(runs, tmp_path, capsys):
    assert main(["fit", str(TINY)]) == 0
    assert main(["export", "tiny", "--trust", str(tmp_path / "exported")]) == 0
    assert main(["export", "--trust", str(tmp_path / "exported"), str(tmp_path / "again")]) == 0
    one, other = (tmp_path / name / "end.safetensors" for name in ("exported", "again"))
    assert one.read_bytes() == other.read_bytes()
    assert main(["evaluate", str(tmp_path / "exported")]) == 1
    assert "without data to evaluate" in capsys.readouterr().err


def test_prepare_prints_what_it_made(prompt, tmp_path, capsys):
    folder = tmp_path / "speech"
    write_wav(folder / "a.wav", torch.ones(16000) * 0.1, 16000)
    (folder / "a.txt").write_text("hello there\n")
    write_wav(folder / "b.wav", torch.ones(16000) * 0.1, 16000)
    assert main(["prepare", "folder", str(folder), str(tmp_path / "manifest.jsonl")]) == 0
    printed = capsys.readouterr().out
    assert str(tmp_path / "manifest.jsonl") in printed
    assert "b.wav" in printed
    assert main(["prepare", "librispeech", str(tmp_path / "nothing"), str(tmp_path / "m.jsonl")]) == 1
    assert "LibriSpeech" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on_and_leaves_a_checkpoint(runs):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "spectron.cli.parser",
        "fit",
        str(TINY),
        "name=endless",
        "trainer.max_steps=1000000",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    deadline = time.monotonic() + 200
    while not (found := list(runs.glob("endless/*/checkpoints/last.ckpt"))) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"--resume {found[0].parts[-3]}" in printed
    assert "Traceback" not in printed
    assert read_checkpoint(found[0])["global_step"] > 0
