"""The import of speechbrain, an optional package, and of torchaudio, which it needs."""

from __future__ import annotations

from spectron.errors import MissingExtraError, require_extra


def import_speechbrain(owner: str) -> None:
    """Import speechbrain. Afterwards its modules can be imported as usual.

    Args:
        owner: The class that needs speechbrain, for the message.

    Raises:
        MissingExtraError: if speechbrain or torchaudio is not installed, or if torchaudio is built for another torch.
    """
    require_extra("speechbrain", owner, "speechbrain", "torchaudio")
    try:
        import torchaudio  # noqa: F401
    except OSError as error:
        raise MissingExtraError(
            f"{owner} needs a torchaudio that is built for the installed torch ({error}). Install both from the same "
            "index, for example https://download.pytorch.org/whl/cpu",
            allowed=["speechbrain"],
        ) from error
    import speechbrain  # noqa: F401
