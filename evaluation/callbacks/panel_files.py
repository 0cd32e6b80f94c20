"""Files of a validation: wavs, pictures and a table of all samples."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spectron.audio.io import write_wav
from spectron.audio.picture import MelPanel, mel_picture
from spectron.evaluation.metrics import SpokenMetric
from spectron.evaluation.results.records import facts_of, waveforms_of
from spectron.evaluation.sample import TRANSCRIPT, SpokenSample
from spectron.tracking.store import file_name


@dataclass
class PanelFiles:
    """Files of one validation in one folder.

    Args:
        folder: The folder.
        pictures: One picture per sample with wavs.
        spoken: Wavs of the generated speech.
        others: Prompts, references, the table and the protocol.
    """

    folder: Path
    pictures: list[Path] = field(default_factory=list)
    spoken: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def write_panel(
    folder: Path, samples: list[SpokenSample], metrics: list[SpokenMetric], protocol: dict[str, Any], audio_items: int
) -> PanelFiles:
    """Write wavs and pictures of the first samples, and the texts and scores of all.

    Args:
        folder: Folder of the files; created if missing.
        samples: Judged samples.
        metrics: Metrics that compute each sample's scores.
        protocol: Conditions of the evaluation, written to ``protocol.json``.
        audio_items: Samples with wavs and a picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = PanelFiles(folder)
    lines = []
    for number, sample in enumerate(samples, start=1):
        wavs = write_sample(files, f"{number:02d}-{file_name(sample.id)}", sample) if number <= audio_items else {}
        scores = {name: score for metric in metrics for name, score in metric.scores(sample).items()}
        lines.append(json.dumps(facts_of(sample, scores) | {"wavs": wavs}, ensure_ascii=False))
    table, how = folder / "samples.jsonl", folder / "protocol.json"
    table.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    how.write_text(json.dumps(protocol, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    files.others += [table, how]
    return files


def write_sample(files: PanelFiles, stem: str, sample: SpokenSample) -> dict[str, str]:
    """Write wavs of prompt, generated speech and reference, and their picture.

    Returns:
        Names of the wavs by kind; audio without samples has no wav.
    """
    speech = waveforms_of(sample)
    names = {kind: f"{stem}-{kind}.wav" for kind, (waveform, _) in speech.items() if len(waveform)}
    for kind, name in names.items():
        write_wav(files.folder / name, *speech[kind])
        (files.spoken if kind == "generated" else files.others).append(files.folder / name)
    files.pictures.append(mel_picture(files.folder / f"{stem}.png", panels_of(sample)))
    return names


def panels_of(sample: SpokenSample) -> list[MelPanel]:
    """Return panels of the prompt (if any), the generated speech and the reference, with their texts."""
    rate = sample.frame_rate_hz
    prompt = f"said: “{sample.prompt_text}”" + (
        "" if sample.transcript is None else f" — transcribed: “{sample.transcript}”"
    )
    cut = " (text cut at the most tokens allowed)" if sample.text_stopped is False else ""
    said = [] if sample.continuation_text is None else [f"written: “{sample.continuation_text}”{cut}"]
    transcript = sample.evidence_of(TRANSCRIPT)
    recognised = [] if transcript is None else [f"recognised: “{transcript}”"]
    reference = (
        f"said: “{sample.reference_text}”"
        if sample.reference_text
        else f"accepted answers: {', '.join(sample.answers)}"
    )
    generated = "Generated" if sample.stopped else "Generated, cut at the longest length allowed"
    asked = [MelPanel(f"Prompt {sample.id}", sample.prompt_mel, rate, prompt)] if len(sample.prompt) else []
    return [
        *asked,
        MelPanel(generated, sample.generated_mel, rate, " — ".join(said + recognised)),
        MelPanel("Reference", sample.reference_mel, rate, reference),
    ]
