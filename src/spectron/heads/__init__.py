"""Speech heads: LM states to speech targets, and speech targets to LM inputs."""

from spectron.decoding import Sampling
from spectron.heads.code import CodeHead
from spectron.heads.codec import DelayCodeHead, DepthCodeHead, FlatCodeHead
from spectron.heads.latent_sampling import LatentSamplingHead, LatentSettings
from spectron.heads.mel_regression import MelRegressionHead, PreNetSettings, StopSettings
from spectron.heads.unit import UnitHead

__all__ = [
    "CodeHead",
    "DelayCodeHead",
    "DepthCodeHead",
    "FlatCodeHead",
    "LatentSamplingHead",
    "LatentSettings",
    "MelRegressionHead",
    "PreNetSettings",
    "Sampling",
    "StopSettings",
    "UnitHead",
]
