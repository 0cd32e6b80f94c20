"""Make targets, commands, files and links that the pages name."""

import re

import pytest
from pages import DOCS, README, blocks
from places import ROOT

from spectron.cli.parser import parse

INDEX = ROOT / "docs" / "README.md"
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def linked_from(page):
    """Return the files that a page links."""
    return {(page.parent / target).resolve() for target in LINK.findall(page.read_text())}


def test_readme_names_existing_make_targets():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"make ([a-z]+(?:-[a-z]+)*)", README.read_text()))
    assert named
    assert named <= targets


def test_readme_names_existing_commands():
    verbs = set(re.findall(r"(?:`|^\$ )spectron ([a-z][a-z-]*)", README.read_text(), re.MULTILINE)) - {"prepare"}
    assert verbs
    for verb in verbs:
        with pytest.raises(SystemExit) as stop:
            parse([verb, "--help"])
        assert stop.value.code == 0, verb


def test_readme_names_existing_files():
    text = README.read_text()
    named = set(re.findall(r"(?:experiments|docs)/[\w/]+\.(?:yaml|md)", text))
    saved_by_reader = {re.search(r"# Run: spectron fit (\S+)", yaml)[1] for yaml in blocks(text, "yaml")}
    assert named
    missing = [path for path in sorted(named - saved_by_reader) if not (ROOT / path).is_file()]
    assert not missing, missing


@pytest.mark.parametrize("page", [README, *DOCS], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page_links_three_docs_pages_and_no_missing_file(page):
    linked = linked_from(page)
    missing = [str(target) for target in sorted(linked) if not target.exists()]
    assert not missing, missing
    assert len(linked & set(DOCS)) >= 3


def test_readme_links_the_index():
    assert INDEX in linked_from(README)


def test_index_links_every_docs_page():
    missing = [path.name for path in DOCS if path != INDEX and path not in linked_from(INDEX)]
    assert not missing, missing
