"""Location of a judge's pre-trained weights: a hub name, with a revision, or a folder."""

from __future__ import annotations

from pathlib import Path

from spectron.errors import ConfigError
from spectron.evaluation.judges.judge import Judge
from spectron.weights.hub import locate, revision_of


class HubJudge(Judge):
    """Base of judges whose weights are in a folder or on the hub.

    Args:
        source: Name on the hub or local folder.
        revision: Branch, tag or commit on the hub; None takes the main branch.

    Raises:
        ConfigError: if ``source`` is a path that does not exist. A hub name is fetched when the weights are needed.
    """

    checkpoints = False  # whether ``.ckpt`` files are fetched as well

    def __init__(self, source: str, revision: str | None = None) -> None:
        super().__init__()
        self.source, self.revision = source, revision
        if source.startswith((".", "/", "~")) or source.count("/") > 1 or Path(source).exists():
            self.folder()

    @property
    def name(self) -> str:
        """Return the source, with the commit of a hub model if it is known."""
        revision = revision_of(self.source, self.revision) or self.revision
        return f"{self.source}@{revision}" if revision else self.source

    def folder(self) -> Path:
        """Return the folder of the weights; a hub model is fetched if necessary.

        Raises:
            ConfigError: if ``source`` or ``revision`` does not exist.
        """
        return locate(self.source, self.revision, checkpoints=self.checkpoints)

    def missing(self) -> str | None:
        """Return why the weights are missing; None if they are available."""
        try:
            self.folder()
        except ConfigError as error:
            return str(error)
        return None

    def prepare(self) -> None:
        """Load the weights unless that is done.

        Raises:
            ConfigError: with the key ``source`` or ``revision`` if they are not here; or if they cannot be read.
        """
        if not self.loaded:
            self.folder()
        super().prepare()
