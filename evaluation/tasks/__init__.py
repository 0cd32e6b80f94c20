"""Tasks of an evaluation suite."""

from spectron.evaluation.tasks.likelihood import LikelihoodPairs
from spectron.evaluation.tasks.speaking import Continuation, SpokenQuestions
from spectron.evaluation.tasks.task import MODEL, Bench, Curve, Task

__all__ = ["MODEL", "Bench", "Continuation", "Curve", "LikelihoodPairs", "SpokenQuestions", "Task"]
