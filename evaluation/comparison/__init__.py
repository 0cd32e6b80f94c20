"""Comparison of finished evaluations with the first one, on the same items."""

from spectron.evaluation.comparison.comparing import EvaluationComparison, compare_evaluations
from spectron.evaluation.comparison.comparison_files import write_comparison
from spectron.evaluation.comparison.comparison_table import render

__all__ = ["EvaluationComparison", "compare_evaluations", "render", "write_comparison"]
