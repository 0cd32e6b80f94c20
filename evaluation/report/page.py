"""Self-contained HTML pages: style, script, sound and pictures are inside, and no stored text can become code."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spectron.evaluation.report.listening import Listening
from spectron.evaluation.report.metric_tables import MeasureTable
from spectron.evaluation.report.plots import Histogram, IntervalPlot
from spectron.files import write_text

TEMPLATES = Path(__file__).parent / "templates"


@dataclass
class TaskPage:
    """Content of a page about one task.

    Args:
        name: Name of the task.
        about: Number of items and other facts, in words.
        table: The values.
        plots: For each metric the intervals of all systems and the histogram of single items; None leaves a plot out.
        listening: Items with audio, if there are any.
        fingerprint: Hash of data, judges and settings.
        failures: System, id and reason of each failure.
    """

    name: str
    about: str
    table: MeasureTable
    plots: list[tuple[IntervalPlot | None, Histogram | None]]
    listening: Listening | None
    fingerprint: str = ""
    failures: list[tuple[str, str, str]] = field(default_factory=list)


def write_page(path: Path, template: str, script: str | None = None, **content: Any) -> Path:
    """Fill a template and write the page.

    The page has a content security policy: it forbids every request, and every script except the one with the given
    hash. If a text escaped the escaping, a browser would still not run it.

    Args:
        path: File to write.
        template: Name of a file in the templates folder.
        script: Name of a script there that this page needs besides that of all pages.
        content: Values of the template; all texts are escaped.

    Returns:
        The path.

    Raises:
        WriteError: if the file cannot be written.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Only style and script are inserted without escaping. An unknown name in a template is an error.
    loader = FileSystemLoader(TEMPLATES)
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.filters |= {"pretty": pretty, "breakable": breakable}
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    code = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.js", script) if name)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    text = pages.get_template(template).render(style=style, script=code, policy=policy, **content)
    write_text(path, text)
    return path


def breakable(name: str) -> Any:
    """Return a metric's name as markup that can break after an underscore, so that no word is broken."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(map(escape, name.split("_")))


def pretty(value: Any) -> str:
    """Return a value as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)
