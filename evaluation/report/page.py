"""HTML pages that need nothing but themselves: style, script, sound and pictures lie inside, and no text can become code."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spectron.errors import DataError
from spectron.evaluation.report.listening import Listening
from spectron.evaluation.report.metric_tables import MeasureTable
from spectron.evaluation.report.plots import Histogram, IntervalPlot

TEMPLATES = Path(__file__).parent / "templates"


@dataclass
class TaskPage:
    """A task as a page shows it.

    Args:
        name: The task.
        about: What was measured, in words.
        table: The figures.
        plots: A pair a metric: the systems' intervals, and the scores of single items, where there is something to see.
        listening: Items to listen to, where there is sound.
        fingerprint: Hash of data, judges and settings.
        failures: System, id and reason of what failed.
    """

    name: str
    about: str
    table: MeasureTable
    plots: list[tuple[IntervalPlot | None, Histogram | None]]
    listening: Listening | None
    fingerprint: str = ""
    failures: list[tuple[str, str, str]] = field(default_factory=list)


def write_page(path: Path, template: str, **content: Any) -> Path:
    """Fill a template and write the page.

    The page's own policy forbids every request, and every script but the one whose hash it names: were a text ever to slip through
    the escaping, a browser would still not run it.

    Args:
        path: File to write.
        template: File of the templates folder.
        content: What the template shows; all texts are escaped.

    Raises:
        DataError: if the file cannot be written.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Nothing but the two files below is trusted as it stands, and a name that a template misspells is an error.
    loader = FileSystemLoader(TEMPLATES)
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.filters |= {"pretty": pretty, "breakable": breakable}
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    text = pages.get_template(template).render(style=style, script=script, policy=policy, **content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="replace")  # a model may write half a surrogate pair
    except OSError as error:
        raise DataError(f"cannot write {path} ({error}): choose a folder that you may write to") from error
    return path


def breakable(name: str) -> Any:
    """A metric's name as markup that a narrow column breaks between its words, not within them."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(map(escape, name.split("_")))


def pretty(value: Any) -> str:
    """A value as JSON that people read."""
    return json.dumps(value, indent=2, ensure_ascii=False)
