"""Makes manifests: from the synthetic world, from LibriSpeech's folders, from a folder of audio with texts beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from datamodules.synthetic.corpus import CorpusSettings, Progress, write_corpus


@dataclass
class Prepared:
    """What a preparation made.

    Attributes:
        manifests: The files that a data module can be pointed at.
        utterances: How many utterances they hold.
        hours: How much speech.
        skipped: Files left out, each with its reason.
    """

    manifests: list[Path]
    utterances: int
    hours: float
    skipped: dict[str, str] = field(default_factory=dict)


def prepare_synthetic(folder: Path, settings: CorpusSettings | None = None, progress: Progress | None = None) -> Prepared:
    """Write the synthetic corpus into a folder, or find the same one finished there.

    Raises:
        DataError: if the folder holds anything else.
    """
    folder = Path(folder)
    write_corpus(folder, settings or CorpusSettings(), progress)
    counts = json.loads((folder / "corpus.json").read_text())["counts"]
    manifests = [folder / "carriers.jsonl", folder / "questions.jsonl"]
    return Prepared(manifests, counts["carriers"] + counts["questions"], counts["hours"])
