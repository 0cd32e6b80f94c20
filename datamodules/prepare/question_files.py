"""Published file formats of written questions.

- WebQuestions (Berant et al. 2013): JSON, ``[{"qId": ..., "qText": ..., "answers": [...]}, ...]``, or one such object
  per line. The names ``id`` and ``question`` are also accepted.
- TriviaQA (Joshi et al. 2017): JSON,
  ``{"Data": [{"QuestionId": ..., "Question": ..., "Answer": {"Value": ..., "Aliases": [...]}}]}``.
- LLaMA-Questions (Nachmani et al. 2023): tab-separated ``Questions``, ``Answer`` and ``Wav Filename``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectron.datamodules.schema import can_be_matched
from spectron.errors import DataError
from spectron.text_files import read_json, read_json_lines, read_lines

COLUMNS = ["Questions", "Answer", "Wav Filename"]
KNOWN = (
    'WebQuestions ([{"qId", "qText", "answers"}, ...], or one object per line) and '
    'TriviaQA ({"Data": [{"QuestionId", ...}, ...]})'
)


@dataclass(frozen=True)
class WrittenQuestion:
    """Question and its accepted answers, the preferred one first.

    Attributes:
        id: Id, unique in the file.
        text: The question with single spaces.
        answers: One or more answers.
        recording: File name of the published recording, if any.
    """

    id: str
    text: str
    answers: list[str]
    recording: str = ""


def read_questions(file: Path, split: str) -> list[WrittenQuestion]:
    """Read questions of WebQuestions or TriviaQA; the format is detected from the content.

    Args:
        file: JSON, or JSON lines.
        split: Split to read; questions without a ``split`` are always read.

    Raises:
        DataError: if the file is missing or has no known format, or a question is invalid.
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
    """Read the table of LLaMA-Questions with the names of the recordings.

    Raises:
        DataError: if the table is invalid; the message names the line.
    """
    header, *lines = read_lines(file)
    if [cell.strip() for cell in header.split("\t")] != COLUMNS:
        raise DataError(f"{file}:1 should hold the names {', '.join(COLUMNS)} between tabs, but holds {header!r}")
    questions: list[WrittenQuestion] = []
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]  # no quoting, because titles are in quotation marks
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


def _recognised(file: Path) -> tuple[list[Any], Callable[[dict[str, Any]], WrittenQuestion]]:
    """Return the records of a file, and the function that reads one record."""
    content = _json(file)
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


def _json(file: Path) -> Any:
    """Return the content of a JSON file, or the list of objects of a JSON lines file."""
    try:
        return read_json(file)
    except DataError as error:
        lines = [line for line in read_lines(file) if line.strip()]
        # A file whose first line is complete JSON is read as JSON lines; otherwise the error of the file is reported.
        if len(lines) < 2 or not lines[0].rstrip().endswith("}"):
            raise DataError(f"{error.message}. The formats known: {KNOWN}", file=file) from error
    return [line.content for line in read_json_lines(file)]


def _web_question(record: dict[str, Any]) -> WrittenQuestion:
    text = record.get("qText", record.get("question"))
    return WrittenQuestion(record.get("qId", record.get("id")), text, record.get("answers"))  # type: ignore[arg-type]


def _trivia_qa(record: dict[str, Any]) -> WrittenQuestion:
    answer = record.get("Answer")
    answer = answer if isinstance(answer, dict) else {}
    aliases = answer.get("Aliases") or []
    answers = [answer["Value"], *aliases] if "Value" in answer and isinstance(aliases, list) else None
    return WrittenQuestion(record.get("QuestionId"), record.get("Question"), answers)  # type: ignore[arg-type]


def _checked(question: WrittenQuestion, where: str) -> WrittenQuestion:
    """Return a checked question with single spaces and without repeated answers.

    Raises:
        DataError: if a value is missing or has the wrong type.
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
    single = [answer for answer in dict.fromkeys(map(_tidy, answers)) if can_be_matched(answer)]
    if not single:
        raise DataError(f"{where} ({name}) has no answer with a letter or digit: write one or remove the question")
    return WrittenQuestion(name, _tidy(text), single, question.recording)


def _tidy(text: str) -> str:
    """Return a text with single spaces and without control characters, which stop a synthesizer."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
