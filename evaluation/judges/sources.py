"""Where a judge's pre-trained weights are: a hub name, with a revision, or a folder."""

from __future__ import annotations

from pathlib import Path

from spectron.errors import ConfigError
from spectron.evaluation.judges.judge import Judge
from spectron.weights.hub import locate, revision_of


class HubJudge(Judge):
    """A judge whose weights lie in a folder or on the hub.

    Args:
        source: Name on the hub or local folder.
        revision: Branch, tag or commit on the hub; None takes the main branch.

    Raises:
        ConfigError: if ``source`` is a path that is not there. A name is looked up when the weights are needed.
    """

    checkpoints = False  # whether ``.ckpt`` files are fetched too

    def __init__(self, source: str, revision: str | None = None) -> None:
        super().__init__()
        self.source, self.revision = source, revision
        if source.startswith((".", "/", "~")) or source.count("/") > 1 or Path(source).exists():
            self.folder()

    @property
    def name(self) -> str:
        """The source, with the commit of a hub model where it is known."""
        revision = revision_of(self.source, self.revision) or self.revision
        return f"{self.source}@{revision}" if revision else self.source

    def folder(self) -> Path:
        """The folder that holds the weights, fetched where it is not there yet.

        Raises:
            ConfigError: beginning with ``source`` or ``revision``.
        """
        return locate(self.source, self.revision, checkpoints=self.checkpoints)

    def missing(self) -> str | None:
        """Why the weights are not here; None where they are."""
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
