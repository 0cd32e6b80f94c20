"""Reference curves: how a recipe's losses and metrics ran when it was last known to be right, so that a bug can be told from impatience.

A file holds, for losses of training as means over stretches of steps and for measures of validation at their steps, a band around what
some runs of the recipe gave. It belongs to the recipe as it stands: runs under another name or of another length are not held against it.
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
from spectron.tracking.store import RunRecord, TrackingSettings, find_run, open_store

STRETCH = 100  # steps over which a training loss is averaged at the least, as one batch tells little
MARGIN = 0.15  # of a value, around all that was seen: another machine, another seed
NOISE = 0.02  # of all the way that a curve goes: what has come down to nothing differs by many times its size from run to run
ALONE = 2  # times as much of both around a single run, which tells nothing of its kind's spread
ENDS = (".low", ".high")  # of a measure's interval, beside it in MLflow
Bands = dict[str, dict[int, list[float]]]


class ReferenceCurve(Callback):
    """Says when a run leaves the band that its recipe is expected to keep to; removed by ``callbacks.reference_curve=null``.

    Args:
        file: What ``spectron reference-curve`` wrote.
        also: Other names under which the same recipe is run, such as that of a study's row.

    Raises:
        ConfigError: if the file is missing or is none.
    """

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
                f"{file} is no file of reference curves ({error}): write one with `spectron reference-curve RUN -o {file}`, "
                "or remove it with callbacks.reference_curve=null",
                key="file",
                file=file,
            ) from error
        self.names = {self.experiment, *also}
        self.sums: dict[str, list[float]] = {}
        self.seen = self.begun = 0  # the last step that was seen, and the one that the run began after
        self.looked: set[str] = set()
        self.outside: set[str] = set()

    def applies(self, trainer: Trainer) -> bool:
        """Whether this run is one of the recipe as it stands."""
        return trainer.logger is not None and trainer.logger.name in self.names and trainer.max_steps == self.max_steps

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say so where the file does not apply."""
        self.sums, self.looked, self.outside = {}, set(), set()
        self.seen = self.begun = trainer.global_step
        if not self.applies(trainer):
            name = trainer.logger.name if trainer.logger else "without a name"
            rank_zero_info(
                f"reference curves: not looked at, {self.file} is of {self.experiment} with {self.max_steps} steps, and this is {name} with "
                f"{trainer.max_steps}"
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add up the losses of the steps that are logged, which are those of the file, and look at the means of whole stretches."""
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
        """Look at the measures of validation."""
        if trainer.sanity_checking or not self.applies(trainer):
            return
        seen = {name: float(value) for name, value in trainer.callback_metrics.items()}
        seen |= {name: measure.value for name, measure in getattr(trainer.logger, "measures", {}).items()}
        for name in self.bands.keys() & seen.keys():
            if not name.startswith("train/"):
                self.look(name, trainer.global_step, seen[name])

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how it went."""
        if self.applies(trainer) and self.looked:
            kept = (
                "all are inside their bands"
                if not self.outside
                else f"outside their bands: {', '.join(sorted(self.outside))}"
            )
            rank_zero_info(f"reference curves: {len(self.looked)} looked at ({self.file}), and at the end {kept}")

    def look(self, name: str, step: int, value: float) -> None:
        """Warn when a curve goes out of its band, and tell when it comes back."""
        band = self.bands[name].get(step)
        if band is None:
            return
        self.looked.add(name)
        low, high = band
        inside = low <= value <= high
        if inside and name in self.outside:
            self.outside.remove(name)
            rank_zero_info(
                f"reference curves: {name} is back in its band, {value:.4g} at step {step} ({low:.4g} to {high:.4g})"
            )
        elif not inside and name not in self.outside:
            self.outside.add(name)
            rank_zero_warn(
                f"reference curves: {name} is {value:.4g} at step {step}, where {self.file} expects {low:.4g} to {high:.4g}. If the recipe "
                "was not changed, something is wrong; callbacks.reference_curve=null stops looking"
            )


def without_curve(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the curve that ``callbacks.reference_curve`` names, which looks on and changes nothing."""
    return config | {
        "callbacks": {name: value for name, value in config.get("callbacks", {}).items() if name != "reference_curve"}
    }


def write_reference_curve(references: list[str], file: Path, tracking: TrackingSettings | None = None) -> Path:
    """Write the bands of finished runs of one experiment.

    Args:
        references: Runs, by id or name.
        file: YAML to write.
        tracking: Where the runs are.

    Raises:
        TrackingError: if they are not of one experiment and length, or hold no curves.
    """
    found = [find_run(reference, tracking) for reference in references]
    runs = list({run.run_id: run for run in found}.values())  # a run named twice tells no more than once
    kinds = {(run.experiment, run.params.get("trainer.max_steps")) for run in runs}
    if len(kinds) != 1:
        listed = ", ".join(f"{name} ({steps} steps)" for name, steps in sorted(kinds, key=str))
        raise TrackingError(
            f"reference curves are of one experiment and length, and these runs are of {listed}: give runs of one recipe"
        )
    experiment, told = kinds.pop()
    steps = whole(told)
    if steps is None:
        raise TrackingError(
            f"reference curves are of a training of so many steps, and {experiment} has none: set trainer.max_steps"
        )
    stretch = stretch_of(steps)
    histories = [curves_of(run, tracking or TrackingSettings(), stretch) for run in runs]
    common = set.intersection(*(set(history) for history in histories))
    curves: dict[str, list[float]] = defaultdict(list)
    for (name, _), value in (point for history in histories for point in history.items()):
        curves[name].append(value)
    # A validation is at few steps, and late ones: how far a loss comes is seen in training.
    ways = {
        name: max(way_of(curve), way_of(curves.get(name.replace("val/", "train/"), curve)))
        for name, curve in curves.items()
    }
    bands = {}
    for name, step in sorted(key for key in common if not key[0].endswith(ENDS)):
        low, high = band([history[name, step] for history in histories], ways[name])
        # A measure of few items can be anywhere in its own interval.
        measured = [history[key] for history in histories for end in ENDS if (key := (name + end, step)) in history]
        bands[name, step] = min([low, *measured]), max([high, *measured])
    if not bands:
        raise TrackingError(
            f"{', '.join(references)}: no loss or metric was logged at the same step in all: give finished runs"
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
            f"-o {file}: cannot be written ({error.strerror}): name a file in a folder that you may write to"
        ) from error
    return file


def bands_of(steps: dict[Any, Any]) -> dict[int, list[float]]:
    """The bands of a curve by step, as a file has them."""
    return {int(step): [float(low), float(high)] for step, (low, high) in steps.items()}


def whole(stored: str | None) -> int | None:
    """A parameter of a run that is a whole number above 0; None for any other."""
    return int(stored) if stored is not None and stored.isdecimal() and int(stored) > 0 else None


def stretch_of(max_steps: int) -> int:
    """Steps over which training losses are averaged: a twentieth of the training, in whole hundreds."""
    return max(STRETCH, round(max_steps / 20 / STRETCH) * STRETCH)


def way_of(curve: list[float]) -> float:
    """From a curve's lowest to its highest value."""
    return max(curve) - min(curve)


def band(values: list[float], way: float = 0.0) -> tuple[float, float]:
    """Around all values, by their spread, a share of their size or a share of the whole curve's ``way``, whichever is most."""
    times = ALONE if len(values) == 1 else 1
    margin = max(way_of(values), times * MARGIN * max(map(abs, values)), times * NOISE * way)
    return min(values) - margin, max(values) + margin


def curves_of(run: RunRecord, tracking: TrackingSettings, stretch: int = STRETCH) -> dict[tuple[str, int], float]:
    """A run's validation measures and their intervals' ends by name and step, and its training losses as means by their stretch's end.

    Args:
        run: A finished run.
        tracking: Where it is.
        stretch: Steps over which training losses are averaged; what is left at the end is no stretch.
    """
    client = open_store(tracking)
    interval = whole(run.params.get("trainer.val_check_interval")) or 1
    curves: dict[tuple[str, int], float] = {}
    for name in run.metrics:
        kind, _, rest = name.partition("/")
        # Behind a point stands what a measure rests on, its items and words, and the ends of its interval.
        beside = "." in rest and not rest.endswith(ENDS)
        if kind not in ("train", "val") or beside or rest in ("gradient_norm",):
            continue
        history = [
            (point.step, point.value)
            for point in client.get_metric_history(run.run_id, name)
            if math.isfinite(point.value)
        ]
        if kind == "val":
            # Lightning logs what a validation found under the step before the one that it follows.
            curves |= {(name, step + (step % interval == interval - 1)): value for step, value in history}
            continue
        stretches: dict[int, list[float]] = defaultdict(list)
        for step, value in history:
            stretches[math.ceil((step + 1) / stretch) * stretch].append(
                value
            )  # Lightning logs a step under the number before its own.
        last = max((step + 1 for step, _ in history), default=0)
        curves |= {(name, end): sum(values) / len(values) for end, values in stretches.items() if end <= last}
    return curves
