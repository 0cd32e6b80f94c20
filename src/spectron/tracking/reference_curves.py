"""Reference curves of a recipe: bands of its losses and metrics, so that a later run can tell a bug from slow progress.

A file holds a band around the values of some correct runs of the recipe: for training losses as means over stretches of
steps, for validation metrics at the steps of the validations. A run with another name or another number of steps is not
compared with the file.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from spectron.errors import ConfigError, TrackingError
from spectron.tracking.measure import number
from spectron.tracking.mlflow_names import escape
from spectron.tracking.store import RunRecord, TrackingSettings, find_run, open_store

STRETCH = 100  # smallest number of steps over which a training loss is averaged, as one batch is noisy
MARGIN = 0.15  # of a value, around all values of the runs: another machine or seed changes them by so much
NOISE = 0.02  # of the range of a curve: a value near zero differs between runs by many times its size
ALONE = 2  # factor on both margins around a single run, which shows no spread between runs
ENDS = (".low", ".high")  # suffixes of a metric's interval in MLflow
Bands = dict[str, dict[int, list[float]]]


class ReferenceCurve(Callback):
    """Callback that warns when a run leaves the bands of its recipe; removed by ``callbacks.reference_curve=null``.

    Args:
        file: File that ``spectron reference-curve`` wrote.
        also: Other names of runs of the same recipe, such as the name of a row of a study.

    Raises:
        ConfigError: if the file is missing or holds no reference curves.
    """

    changes_training = False  # a run may be resumed with another file or without this callback

    def __init__(self, file: str, also: Sequence[str] = ()) -> None:
        self.file = file
        try:
            content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
            self.experiment, self.max_steps, self.stretch = (
                str(content["experiment"]),
                int(content["max_steps"]),
                int(content["stretch"]),
            )
            self.bands: Bands = {name: bands_of(steps) for name, steps in content["bands"].items()}
        except (OSError, KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
            raise ConfigError(
                f"{file} is no file of reference curves ({error}). Write one with "
                f"`spectron reference-curve RUN -o {file}`, or remove the callback with callbacks.reference_curve=null",
                key="file",
                file=file,
            ) from error
        self.names = {self.experiment, *also}
        self.sums: dict[str, list[float]] = {}
        self.seen = self.begun = 0  # the last step that was seen, and the step after which the run began
        self.looked: set[str] = set()
        self.outside: set[str] = set()

    def applies(self, trainer: Trainer) -> bool:
        """Return whether this run has the name and the number of steps of the recipe."""
        return trainer.logger is not None and trainer.logger.name in self.names and trainer.max_steps == self.max_steps

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget earlier runs, and log it if the file does not apply to this one."""
        self.sums, self.looked, self.outside = {}, set(), set()
        self.seen = self.begun = trainer.global_step
        if not self.applies(trainer):
            name = trainer.logger.name if trainer.logger else "without a name"
            rank_zero_info(
                f"reference curves: not compared, as {self.file} is of {self.experiment} with {self.max_steps} steps, "
                f"and this run is {name} with {trainer.max_steps} steps"
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Collect the losses of the logged steps, from which the file was made, and compare means of stretches."""
        if not self.applies(trainer) or trainer.global_step == self.seen:
            return
        self.seen = trainer.global_step
        if self.seen % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            for name in self.bands.keys() & trainer.callback_metrics.keys():
                if name.startswith("train/"):
                    self.sums.setdefault(name, []).append(float(trainer.callback_metrics[name]))
        if self.seen % self.stretch == 0:
            if self.seen - self.stretch >= self.begun:
                for name, values in self.sums.items():
                    self.look(name, self.seen, sum(values) / len(values))
            self.sums = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the metrics of a validation."""
        if trainer.sanity_checking or not self.applies(trainer):
            return
        seen = {name: float(value) for name, value in trainer.callback_metrics.items()}
        seen |= {name: measure.value for name, measure in getattr(trainer.logger, "measures", {}).items()}
        for name in self.bands.keys() & seen.keys():
            if not name.startswith("train/"):
                self.look(name, trainer.global_step, seen[name])

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log which curves are outside their bands at the end."""
        if self.applies(trainer) and self.looked:
            outside = ", ".join(sorted(self.outside))
            result = f"outside their bands: {outside}" if outside else "all are inside their bands"
            rank_zero_info(f"reference curves: {len(self.looked)} compared ({self.file}); at the end {result}")

    def look(self, name: str, step: int, value: float) -> None:
        """Warn when a curve leaves its band, and log it when it returns."""
        band = self.bands[name].get(step)
        if band is None:
            return
        self.looked.add(name)
        low, high = band
        inside = low <= value <= high
        shown, between = number(value, missing="nan"), f"{number(low)} to {number(high)}"
        if inside and name in self.outside:
            self.outside.remove(name)
            rank_zero_info(f"reference curves: {name} is back in its band, {shown} at step {step} ({between})")
        elif not inside and name not in self.outside:
            self.outside.add(name)
            rank_zero_warn(
                f"reference curves: {name} is {shown} at step {step}, where {self.file} expects {between}. If the "
                "recipe was not changed, something is wrong. callbacks.reference_curve=null turns this check off"
            )


def write_reference_curve(references: list[str], file: Path, tracking: TrackingSettings | None = None) -> Path:
    """Write the bands of finished runs of one experiment.

    Args:
        references: Ids or names of runs.
        file: YAML file to write.
        tracking: Where runs are kept.

    Raises:
        TrackingError: if the runs differ in experiment or number of steps, or have logged no curves.
    """
    found = [find_run(reference, tracking) for reference in references]
    runs = list({run.run_id: run for run in found}.values())  # a run named twice counts once
    kinds = {(run.experiment, run.params.get("trainer.max_steps")) for run in runs}
    if len(kinds) != 1:
        listed = ", ".join(f"{name} ({steps} steps)" for name, steps in sorted(kinds, key=str))
        raise TrackingError(
            f"reference curves need runs of one experiment and one number of steps, not of {listed}. "
            "Name runs of one recipe"
        )
    experiment, max_steps = kinds.pop()
    steps = positive_integer(max_steps)
    if steps is None:
        raise TrackingError(
            f"reference curves need a fixed number of steps, and {experiment} has none: set trainer.max_steps"
        )
    stretch = stretch_of(steps)
    histories = [curves_of(run, tracking or TrackingSettings(), stretch) for run in runs]
    common = set.intersection(*(set(history) for history in histories))
    curves: dict[str, list[float]] = defaultdict(list)
    for (name, _), value in (point for history in histories for point in history.items()):
        curves[name].append(value)
    # There are few validations, the first one late: the training loss shows better how far a loss falls.
    ranges = {
        name: max(range_of(curve), range_of(curves.get(name.replace("val/", "train/"), curve)))
        for name, curve in curves.items()
    }
    bands = {}
    for name, step in sorted(key for key in common if not key[0].endswith(ENDS)):
        low, high = band([history[name, step] for history in histories], ranges[name])
        # A metric of few items can be anywhere in its own interval.
        measured = [history[key] for history in histories for end in ENDS if (key := (name + end, step)) in history]
        bands[name, step] = min([low, *measured]), max([high, *measured])
    if not bands:
        raise TrackingError(
            f"{', '.join(references)}: no loss or metric was logged at the same step in all runs. Name finished runs"
        )
    shown: dict[str, dict[int, list[float]]] = defaultdict(dict)
    for (name, step), ends in bands.items():
        shown[name][step] = [float(f"{end:.4g}") for end in ends]
    about = {"experiment": experiment, "max_steps": steps, "runs": len(runs), "stretch": stretch, "bands": dict(shown)}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(about, sort_keys=False, default_flow_style=None, width=1000), encoding="utf-8")
    except OSError as error:
        raise TrackingError(
            f"-o {file}: cannot be written ({error.strerror}). Name a file in a folder that you may write to"
        ) from error
    return file


def bands_of(steps: dict[Any, Any]) -> dict[int, list[float]]:
    """Read the bands of a curve by step, as a file holds them."""
    return {int(step): [float(low), float(high)] for step, (low, high) in steps.items()}


def positive_integer(stored: str | None) -> int | None:
    """Read a stored parameter that is a positive integer; return None for any other."""
    return int(stored) if stored is not None and stored.isdecimal() and int(stored) > 0 else None


def stretch_of(max_steps: int) -> int:
    """Return the steps over which training losses are averaged: a twentieth of the training, in whole hundreds."""
    return max(STRETCH, round(max_steps / 20 / STRETCH) * STRETCH)


def range_of(curve: list[float]) -> float:
    """Return the difference of a curve's highest and lowest value."""
    return max(curve) - min(curve)


def band(values: list[float], curve_range: float = 0.0) -> tuple[float, float]:
    """Return a band around all values.

    Its margin is the largest of their spread, a fraction of their size, and a fraction of the range of the whole curve.
    """
    times = ALONE if len(values) == 1 else 1
    margin = max(range_of(values), times * MARGIN * max(map(abs, values)), times * NOISE * curve_range)
    return min(values) - margin, max(values) + margin


def curves_of(run: RunRecord, tracking: TrackingSettings, stretch: int = STRETCH) -> dict[tuple[str, int], float]:
    """Read the curves of a run by name and step.

    Validation metrics come with the ends of their intervals; training losses are means at the last step of a stretch.

    Args:
        run: A finished run.
        tracking: Where runs are kept.
        stretch: Steps over which training losses are averaged; an incomplete stretch at the end is left out.
    """
    client = open_store(tracking)
    interval = positive_integer(run.params.get("trainer.val_check_interval")) or 1
    curves: dict[tuple[str, int], float] = {}
    for name in run.metrics:
        kind, _, rest = name.partition("/")
        # A dotted name is a count behind a metric, such as its words, or an end of its interval.
        is_count = "." in rest and not rest.endswith(ENDS)
        if kind not in ("train", "val") or is_count or rest == "gradient_norm":
            continue
        history = [
            (point.step, point.value)
            for point in client.get_metric_history(run.run_id, escape(name))
            if math.isfinite(point.value)
        ]
        if kind == "val":
            # Lightning logs a validation under the number of the step before it.
            curves |= {(name, step + (step % interval == interval - 1)): value for step, value in history}
            continue
        stretches: dict[int, list[float]] = defaultdict(list)
        for step, value in history:
            # Lightning counts steps from 0.
            stretches[math.ceil((step + 1) / stretch) * stretch].append(value)
        last = max((step + 1 for step, _ in history), default=0)
        curves |= {(name, end): sum(values) / len(values) for end, values in stretches.items() if end <= last}
    return curves
