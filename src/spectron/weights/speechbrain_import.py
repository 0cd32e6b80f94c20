"""The import of speechbrain, an optional package, and of torchaudio, which it needs."""

from __future__ import annotations

import sys

from spectron.errors import require_extra


def import_speechbrain(owner: str) -> None:
    """Import speechbrain. Afterwards its modules can be imported as usual.

    torchaudio on the package index is built for CUDA. Its compiled extension does not load next to a CPU build of
    torch, and torchaudio then cannot be imported. speechbrain calls none of the extension's functions, so the import is
    repeated without the extension, as if torchaudio had been built without it.

    Args:
        owner: The class that needs speechbrain, for the message.

    Raises:
        MissingExtraError: if speechbrain or torchaudio is not installed.
    """
    require_extra("speechbrain", owner, "speechbrain", "torchaudio")
    try:
        import torchaudio
    except OSError:
        # The first attempt leaves this module behind; the second one uses it again.
        sys.modules["torchaudio._extension.utils"]._load_lib = lambda name: False  # type: ignore[attr-defined]
        import torchaudio  # noqa: F401
    import speechbrain  # noqa: F401
