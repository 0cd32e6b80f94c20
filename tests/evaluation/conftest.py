"""Fixtures: samples with known content, finished evaluations, a browser, and the folder of real data."""

import base64
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from spectron.audio.io import write_wav
from spectron.evaluation.sample import QUALITY, TEXT_SCORE, TRANSCRIPT, VOICE, SpokenSample

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
QUIET += ["--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=30000"]
# State of the loaded page, which the script stores in an attribute for the test.
CHECK = """
const players = [...document.querySelectorAll("audio")], seen = {
  durations: players.map(player => player.duration),
  errors: players.map(player => player.error && player.error.message),
  widths: [...document.images].map(image => image.naturalWidth), title: document.title,
  requests: performance.getEntriesByType("resource").map(entry => entry.name).filter(name => !name.startsWith("data:")),
};
document.documentElement.dataset.seen = JSON.stringify(seen);
"""


@pytest.fixture
def corpora() -> Path:
    """The folder of real recordings and models; without it the test is skipped."""
    folder = os.environ.get("SPECTRON_DATA")
    if not folder:
        pytest.skip("SPECTRON_DATA names no folder of corpora")
    return Path(folder)


EVIDENCE = {
    "recognised": ("recogniser", TRANSCRIPT),
    "text_score": ("text_scorer", TEXT_SCORE),
    "voices": ("speaker_embedder", VOICE),
    "quality": ("quality_predictor", QUALITY),
}


@pytest.fixture
def make_sample():
    """Make a sample; the keys of ``EVIDENCE`` set the evidence of one judge, all others a field."""

    def make(**changes) -> SpokenSample:
        evidence = {judge: {kind: changes.pop(key)} for key, (judge, kind) in EVIDENCE.items() if key in changes}
        fields = {
            "id": "a",
            "speaker": "s",
            "prompt": torch.zeros(1600),
            "prompt_rate_hz": 16000,
            "prompt_text": "what does the cow say",
            "reference": torch.zeros(3200),
            "reference_text": "the cow says moo",
            "answers": ["moo"],
            "split": "",
            "generated": torch.zeros(1600),
            "speech_rate_hz": 16000,
            "text": "what does the cow say the cow says moo",
            "transcript": "what does the cow say",
            "continuation_text": "the cow says moo",
            "stopped": True,
            "prompt_mel": torch.zeros(8, 4),
            "reference_mel": torch.zeros(16, 4),
            "generated_mel": torch.zeros(8, 4),
            "frame_rate_hz": 80.0,
            "evidence": evidence,
        }
        return SpokenSample(**{**fields, **changes})

    return make


NASTY = "<script>document.title='hacked'</script> & \"<img src=x onerror=alert(1)>\" 'quoted'"


def stored_item(task: str, system: str, number: int, skill: float, folder: Path) -> dict:
    """Return a line of items.jsonl, with tones as speech; a higher ``skill`` makes fewer errors."""
    name, seconds = f"item-{number}", {"prompt": 0.5, "generated": 0.7 + 0.1 * number, "reference": 0.9}
    places = {"prompt": "prompt", "generated": system, "reference": "recording"}
    audio = {kind: f"audio/{task}/{places[kind]}/{name}.wav" for kind in places}
    if system == "recording":
        seconds["generated"] = seconds["reference"]
    for kind, path in audio.items():
        if (folder / path).exists():
            continue
        write_wav(folder / path, 0.3 * torch.sin(torch.arange(round(16000 * seconds[kind])) * 0.2), 16000)
    silent = system == "silence"
    errors = 0.0 if system == "recording" else round((1 - skill) * number)
    return {
        "task": task,
        "system": system,
        "id": name,
        "split": ("facts", "voices")[number % 2],
        "speaker": "84",
        "prompt_text": "where is the cow",
        "transcript": "where was the cow" if system == "model" else None,
        "continuation_text": None if silent else "it is in the barn",
        "text": NASTY,
        "heard": "" if silent else "it is in a barn",
        "reference_text": "it is in the barn",
        "answers": [],
        "stopped": not silent,
        "audio": audio,
        "parts": {"speech_wer": None if silent else [errors, 5.0], "stopped": [float(not silent), 1.0]}
        | {f"{kind}_seconds": [length, 1.0] for kind, length in seconds.items()},
        "failure": NASTY if system == "model" and number == 3 else None,
    }


def stored_measures(lines: list[dict]) -> dict:
    """Return the metrics of some items as in results.json."""
    used = [line["parts"]["speech_wer"] for line in lines if line["parts"]["speech_wer"]]
    errors, words = (sum(column) for column in zip(*used, strict=True)) if used else (0, 0)
    common = {"higher_is_better": False, "count": len(used), "skipped": len(lines) - len(used)}
    wer = common | {"value": errors / words if used else None, "unit": "errors/word", "weight": {"words": words}}
    wer |= {
        "low": 0.125 if used else None,
        "high": 0.875 if used else None,
        "skipped_because": "" if used else "no word was heard",
    }
    mos = {"value": None, "count": 0, "skipped": len(lines), "skipped_because": "weights not present: " + NASTY}
    return {
        "speech_wer": wer,
        "predicted_mos": mos | {"unit": "1 to 5", "higher_is_better": True, "low": None, "high": None, "weight": {}},
    }


@pytest.fixture
def make_evaluation(tmp_path):
    """Return a function that writes a finished evaluation: two tasks on a curve, three systems, ``items`` per task.

    Keyword arguments replace keys of results.json.
    """

    def make(name: str = "first", items: int = 6, skill: float = 0.5, **changes) -> Path:
        folder, lines, tasks = tmp_path / name, [], {}
        for task, seconds in (("long", 3.0), ("short", 1.0)):
            systems = {}
            for system in ("recording", "model", "silence"):
                made = [stored_item(task, system, number, skill, folder) for number in range(items)]
                failures = [{"id": line["id"], "reason": line["failure"]} for line in made if line["failure"]]
                measures = stored_measures(made)
                measures["speech_wer/facts"] = stored_measures(made[::2])["speech_wer"]
                systems[system] = {"items": items, "failures": failures, "seconds_of_speech": 1.0, "measures": measures}
                lines += made
            data = {"fingerprint": {"manifest.jsonl": "d" * 64}, "items": items, "ids_sha256": "e" * 64}
            curve = {"name": "prompt length", "unit": "s", "value": seconds}
            tasks[task] = {"fingerprint": "f" * 64, "data": data, "curve": curve, "systems": systems}
        results = {
            "format": "spectron-evaluation/1",
            "suite": "continuation-mini",
            "system": {
                "reference": f"runs/{name}",
                "class": "spectron.model.SpectronModel",
                "weights_sha256": "a" * 64,
            },
            "seed": 17,
            "code": {"version": "0.1.0", "commit": "c" * 40, "changed": True, "packages": {"torch": NASTY}},
            "normalizer_version": "1",
            "judges": {"transcriber": {"title": "wav2vec2", "weights_sha256": "b" * 64}, "text_scorer": None},
            "settings": {"decoding": {"temperature": 0.0}, "note": NASTY},
            "tasks": tasks,
            "times": {"started": "2026-01-01T00:00:00Z", "seconds": 123.4},
        }
        (folder / "results.json").write_text(json.dumps(results | changes))
        (folder / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    return make


@pytest.fixture
def open_in_browser(tmp_path):
    """Return a function that opens a page in a browser and returns the document, console messages and page state."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium to open the page")

    def look(page):
        # The page's security policy must allow one more script, the check.
        script = f'window.addEventListener("load", () => {{{CHECK}}});'
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        text = page.read_text().replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
        copy = tmp_path / "checked.html"
        copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"))
        command = [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom", copy.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        seen = re.search(r'data-seen="([^"]*)"', done.stdout)
        assert seen, f"the page did not finish loading: {done.stderr[-2000:]}"
        return (
            done.stdout,
            [line for line in done.stderr.splitlines() if "CONSOLE" in line],
            json.loads(html.unescape(seen[1])),
        )

    return look
