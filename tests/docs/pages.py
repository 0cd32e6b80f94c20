"""Text, code blocks and commands of the documentation pages, for tests that run a page as it is printed."""

import re
from pathlib import Path

from places import ROOT

from spectron.cli.parser import main

README = ROOT / "README.md"
LAB_BOOK = ROOT / "experiments" / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
MINI = Path("experiments/mini")
# Parts of the output that differ between machines: rounding differences and speed.
VARYING = re.compile(r"\d\.\de[+-]\d\d|(?<=✓ speed).*")


def doc(name: str) -> str:
    """Return the text of a page below ``docs/``."""
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Return the text from a heading of the second level to the next one."""
    begin = text.index(heading)
    end = text.find("\n## ", begin)
    return text[begin:end] if end > 0 else text[begin:]


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def without_code(text: str) -> str:
    """Remove all fenced code blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def lay_out(text: str, folder: Path) -> None:
    """Write the page's code and YAML to the files that the page names, next to the project's own experiments."""
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
    """Run every command of the page and return its output.

    The overrides follow ``fit`` and ``check``, except ``check --part``. Output that the page shows must be equal.
    """
    printed = {}
    for block in blocks(text, "console"):
        for typed in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = typed.partition("\n")
            arguments = command.split()
            assert arguments.pop(0) == "spectron"
            builds = arguments[0] in ("fit", "check") and "--part" not in arguments
            assert main([*arguments, *(overrides if builds else [])]) == 0, capsys.readouterr().err
            printed[command] = capsys.readouterr().out
            if shown.strip():
                same = VARYING.sub("#", printed[command].strip()) == VARYING.sub("#", shown.strip())
                assert same, f"the page shows other output than {command} prints:\n{printed[command]}"
    return printed


def code_lines(code: str) -> int:
    """Count the lines that are not blank, comment or docstring."""
    code = re.sub(r'""".*?"""', "", code, flags=re.DOTALL)
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in code.splitlines())
