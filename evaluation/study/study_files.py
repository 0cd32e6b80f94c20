"""Files of a study's table, and its MLflow run."""

from __future__ import annotations

from pathlib import Path

from spectron.evaluation.study.forest_plot import draw_table
from spectron.evaluation.study.study import Study
from spectron.evaluation.study.table import StudyTable, as_csv, as_markdown
from spectron.files import write_text
from spectron.tracking.logger import RunLogger
from spectron.tracking.measure import MetricValue


def write_table(table: StudyTable, study: Study) -> list[Path]:
    """Write ``table.md``, ``table.csv`` and ``table.png`` into the study's folder, and return their paths."""
    files = []
    for name, text in {"table.md": as_markdown(table), "table.csv": as_csv(table)}.items():
        files.append(study.folder / name)
        write_text(files[-1], text)
    return [*files, draw_table(table, study.folder / "table.png")]


def log_table(table: StudyTable, study: Study, files: list[Path]) -> None:
    """Log the files and all values in an MLflow run with the study's name."""
    logger = RunLogger(study.name, study.tracking)
    measures = []
    for row, entries in table.entries.items():
        for column, entry in entries.items():
            value, (unit, higher_is_better) = entry.value, table.columns[column]
            name = f"{row}/{column}"
            measures.append(MetricValue(name, value.value, value.count, unit, higher_is_better, value.low, value.high))
    logger.log_measures(measures, step=0)
    for path in files:
        logger.log_artifact(path)
    logger.finalize("success")
