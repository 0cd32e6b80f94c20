"""Studies: one experiment changed row by row, each row trained with several seeds, all put to one suite, one table."""

from evaluation.study.running import StudyOutcome, run_study

__all__ = ["StudyOutcome", "run_study"]
