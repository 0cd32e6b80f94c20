"""Tasks of an evaluation suite."""

from evaluation.tasks.contracts import MODEL, Bench, Curve, Task
from evaluation.tasks.pairs import LikelihoodPairs
from evaluation.tasks.speaking import Continuation, SpokenQuestions

__all__ = ["MODEL", "Bench", "Continuation", "Curve", "LikelihoodPairs", "SpokenQuestions", "Task"]
