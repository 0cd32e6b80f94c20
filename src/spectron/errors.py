"""What can go wrong because of the user's input: each error says what, where, and the cure.

The command line prints these without a traceback (``--debug`` shows it); every other exception is a defect of ours.
"""


class SpectronError(Exception):
    """Base of all errors that a user can mend."""


class ConfigError(SpectronError):
    """A YAML key, type or class is wrong; the message names the key path and the file."""


class DataError(SpectronError):
    """A manifest or an audio file is missing or broken; the message names the file (and line)."""


class CheckpointError(SpectronError):
    """A checkpoint or weights file is missing, unsafe, or does not cover the model exactly."""


class TrackingError(SpectronError):
    """The MLflow store cannot be reached, or holds no such run."""


class TrainingError(SpectronError):
    """Training cannot go on: a loss that is not finite, or too many broken audio files."""


class Interrupted(Exception):
    """The user stopped a run; the message says how to go on. Nothing is wrong, so it is no ``SpectronError``."""
