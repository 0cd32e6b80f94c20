"""Files and printed lines of spoken answers."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from spectron.audio.io import AUDIO_SUFFIXES
from spectron.errors import ConfigError, WriteError
from spectron.files import machine_error
from spectron.terminal import say

if TYPE_CHECKING:
    from spectron.inference.speaker import Answer

log = logging.getLogger(__name__)


def output_files(prompts: list[Path], output: Path) -> list[Path]:
    """Return the file of each answer: one answer is written to ``output``, several into the folder ``output`` under
    their prompts' names.

    Raises:
        ConfigError: if several answers would have the same file, an answer would replace a prompt, or the suffix is
            not ``.wav``.
    """
    suffix = output.suffix.lower()
    if suffix in AUDIO_SUFFIXES and suffix != ".wav":
        raise ConfigError(f"-o {output}: speech is written as WAV. Name it {output.with_suffix('.wav').name}")
    if len(prompts) == 1 and not output.is_dir():
        files = [output if suffix == ".wav" else output.with_name(output.name + ".wav")]
    elif suffix == ".wav":
        raise ConfigError(
            f"-o {output}: {len(prompts)} prompts need a folder for their answers, not one file. Leave out the .wav"
        )
    else:
        names = [path.stem for path in prompts]
        files = [
            output / (f"{name}.wav" if names.count(name) == 1 else f"{name}-{place}.wav")
            for place, name in enumerate(names)
        ]
    taken = {path.resolve() for path in prompts}
    for place, file in enumerate(files):
        if file.resolve() in taken:
            raise ConfigError(
                f"-o {output}: the answer to {prompts[place]} would be written over {file}. Name another folder or file"
            )
        taken.add(file.resolve())
    return files


def write_answer(prompt: Path, answer: Answer, wav: Path, question: str = "") -> None:
    """Print an answer's texts, write its speech and, next to it, its picture, and print the files.

    A picture that cannot be written is a warning: the answer is complete without it.

    Args:
        prompt: The file of its prompt.
        answer: The answer.
        wav: File to write.
        question: The question in writing, which is printed if the model recognised other words.

    Raises:
        WriteError: if the speech cannot be written.
    """
    say("", f"Prompt:       {prompt}")
    text_cut = " (cut off at --max-text-tokens)" if answer.text_stopped is False else ""
    if answer.transcript is None or answer.continuation is None:
        say(f"Text:         {answer.text or '(none)'}{text_cut}")
    else:
        say(f"Transcript:   {answer.transcript or '(none)'}")
        if question and words(question) != words(answer.transcript):
            say(f"Asked:        {question} (the model recognises only questions worded as in its training data)")
        say(f"Continuation: {answer.continuation or '(none)'}{text_cut}")
    cut = "" if answer.stopped else ", cut off at --max-seconds"
    answer.save(wav)
    say(f"Speech:       {wav} ({answer.seconds:.2f} s{cut})")
    try:
        say(f"Picture:      {answer.draw(wav.with_suffix('.png'))}")
    except Exception as error:
        if (found := machine_error(error)) is None and not isinstance(error, WriteError | OSError):
            raise
        log.warning("The picture is missing: %s", found or error)


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation."""
    return re.findall(r"[\w']+", text.lower())
