"""Tasks of an evaluation suite."""

from evaluation.tasks.likelihood import LikelihoodPairs
from evaluation.tasks.speaking import Continuation, SpokenQuestions
from evaluation.tasks.task import MODEL, Bench, Curve, Task

__all__ = ["MODEL", "Bench", "Continuation", "Curve", "LikelihoodPairs", "SpokenQuestions", "Task"]
