"""Speech heads: LM states to speech targets, and speech targets to LM inputs."""

from spectron.heads.latent_sampling import LatentSamplingHead, LatentSettings
from spectron.heads.mel_regression import MelRegressionHead, PreNetSettings, StopSettings

__all__ = ["LatentSamplingHead", "LatentSettings", "MelRegressionHead", "PreNetSettings", "StopSettings"]
