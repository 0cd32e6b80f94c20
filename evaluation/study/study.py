"""A study: a checked YAML of rows, seeds, columns and claims."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from spectron.config.classes import Parameter
from spectron.config.composition import compose
from spectron.config.document import CheckedDocument
from spectron.config.nested import leaves
from spectron.errors import ConfigError, did_you_mean
from spectron.evaluation.results.summary import sha256_of
from spectron.evaluation.suites.suite import Suite
from spectron.experiment.experiment import Experiment
from spectron.experiment.resuming import without_observers
from spectron.files import is_file, write_text
from spectron.ranges import Finite, Seed, checks_ranges
from spectron.stored_json import fields, read_stored, text
from spectron.tracking.store import TrackingSettings, file_name


def training_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an experiment's configuration, as read or stored, that can change the weights."""
    trained = without_observers(config)
    return {key: value for key, value in trained.items() if key not in ("tracking", "shared", "resolved")}


@checks_ranges
@dataclass
class Row:
    """Row of a study's table.

    Args:
        title: Name in the table.
        train: Changes to the experiment, in the form of a delta file; ``extends`` in it names another experiment than
            the study's, relative to the study.
        evaluate: Changes to the suite.
        trained_as: Another row, whose trained models this row evaluates instead of training.
        published: A paper's value, which is shown next to ours and never combined with it.
    """

    title: str
    train: dict[str, Any] = field(default_factory=dict)
    evaluate: dict[str, Any] = field(default_factory=dict)
    trained_as: str | None = None
    published: Finite | None = None


@dataclass
class Claim:
    """Expected difference between two rows.

    Args:
        says: The claim as a sentence.
        row: The row of the claim.
        measure: The column, ``<task>/<measure>``.
        expected: Whether ``row`` should be better or worse than ``than``.
        than: The row to compare with; by default the first row.
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
    "seeds": Parameter(list[Seed]),
    "columns": Parameter(list[str]),
    "rows": Parameter(dict[str, Row]),
    "claims": Parameter(list[Claim], []),
    "tracking": Parameter(TrackingSettings, {}),
}
NOTED = "job.json"  # result of a job, in its folder
NOTE = fields({"fingerprint": text, "run": text, "evaluation": text})
DELTAS = ("train", "evaluate")  # keys of a row that are checked as parts of an experiment and of a suite


@dataclass
class Job:
    """One row with one seed: its folder, its suite with overrides, whether it trains a model, and the study's trust."""

    row: str
    seed: int
    folder: Path
    suite: Path
    overrides: list[str]
    trains: bool
    trust: bool = False

    @property
    def title(self) -> str:
        """Return the name of the job in messages."""
        return f"{self.row}, seed {self.seed}"

    @property
    def experiment(self) -> Path:
        """Return the path of the experiment that trains the job's model."""
        return self.folder / "train.yaml"

    def note(self, known: dict[str, str]) -> None:
        """Store the ``fingerprint`` of the settings, the ``run`` of the training and the ``evaluation``'s folder."""
        write_text(self.folder / NOTED, json.dumps(known, indent=2) + "\n")

    def noted(self) -> dict[str, str]:
        """Return the stored result; empty if the job is not done.

        Raises:
            DataError: if it is damaged.
        """
        file = self.folder / NOTED
        return read_stored(file, NOTE, "Remove it, and the row is evaluated again") if file.exists() else {}

    def fingerprint(self) -> str:
        """Return the SHA-256 of all settings that can change the result.

        Raises:
            ConfigError: if the experiment or the suite is invalid.
        """
        suite = Suite.read(self.suite, self.overrides)
        return sha256_of([training_of(Experiment.read(self.experiment, trust=self.trust).config), suite.settings])


class Study:
    """Study with checked keys and composed rows.

    Args:
        path: The study's YAML.
        overrides: Changes of the study, ``key=value``.
        trust: Whether Python code of an export that the experiment extends may run.

    Raises:
        ConfigError: for an unknown key, row or column, a missing file, or a missing or repeated seed.
    """

    def __init__(self, path: Path, overrides: Sequence[str] = (), trust: bool = False) -> None:
        composition = compose(path, overrides)
        self.trust = trust
        deltas = _taken_out(composition.values.get("rows"))
        self.document = CheckedDocument(composition, SECTIONS, "a study")
        config = {key: self.document.build(key) for key in SECTIONS}
        self.name: str = config["name"]
        self.seeds: list[int] = config["seeds"]
        self.columns: list[str] = config["columns"]
        self.rows: dict[str, Row] = {name: replace(row, **deltas.get(name, {})) for name, row in config["rows"].items()}
        self.claims: list[Claim] = config["claims"]
        self.tracking: TrackingSettings = config["tracking"]
        self.train, self.suite_file = (_file(path.parent, key, config[key]) for key in ("train", "suite"))
        self.extended = {
            name: _file(path.parent, f"rows.{name}.train.extends", row.train["extends"])
            if "extends" in row.train
            else self.train
            for name, row in self.rows.items()
        }
        self._check()

    @property
    def folder(self) -> Path:
        """Return the folder of the jobs and the table."""
        return self.tracking.runs_folder / "studies" / file_name(self.name)

    @property
    def first(self) -> str:
        """Return the row with which the others are compared."""
        return next(iter(self.rows))

    def with_trained(self, rows: Sequence[str]) -> set[str]:
        """Return the given rows, or all if none is given, together with the rows that train their models.

        Raises:
            ConfigError: for an unknown row.
        """
        for row in rows:
            if row not in self.rows:
                near = did_you_mean(row, self.rows)
                raise ConfigError(f"there is no row `{row}`. {near}", key="--row", allowed=self.rows)
        named = set(rows or self.rows)
        return named | {trained for row in named if (trained := self.rows[row].trained_as)}

    def _check(self) -> None:
        if not self.rows or not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise self.document.error(("seeds",), "a study needs at least one row, and at least one seed, each once")
        for name, row in self.rows.items():
            self.document.require_name(name, ("rows", name))
            if file_name(name) != name:
                message = f"a row's name can have letters, digits, `_`, `-` and `.`, such as `{file_name(name)}`"
                raise self.document.error(("rows", name), message)
            if row.trained_as is not None and (row.train or self.rows.get(row.trained_as, row).trained_as is not None):
                trained = did_you_mean(
                    row.trained_as, (other for other, its in self.rows.items() if not its.trained_as)
                )
                raise self.document.error(
                    ("rows", name, "trained_as"),
                    f"{row.trained_as} must be a row that trains, and this row must not train (remove `train`). "
                    f"{trained}",
                )
        for claim in self.claims:
            for key in (claim.row, *([claim.than] if claim.than else [])):
                if key not in self.rows:
                    message = f"there is no row `{key}`. {did_you_mean(key, self.rows)}"
                    raise self.document.error(("claims",), message, self.rows)
            if claim.measure not in self.columns:
                message = f"there is no column `{claim.measure}`. {did_you_mean(claim.measure, self.columns)}"
                raise self.document.error(("claims",), message, self.columns)

    def require_columns(self) -> None:
        """Check that the suite measures every column, before hours of training.

        Raises:
            ConfigError: for a column without values.
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
                raise self.document.error(("columns",), f"the suite measures no `{column}`. {near}")

    def jobs(self) -> list[Job]:
        """Write the experiments of all jobs into their folders, and return the jobs.

        They are in the order of the seeds, so that an interrupted study has a full table of fewer seeds.
        """
        return [self._job(name, row, seed) for seed in self.seeds for name, row in self.rows.items()]

    def _job(self, name: str, row: Row, seed: int) -> Job:
        """Write the experiment of one job, and return the job."""
        folder = self.folder / f"{name}-{seed}"
        trained = row.trained_as or name
        delta = {**self.rows[trained].train, "extends": str(self.extended[trained].absolute())}
        delta |= {"name": f"{self.name}-{trained}", "seed": seed}
        delta["tracking"] = {key: value for key, value in vars(self.tracking).items() if value is not None}
        job = Job(name, seed, folder, self.suite_file, _overrides(row), row.trained_as is None, self.trust)
        write_text(job.experiment, yaml.safe_dump(delta, sort_keys=False, allow_unicode=True))
        return job


def _taken_out(rows: Any) -> dict[str, dict[str, Any]]:
    """Remove the deltas of all rows in place, and return them by row: their class paths are not parts of the study."""
    named = rows.items() if isinstance(rows, dict) else ()
    return {
        name: {key: row.pop(key) for key in DELTAS if isinstance(row.get(key), dict)}
        for name, row in named
        if isinstance(row, dict)
    }


def _file(folder: Path, key: str, name: str) -> Path:
    path = folder / name
    if not is_file(path):
        message = f"there is no file {path}. Correct the path, which is relative to the folder of the study"
        raise ConfigError(message, key=key, file=path)
    return path


def _overrides(row: Row) -> list[str]:
    """Return the changes of a row to the suite as ``key=value`` overrides."""
    return [f"{'.'.join(path)}={json.dumps(value)}" for path, value in leaves(row.evaluate, _is_dict)]


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)
