"""A study: a checked YAML of rows, seeds, columns and claims."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from spectron.config.building import build, complete, parser_of
from spectron.config.checking import Checker, Parameter
from spectron.config.composition import compose
from spectron.config.error_location import Section
from spectron.errors import ConfigError, did_you_mean
from spectron.evaluation.results.summary import sha256_of
from spectron.evaluation.suites.suite import Suite
from spectron.experiment.experiment import Experiment
from spectron.experiment.resuming import without_observers
from spectron.files import written_whole
from spectron.tracking.store import TrackingSettings, file_name


def training_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the sections of an experiment's, or a stored run's, configuration that decide what is trained."""
    trained = without_observers(config)
    return {key: value for key, value in trained.items() if key not in ("tracking", "shared", "resolved")}


@dataclass
class Row:
    """A row of the table.

    Args:
        title: What it is, for people.
        train: What it changes in the experiment, as a delta file would say it.
        evaluate: What it changes in the suite.
        trained_as: Another row whose trained models it evaluates, in place of training its own.
        published: A figure of its own that a paper gives, shown beside ours and never mixed with it.
    """

    title: str
    train: dict[str, Any] = field(default_factory=dict)
    evaluate: dict[str, Any] = field(default_factory=dict)
    trained_as: str | None = None
    published: float | None = None


@dataclass
class Claim:
    """Something that the table should bear out.

    Args:
        says: The claim as a sentence.
        row: The row that it is about.
        measure: The column, ``<task>/<measure>``.
        expected: What the row should be against ``than``.
        than: The row that it is held against; by default the first.
    """

    says: str
    row: str
    measure: str
    expected: Literal["better", "worse"] = "worse"
    than: str | None = None


SECTIONS = {
    "name": Parameter(str),
    "train": Parameter(str),
    "suite": Parameter(str),
    "seeds": Parameter(list[int]),
    "columns": Parameter(list[str]),
    "rows": Parameter(dict[str, Row]),
    "claims": Parameter(list[Claim], []),
    "tracking": Parameter(TrackingSettings, {}),
}
PLAIN = ("name", "train", "suite")
NOTED = "job.json"  # what came of a job, in its folder
DELTAS = ("train", "evaluate")  # of a row: checked as what they change, an experiment and a suite


@dataclass
class Job:
    """A row with one of the seeds, and where it keeps what it did."""

    row: str
    seed: int
    folder: Path
    suite: Path
    overrides: list[str]
    trains: bool

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return f"{self.row}, seed {self.seed}"

    @property
    def experiment(self) -> Path:
        """The YAML that it trains, or that the models which it evaluates were trained with."""
        return self.folder / "train.yaml"

    def note(self, known: dict[str, str]) -> None:
        """Keep what came of it: the ``fingerprint`` of its settings, ``run`` and ``evaluation``."""
        with written_whole(self.folder / NOTED) as part:
            part.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")

    def noted(self) -> dict[str, str]:
        """What was noted, nothing for a job that is not done."""
        file = self.folder / NOTED
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def fingerprint(self) -> str:
        """SHA-256 of all settings that may change its result.

        Raises:
            ConfigError: if its experiment or its suite is wrong.
        """
        suite = Suite.read(self.suite, self.overrides)
        return sha256_of([training_of(Experiment.read(self.experiment).config), suite.settings])


class Study:
    """A study whose every key has been checked, and every row composed.

    Args:
        path: Its YAML.
        overrides: Changes, ``key=value``.

    Raises:
        ConfigError: for an unknown key or row, a row whose experiment or suite is wrong, or fewer than one seed.
    """

    def __init__(self, path: Path, overrides: Sequence[str] = ()) -> None:
        composition = compose(path, overrides)
        self.where = composition.where
        values = {key: value for key, value in composition.values.items() if value is not None}
        deltas = _taken_out(values.get("rows"))
        Checker(self.where).arguments(values, SECTIONS, (), "a study", set(values))
        config: dict[str, Any] = {key: values.get(key, section.default) for key, section in SECTIONS.items()}
        for key, section in SECTIONS.items():
            if key not in PLAIN:
                parser = parser_of(key, section.hint)
                config[key] = build(Section(key, complete(key, config[key], parser), None), parser, self.where)
        self.name: str = config["name"]
        self.seeds: list[int] = config["seeds"]
        self.columns: list[str] = config["columns"]
        self.rows: dict[str, Row] = {name: replace(row, **deltas.get(name, {})) for name, row in config["rows"].items()}
        self.claims: list[Claim] = config["claims"]
        self.tracking: TrackingSettings = config["tracking"]
        self.train, self.suite_file = (_file(path.parent, key, config[key]) for key in ("train", "suite"))
        self._check()

    @property
    def folder(self) -> Path:
        """Where it keeps its jobs and its table."""
        return self.tracking.runs_folder / "studies" / file_name(self.name)

    @property
    def first(self) -> str:
        """The row that the others are held against."""
        return next(iter(self.rows))

    def with_trained(self, rows: Sequence[str]) -> set[str]:
        """These rows, all where none is named, and the rows whose models they evaluate.

        Raises:
            ConfigError: for a row that there is not.
        """
        for row in rows:
            if row not in self.rows:
                raise ConfigError(f"--row {row}: there is no such row. {did_you_mean(row, self.rows)}")
        named = set(rows or self.rows)
        return named | {trained for row in named if (trained := self.rows[row].trained_as)}

    def _check(self) -> None:
        if not self.rows or not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(
                f"{self.where(('seeds',))}: a study needs at least one row, and at least one seed, each once"
            )
        for name, row in self.rows.items():
            if row.trained_as is not None and (row.train or self.rows.get(row.trained_as, row).trained_as is not None):
                trained = did_you_mean(
                    row.trained_as, (other for other, its in self.rows.items() if not its.trained_as)
                )
                raise ConfigError(
                    f"{self.where(('rows', name))}: rows.{name}.trained_as: {row.trained_as} must be a row that trains, and this one must "
                    f"not train itself (leave out `train`). {trained}"
                )
        for claim in self.claims:
            for key in (claim.row, *([claim.than] if claim.than else [])):
                if key not in self.rows:
                    raise ConfigError(
                        f"{self.where(('claims',))}: claims: there is no row `{key}`. {did_you_mean(key, self.rows)}"
                    )
            if claim.measure not in self.columns:
                raise ConfigError(
                    f"{self.where(('claims',))}: claims: there is no column `{claim.measure}`. {did_you_mean(claim.measure, self.columns)}"
                )

    def require_columns(self) -> None:
        """Refuse a column that nothing will stand in, before hours of training.

        Raises:
            ConfigError: naming the measure or task that is near.
        """
        known: dict[str, set[str]] = {}
        for overrides in dict.fromkeys(tuple(_overrides(row)) for row in self.rows.values()):
            for name, task in Suite.read(self.suite_file, overrides).tasks().items():
                known.setdefault(name, set()).update(*(metric.measure_names() for metric in task.metrics))
        for column in self.columns:
            task_name, _, measure = column.partition("/")
            if measure.partition("/")[0] not in known.get(task_name, ()):
                near = did_you_mean(
                    column, (f"{name}/{measured}" for name, all_of_it in known.items() for measured in all_of_it)
                )
                raise ConfigError(f"{self.where(('columns',))}: columns: the suite measures no `{column}`. {near}")

    def jobs(self) -> list[Job]:
        """All rows with all seeds, seed by seed, so that a study cut short has whole tables of fewer seeds; writes what they train."""
        return [self._cell(name, row, seed) for seed in self.seeds for name, row in self.rows.items()]

    def _cell(self, name: str, row: Row, seed: int) -> Job:
        folder = self.folder / f"{name}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        trained = row.trained_as or name
        delta = {"extends": str(self.train.absolute()), "name": f"{self.name}-{trained}", "seed": seed} | self.rows[
            trained
        ].train
        delta["tracking"] = {key: value for key, value in vars(self.tracking).items() if value is not None}
        job = Job(name, seed, folder, self.suite_file, _overrides(row), row.trained_as is None)
        job.experiment.write_text(yaml.safe_dump(delta, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return job


def _taken_out(rows: Any) -> dict[str, dict[str, Any]]:
    """Remove from every row what it changes elsewhere, in place: the class paths in it are not the study's."""
    named = rows.items() if isinstance(rows, dict) else ()
    return {
        name: {key: row.pop(key) for key in DELTAS if isinstance(row.get(key), dict)}
        for name, row in named
        if isinstance(row, dict)
    }


def _file(folder: Path, key: str, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise ConfigError(
            f"{key}: there is no file {path}: correct the path, which is seen from the study's own folder"
        )
    return path


def _overrides(row: Row) -> list[str]:
    """What a row changes in the suite."""
    return [f"{key}={value}" for key, value in _dotted(row.evaluate)]


def _dotted(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The leaves of nested keys, as overrides say them."""
    leaves = []
    for key, value in tree.items():
        leaves += _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, json.dumps(value))]
    return leaves
