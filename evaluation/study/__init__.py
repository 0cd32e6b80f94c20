"""Studies: variants of one experiment, each trained with several seeds, evaluated by one suite, and one table."""

from spectron.evaluation.study.scheduling import StudyOutcome, run_study
from spectron.evaluation.study.table import render, verdict_lines

__all__ = ["StudyOutcome", "render", "run_study", "verdict_lines"]
