"""Comparison of finished evaluations: the same items, each against the first."""

from evaluation.comparison.comparing import EvaluationComparison, compare_evaluations
from evaluation.comparison.tables import render
from evaluation.comparison.writing import write_comparison

__all__ = ["EvaluationComparison", "compare_evaluations", "render", "write_comparison"]
