"""Reports: a finished evaluation as one page that can be read, listened to and handed on."""

from evaluation.report.stored import MODEL, RESULTS, StoredEvaluation, StoredItem, StoredMeasure, read_evaluation
from evaluation.report.writing import write_report

__all__ = ["MODEL", "RESULTS", "StoredEvaluation", "StoredItem", "StoredMeasure", "read_evaluation", "write_report"]
