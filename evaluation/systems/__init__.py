"""Systems that answer prompts: the system under test, chains of stages, baselines and toplines."""

from spectron.evaluation.systems.staged import Stage, StagedSpeech

__all__ = ["Stage", "StagedSpeech"]
