"""Reads written questions in the formats that they are published in.

- WebQuestions (Berant et al. 2013): JSON, ``[{"qId": ..., "qText": ..., "answers": [...]}, ...]``, or one such object a line; the
  names ``id`` and ``question`` are taken too.
- TriviaQA (Joshi et al. 2017): JSON, ``{"Data": [{"QuestionId": ..., "Question": ..., "Answer": {"Value": ..., "Aliases": [...]}}]}``.
- LLaMA-Questions (Nachmani et al. 2023): lines of ``Questions``, ``Answer`` and ``Wav Filename`` between tabs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectron.errors import DataError

COLUMNS = ["Questions", "Answer", "Wav Filename"]
KNOWN = 'WebQuestions ([{"qId", "qText", "answers"}, ...], also one object a line) and TriviaQA ({"Data": [{"QuestionId", ...}, ...]})'


@dataclass(frozen=True)
class WrittenQuestion:
    """A question and the answers that are accepted, the preferred one first.

    Attributes:
        id: Unique in its file.
        text: The question, with single spaces.
        answers: At least one.
        recording: The name of its recording, where it was published with one.
    """

    id: str
    text: str
    answers: list[str]
    recording: str = ""


def read_questions(file: Path, split: str) -> list[WrittenQuestion]:
    """Questions of WebQuestions or TriviaQA; which of them it is, the content tells.

    Args:
        file: JSON, or JSON lines.
        split: Where questions name a ``split``, those of another one are left out.

    Raises:
        DataError: if the file is missing or of no known format, or a question is not what it should be.
    """
    records, read = _recognised(file)
    questions = []
    for number, record in enumerate(records, 1):
        where = f"{file}: question {number}"
        if not isinstance(record, dict):
            raise DataError(f"{where} is {record!r}, no JSON object: mend or remove it")
        if record.get("split", split) == split:
            questions.append(_checked(read(record), where))
    if not questions:
        found = (
            ", ".join(sorted({str(record["split"]) for record in records if "split" in record})) or "no question at all"
        )
        raise DataError(f"{file} holds no question of split {split!r}, but {found}: name another --split")
    return questions


def read_llama_questions(file: Path) -> list[WrittenQuestion]:
    """The questions of LLaMA-Questions' table, each with the name of its recording.

    Raises:
        DataError: if the file is no such table; the message names the line.
    """
    header, *lines = _text(file).splitlines() or [""]
    if [cell.strip() for cell in header.split("\t")] != COLUMNS:
        raise DataError(f"{file}:1 should hold the names {', '.join(COLUMNS)} between tabs, but holds {header!r}")
    questions: list[WrittenQuestion] = []
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]  # no quoting: titles stand in quotation marks
        if len(cells) != len(COLUMNS) or not all(cells):
            raise DataError(
                f"{file}:{number} should hold a question, an answer and the name of a wav between tabs: mend {line!r}"
            )
        text, answer, recording = cells
        if any(question.recording == recording for question in questions):
            raise DataError(
                f"{file}:{number} names {recording}, which an earlier line has: give every question its own recording"
            )
        questions.append(_checked(WrittenQuestion(Path(recording).stem, text, [answer], recording), f"{file}:{number}"))
    return questions


def _text(file: Path) -> str:
    """A UTF-8 file's content, without the mark that may stand at its beginning."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"there is no file of questions {file} ({error.strerror}): correct the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text: name a file of questions") from error


def _recognised(file: Path) -> tuple[list[Any], Callable[[dict[str, Any]], WrittenQuestion]]:
    """A file's records, and what reads one of them."""
    content = _json(_text(file), file)
    if isinstance(content, dict) and isinstance(content.get("Data"), list):
        return content["Data"], _trivia_qa
    records = [content] if isinstance(content, dict) else content
    first = records[0] if isinstance(records, list) and records else None
    if isinstance(first, dict) and {"qText", "question"} & set(first):
        return records, _web_question
    holds = (
        f"an object with the keys {', '.join(sorted(first))}"
        if isinstance(first, dict)
        else f"{type(content).__name__} of something else"
    )
    raise DataError(f"{file} begins with {holds}, which is none of the formats known: {KNOWN}")


def _json(text: str, file: Path) -> Any:
    """The content of a JSON file, or of JSON lines as a list."""
    try:
        return json.loads(text)
    except ValueError as error:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        # A file whose first line is whole JSON is meant as JSON lines; any other is told where its JSON ends.
        if len(lines) < 2 or not lines[0][1].rstrip().endswith("}"):
            raise DataError(f"{file} is not JSON ({error}). The formats known: {KNOWN}") from error
    records = []
    for number, line in lines:
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"{file}:{number} is not JSON ({error}): mend or remove the line") from error
    return records


def _web_question(record: dict[str, Any]) -> WrittenQuestion:
    text = record.get("qText", record.get("question"))
    return WrittenQuestion(record.get("qId", record.get("id")), text, record.get("answers"))  # type: ignore[arg-type]


def _trivia_qa(record: dict[str, Any]) -> WrittenQuestion:
    answer = record.get("Answer") or {}
    aliases = answer.get("Aliases") or []
    answers = [answer["Value"], *aliases] if "Value" in answer and isinstance(aliases, list) else None
    return WrittenQuestion(record.get("QuestionId"), record.get("Question"), answers)  # type: ignore[arg-type]


def _checked(question: WrittenQuestion, where: str) -> WrittenQuestion:
    """A question as it should be: texts with single spaces, answers each once.

    Raises:
        DataError: if something is missing or of the wrong kind.
    """
    name, text, answers = question.id, question.text, question.answers
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise DataError(f"{where} has {name!r} for its id, which should be text that can name a file: mend it")
    if not isinstance(text, str) or not _tidy(text):
        raise DataError(f"{where} ({name}) has {text!r} for its text: write the question or remove it")
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise DataError(
            f"{where} ({name}) has no list of answers: take a part of the data that is published with its answers"
        )
    single = [answer for answer in dict.fromkeys(map(_tidy, answers)) if answer]
    if not single:
        raise DataError(f"{where} ({name}) has no answer: write one or remove the question")
    return WrittenQuestion(name, _tidy(text), single, question.recording)


def _tidy(text: str) -> str:
    """A text with single spaces and no control characters, at which a synthesizer would stop."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
