"""One cell of a study in a process of its own: trains, or goes on training, then evaluates, and notes what it led to."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from evaluation.running import evaluate_suite
from evaluation.study.study import Cell
from spectron.errors import Interrupted, SpectronError, TrackingError
from spectron.experiment import Experiment
from spectron.fitting import fit
from spectron.runs import RunRecord, list_runs

FINISHED = "FINISHED"


def trained_run(experiment: Experiment) -> RunRecord | None:
    """The newest run of an experiment with its seed, finished or not."""
    try:
        runs = list_runs(experiment.name, experiment.tracking())
    except TrackingError:  # no run yet
        return None
    seed = str(experiment.config["seed"])
    return next((run for run in runs if run.params.get("seed") == seed and (run.folder / "checkpoints" / "last.ckpt").is_file()), None)


def work(cell: Cell, fingerprint: str, anew: bool) -> None:
    """Train where that is needed, evaluate, and write ``cell.json``.

    Args:
        cell: The cell.
        fingerprint: Of its settings, noted with the result.
        anew: Whether an earlier run was of other settings, so that there is none to go on with.
    """
    cell.note({"fingerprint": fingerprint})
    experiment = Experiment.read(cell.experiment)
    run = None if anew else trained_run(experiment)
    run_id = run.run_id if run else ""
    if cell.trains and (run is None or run.status != FINISHED):
        run_id = fit(experiment, run.run_id if run else None).run_id
    elif run is None:
        raise TrackingError(f"{cell.title}: the row whose models it evaluates has none for this seed: train that first")
    outcome = evaluate_suite(run_id, cell.suite, cell.overrides, str(experiment.tracking().runs_folder))
    if outcome is not None:
        cell.note({"fingerprint": fingerprint, "run": run_id, "evaluation": str(outcome.folder)})


def main(arguments: list[str]) -> int:
    """Work on the cell that a study's process describes in JSON."""
    described = json.loads(arguments[0])
    cell = Cell(**described["cell"] | {key: Path(described["cell"][key]) for key in ("folder", "suite")})
    try:
        work(cell, described["fingerprint"], described["anew"])
    except SpectronError as error:
        print(f"spectron: error: {error}", file=sys.stderr)
        return 1
    except (Interrupted, KeyboardInterrupt) as stop:
        print(stop or "Stopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
