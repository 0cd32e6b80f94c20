"""Reports: a finished evaluation as one self-contained HTML page with tables, plots and audio."""

from spectron.evaluation.report.report_files import write_report
from spectron.evaluation.report.stored import (
    MODEL,
    RESULTS,
    StoredEvaluation,
    StoredItem,
    StoredMeasure,
    read_evaluation,
    stored_item,
)

__all__ = [
    "MODEL",
    "RESULTS",
    "StoredEvaluation",
    "StoredItem",
    "StoredMeasure",
    "read_evaluation",
    "stored_item",
    "write_report",
]
