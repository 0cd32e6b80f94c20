"""Reports: a finished evaluation as one page that can be read, listened to and handed on."""

from spectron.evaluation.report.report_files import write_report
from spectron.evaluation.report.stored import (
    MODEL,
    RESULTS,
    StoredEvaluation,
    StoredItem,
    StoredMeasure,
    read_evaluation,
)

__all__ = ["MODEL", "RESULTS", "StoredEvaluation", "StoredItem", "StoredMeasure", "read_evaluation", "write_report"]
