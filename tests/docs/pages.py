"""Runs a page of the documentation as it is printed: writes its files, types its commands, compares what it prints."""

import re
from pathlib import Path

from places import ROOT

from spectron.cli.parser import main

MINI = Path("experiments/mini")
# What differs from machine to machine: differences by rounding, and speed.
VARYING = re.compile(r"\d\.\de[+-]\d\d|(?<=✓ speed).*")

SHORT = [
    *(
        "trainer.max_steps=1",
        "trainer.val_check_interval=1",
        "trainer.limit_val_batches=1",
        "trainer.num_sanity_val_steps=0",
    ),
    *(
        "callbacks.speech.init_args.panel_size=2",
        "callbacks.speech.init_args.audio_items=1",
        "data.init_args.corpus=null",
    ),
    *("callbacks.speech.init_args.decoding.max_text_tokens=8", "callbacks.speech.init_args.decoding.max_seconds=0.5"),
]


def section(path: Path, heading: str) -> str:
    """The text from a heading of the second level to the next one."""
    text = path.read_text()
    begin = text.index(heading)
    end = text.find("\n## ", begin)
    return text[begin:end] if end > 0 else text[begin:]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def lay_out(text: str, folder: Path) -> None:
    """Write the page's code and YAML where the page says that they are saved, beside the project's own experiments."""
    mini = folder / MINI
    mini.mkdir(parents=True)
    for path in (ROOT / MINI).iterdir():
        (mini / path.name).symlink_to(path)
    for code in blocks(text, "python"):
        (mini / re.match(r"# (\w+\.py)\n", code)[1]).write_text(code)
    for yaml in blocks(text, "yaml"):
        (folder / re.search(r"# Run: spectron fit (\S+)", yaml)[1]).write_text(yaml)
    assert f"`{MINI}/" in text


def type_commands(text: str, overrides: list[str], capsys) -> dict[str, str]:
    """Type every command of the page, overrides behind ``fit`` and the whole ``check``; what each printed."""
    printed = {}
    for block in blocks(text, "console"):
        for typed in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = typed.partition("\n")
            arguments = command.split()
            assert arguments.pop(0) == "spectron"
            assert main([*arguments, *([] if "--part" in arguments else overrides)]) == 0, capsys.readouterr().err
            printed[command] = capsys.readouterr().out
            if shown.strip():
                assert VARYING.sub("#", printed[command].strip()) == VARYING.sub("#", shown.strip())
    return printed


def code_lines(code: str) -> int:
    """Lines that are neither blank, nor comment, nor docstring."""
    code = re.sub(r'""".*?"""', "", code, flags=re.DOTALL)
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in code.splitlines())
