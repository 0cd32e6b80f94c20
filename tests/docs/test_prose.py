"""Rules of plain English for docstrings and pages."""

import ast
import re

import pytest
from pages import DOCS, LAB_BOOK, README, without_code
from places import ROOT

LIBRARY = ("src/spectron", "datamodules", "evaluation")
QUESTION_WORDS = {"What", "Whether", "How", "Where", "Which", "Who"}
MAX_WORDS = 35


def sentences(markdown: str) -> list[str]:
    """Return the sentences of a page: of its paragraphs, headings, list items and table cells, without code blocks."""
    text = without_code(markdown)
    # Inline code and link targets are no prose, but code still counts as one word.
    text = re.sub(r"`[^`]*`", "`code`", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    # A list item, a heading and a table cell end a sentence even without a full stop.
    text = re.sub(r"\n(?=\s*(?:[-*#>]|\d+\.)\s)|\n(?=\||\s*\n)|\|", "\n\n", text)
    parts = re.split(r"\n{2,}|(?<=[.!?:;])\s+", text)
    return [" ".join(part.split()) for part in parts if part.strip()]


def count_words(sentence: str) -> int:
    """Count the words, which contain at least one letter or digit."""
    return sum(any(character.isalnum() for character in word) for word in sentence.split())


def test_sentences_end_at_stops_items_and_cells():
    page = (
        "# A title\n\nOne two.\nThree `a b c` [four](x.md): five\n\n- six\n- seven\n\n| a b | c |\n```\nno. code\n```\n"
    )
    found = sentences(page)
    assert found == ["# A title", "One two.", "Three `code` four:", "five", "- six", "- seven", "a b", "c"]
    assert [count_words(sentence) for sentence in found] == [2, 2, 3, 1, 1, 1, 2, 1]


@pytest.mark.parametrize("page", [README, LAB_BOOK, *DOCS], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_sentences_have_at_most_35_words(page):
    long = [sentence for sentence in sentences(page.read_text(encoding="utf-8")) if count_words(sentence) > MAX_WORDS]
    assert not long, "\n".join([f"{page.relative_to(ROOT)} has sentences with more than {MAX_WORDS} words:", *long])


def test_module_docstrings_open_with_a_noun():
    riddles = []
    files = [file for folder in LIBRARY for file in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 100
    for file in files:
        opening = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n")[0]
        if opening and re.split(r"\W", opening)[0] in QUESTION_WORDS:
            riddles.append(f"{file.relative_to(ROOT)}: {opening}")
    assert not riddles, "\n".join(["Module docstrings that open with a question word:", *riddles])
