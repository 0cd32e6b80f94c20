"""Studies: one experiment changed row by row, each row trained with several seeds, all put to one suite, one table."""

from spectron.evaluation.study.scheduling import StudyOutcome, run_study
from spectron.evaluation.study.table import render, verdict_lines

__all__ = ["StudyOutcome", "render", "run_study", "verdict_lines"]
