"""Speech heads: LM states to speech targets, and back to LM inputs."""

from spectron.heads.latent_sampling import LatentSamplingHead, LatentSettings
from spectron.heads.mel_regression import MelRegressionHead, PreNetSettings, StopSettings

__all__ = ["LatentSamplingHead", "LatentSettings", "MelRegressionHead", "PreNetSettings", "StopSettings"]
