"""Judges of an evaluation by name: which evidence they give, and the order in which they work."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from graphlib import CycleError, TopologicalSorter

from spectron.errors import ConfigError
from spectron.evaluation.judges.judge import Judge


class Judges(dict[str, Judge]):
    """Judges by name, in the order of the YAML.

    Evidence of a kind is read from the first judge that gives it, unless the reader names another judge.

    Args:
        judges: The judges by name.

    Raises:
        ConfigError: if a judge needs evidence that no judge gives, reads a judge that does not give it, or if judges
            need each other's evidence in a circle.
    """

    def __init__(self, judges: Mapping[str, Judge] | None = None) -> None:
        super().__init__(judges or {})
        for name, judge in self.items():
            try:
                self.require(type(judge).__name__, judge.needs, judge.judge)
            except ConfigError as error:
                raise error.within(f"judges.{name}.init_args" if error.key else f"judges.{name}") from error
        self.working_order()

    def giving(self, kind: str) -> list[str]:
        """Return the names of the judges that give evidence of a kind, in order."""
        return [name for name, judge in self.items() if kind in judge.gives]

    def source(self, kind: str, judge: str | None = None) -> str | None:
        """Return the judge from which a kind of evidence is read: ``judge`` if it gives it, else the first judge."""
        names = self.giving(kind)
        return judge if judge in names else next(iter(names), None)

    def require(self, reader: str, needs: AbstractSet[str], judge: str | None) -> None:
        """Refuse a reader of evidence that no judge gives, or one that reads a judge without such evidence.

        Args:
            reader: Class of the metric or judge that reads the evidence.
            needs: Kinds of evidence that it needs.
            judge: Name of the judge that it reads, if it names one.

        Raises:
            ConfigError: naming the evidence, or the key ``judge``.
        """
        if missing := sorted(kind for kind in needs if not self.giving(kind)):
            given = sorted({kind for other in self.values() for kind in other.gives})
            raise ConfigError(
                f"{reader} needs {' and '.join(missing)}, and the judges give {', '.join(given) or 'nothing'}: "
                f"add a judge that gives {' and '.join(missing)} to `judges`, or remove {reader}",
                allowed=given,
            )
        fitting = [name for name, other in self.items() if needs & other.gives]
        if judge is not None and judge not in fitting:
            raise ConfigError(
                f"{reader} reads the judge `{judge}`, which gives none of the evidence that it needs "
                f"({', '.join(sorted(needs)) or 'none'}). Judges that do: {', '.join(fitting) or 'none'}",
                key="judge",
                allowed=fitting,
            )

    def working_order(self) -> list[str]:
        """Return the names of the judges, each after the judges whose evidence it reads.

        Raises:
            ConfigError: if there is no such order.
        """
        graph = {name: {self.source(kind, judge.judge) for kind in judge.needs} for name, judge in self.items()}
        try:
            return [name for name in TopologicalSorter(graph).static_order() if name is not None]
        except CycleError as error:
            circle = error.args[1]
            raise ConfigError(
                f"these judges wait for each other's evidence: {' -> '.join(circle)}. "
                "Set the key `judge` of one of them to a judge outside this circle",
                key=f"judges.{circle[0]}",
            ) from error

    def absent(self) -> dict[str, str]:
        """Return why the weights of optional judges are missing, by the judge's name."""
        return {name: why for name, judge in self.items() if judge.optional and (why := judge.missing()) is not None}
