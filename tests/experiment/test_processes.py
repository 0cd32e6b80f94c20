"""Trainings of two processes: they decide together, measure what one process measures, and end together.

One pair of processes does all the work, because a start takes seconds; the tests look at what both report.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from functools import partial
from io import StringIO
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from places import TINY
from torch import distributed, nn

from spectron.batch import LossTerm
from spectron.cli.parser import main
from spectron.datamodules.continuation import ContinuationDataModule
from spectron.datamodules.items import collate
from spectron.datamodules.lines import WithText, in_order
from spectron.datamodules.text_lines import TextDataModule
from spectron.errors import CheckpointError, DataError
from spectron.evaluation.callbacks.panel_evaluation import PanelEvaluation
from spectron.processes.ranks import all_or_none, everyone, of_first
from spectron.randomness import seed_of
from spectron.tracking.logger import RunLogger
from spectron.tracking.measure import MetricValue
from spectron.tracking.store import TrackingSettings, list_runs
from spectron.training.base import TrainingModule
from spectron.training.checkpoint_io import AtomicCheckpointIO
from spectron.training.checkpoints import Checkpoints, CheckpointSettings
from spectron.training.optimisation import Optimisation
from spectron.weights.checkpoint_files import read_checkpoint

LIMIT_SECONDS = 240
LINES = [" ".join(["word"] * length) + f" {number}" for number, length in enumerate([1, 5, 2, 9, 3, 1, 4, 2])]
BROKEN = "broken"  # a line that the task cannot read
HOLES = [*LINES[:3], BROKEN, BROKEN, BROKEN, *LINES[3:5]]


class Toy(TrainingModule):
    """Task on lines of text, whose loss terms share one count, as those of the speech heads do.

    Args:
        act: Function of the number of a training batch and its lines, called before each step.
        validating: The same for validation batches.
    """

    def __init__(self, act=lambda *_: None, validating=lambda *_: None):
        super().__init__()
        torch.manual_seed(1)
        self.set_up(nn.ModuleDict({"net": nn.Linear(4, 1)}), Optimisation(peak_learning_rate=0.01, warmup_steps=1))
        self.act, self.validating, self.seen, self.weights = act, validating, [], []

    def batch_ids(self, batch):
        return [line for line in batch if line != BROKEN]

    def loss_terms(self, batch):
        batch = self.batch_ids(batch)
        generators = [torch.Generator().manual_seed(seed_of(line)) for line in batch]
        words = torch.tensor([len(line.split()) for line in batch])
        out = self.model["net"](torch.stack([torch.randn(4, generator=g) for g in generators]))[:, 0]
        count = words.sum()
        return {
            "square": LossTerm((out.square() * words).sum(), count),
            "size": LossTerm((out.abs() * words).sum(), count),
        }

    def total(self, means):
        return means["square"] + 0.1 * means["size"]

    def training_step(self, batch, batch_idx):
        self.act(batch_idx, batch)
        self.seen.append(self.batch_ids(batch) != [])
        return super().training_step(batch, batch_idx)

    def on_before_zero_grad(self, optimizer):
        self.weights.append(self.model["net"].weight.detach().flatten().tolist())

    def validation_step(self, batch, batch_idx):
        self.validating(batch_idx, batch)
        super().validation_step(batch, batch_idx)


class Logged(DummyLogger):
    """Logger that keeps the metrics by step."""

    log_dir = None

    def __init__(self):
        super().__init__()
        self.rows, self.measures = [], {}

    def log_metrics(self, metrics, step=None):
        self.rows.append([step, {name: value for name, value in metrics.items() if name != "epoch"}])


class InOrder(TextDataModule):
    """Lines in the order of the file, with a panel."""

    def train_dataloader(self):
        return self.endless(WithText(), lambda number: in_order(self.train_lines, self.batch_size))

    def panel(self, size):
        return [None]


def lines(folder, train=LINES, val=LINES[:3], batch_size=1):
    """Return the data module of these lines, whose files every process writes for itself."""
    own = folder / str(os.getpid())
    own.mkdir(parents=True, exist_ok=True)
    for name, texts in {"train": train, "val": val}.items():
        (own / f"{name}.txt").write_text("".join(f"{line}\n" for line in texts))
    return InOrder(str(own / "train.txt"), str(own / "val.txt"), batch_size=batch_size)


def fit(folder, module, data, steps=4, processes=2, logger=None, callbacks=(), resume=False, settings=None, **options):
    """Train, and return the trainer; the folder of the checkpoints is common to all processes."""
    checkpoints = Checkpoints(settings or CheckpointSettings(every_n_steps=100), folder)
    trainer = Trainer(
        **{"max_steps": steps, "val_check_interval": 2} | options,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        log_every_n_steps=1,
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        use_distributed_sampler=False,
        callbacks=[*callbacks, checkpoints],
        plugins=[AtomicCheckpointIO()],
        logger=logger or Logged(),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, datamodule=data, ckpt_path=checkpoints.last if resume else None, weights_only=True)
    return trainer


def figures(folder, processes, batch_size, val=LINES[:3]):
    """Return the logged metrics of a training and its final weights."""
    logger, module = Logged(), Toy()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(folder, module, lines(folder, val=val, batch_size=batch_size), processes=processes, logger=logger)
    weights = module.model["net"].weight.detach().flatten().tolist()
    counts = {name: float(term.count) for name, term in module.sums.items()}
    return {
        "rows": logger.rows,
        "weights": weights,
        "counts": counts,
        "warned": [str(one.message) for one in caught if "sync_dist" in str(one.message)],
    }


# The checks below run in both processes. Each gets a common folder and returns what JSON can hold.


def check_training(folder, rank):
    return figures(folder, 2, 2)


def check_validation(folder, rank):
    return figures(folder, 2, 1)


def check_single_validation_batch(folder, rank):
    return figures(folder, 2, 1, LINES[:1])


def check_batch_without_readable_items(folder, rank):
    """The second process has nothing to read in the second step, and nobody in the third."""
    module = Toy()
    fit(folder, module, lines(folder, HOLES))
    return {"seen": module.seen, "weights": module.weights}


def check_too_many_broken_files(folder, rank):
    data = ContinuationDataModule("none.jsonl", max_broken_files=1)
    return ended(lambda: data.on_before_batch_transfer(collate([], [f"file-{rank}: no audio"]), 0))


def check_loss_not_finite_in_one(folder, rank):
    module = Toy()

    def spoil(number, batch):
        if number == 2 and rank == 1:
            module.model["net"].weight.data.fill_(float("nan"))

    module.act = spoil
    return ended(lambda: fit(folder, module, lines(folder)))


def check_monitor_known_to_first(folder, rank):
    class Measure(Callback):
        """Callback that measures in the first process only, with the best value after the second validation."""

        def on_validation_end(self, trainer, pl_module):
            if trainer.is_global_zero:
                value = {2: 0.5, 4: 0.2, 6: 0.4}[trainer.global_step]
                trainer.logger.measures = {"val/wer": MetricValue("val/wer", value, 3)}

    settings = CheckpointSettings(every_n_steps=100, monitor="val/wer")
    fit(folder, Toy(), lines(folder), steps=6, callbacks=[Measure()], settings=settings)
    return read_checkpoint(folder / "best.ckpt")["global_step"]


def stopped(folder, rank, who, number, signum, validating=False, **options):
    """Send a signal to one process in one batch; return how both end, and the steps of the last checkpoint."""

    def act(batch_number, batch):
        if rank == who and batch_number == number:
            os.kill(os.getpid(), signum)

    module = Toy(**{"validating" if validating else "act": act})
    how = ended(lambda: fit(folder, module, lines(folder, val=LINES), steps=1000, **options))
    state = read_checkpoint(folder / "last.ckpt")
    again = Logged()
    fit(folder, Toy(), lines(folder, val=LINES), steps=state["global_step"] + 1, logger=again, resume=True, **options)
    return {**how, "step": state["global_step"], "resumed": again.rows, "batches": len(module.seen)}


def check_sigterm_to_second(folder, rank):
    return stopped(folder, rank, 1, 4, signal.SIGTERM)


def check_ctrl_c_to_first(folder, rank):
    return stopped(folder, rank, 0, 4, signal.SIGINT)


def check_stop_within_accumulation(folder, rank):
    return stopped(folder, rank, 1, 4, signal.SIGTERM, accumulate_grad_batches=2)


def check_stop_within_validation(folder, rank):
    return stopped(folder, rank, 1, 1, signal.SIGTERM, validating=True)


def check_full_disk(folder, rank):
    class Full(AtomicCheckpointIO):
        def save_checkpoint(self, *args, **options):
            raise CheckpointError("no space")

    data, module = lines(folder), Toy()

    def run():
        trainer = Trainer(
            max_steps=2,
            accelerator="cpu",
            devices=2,
            strategy="ddp",
            use_distributed_sampler=False,
            plugins=[Full()],
            callbacks=[Checkpoints(CheckpointSettings(), folder)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, datamodule=data)

    return ended(run)


class Panel(PanelEvaluation):
    """Panel whose evaluation is any function."""

    def __init__(self, work):
        super().__init__(None, [], [], 1, 0, 1)
        self.work = work

    def measure_names(self):
        return set()

    def require_fitting(self, pl_module):
        pass

    def evaluate(self, trainer, pl_module):
        self.work()
        return {}


def with_panel(folder, work):
    logger = RunLogger("panel", TrackingSettings(str(folder.parent / "runs")))
    fit(folder, Toy(), lines(folder), steps=2, logger=logger, callbacks=[Panel(work)])


def check_panel_longer_than_timeout(folder, rank):
    """The others wait for the panel longer than the process group of the gradients waits for anything."""
    group = distributed.group.WORLD
    usual = distributed.distributed_c10d._get_default_timeout("gloo")
    with_panel(folder, lambda: None)  # everything is imported
    distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=2), group)
    try:
        return ended(lambda: with_panel(folder, lambda: time.sleep(5)))
    finally:
        distributed.distributed_c10d._set_pg_timeout(usual, group)


def check_failed_panel(folder, rank):
    def fail():
        raise DataError("no panel")

    return ended(lambda: with_panel(folder, fail))


def check_failure_before_run(folder, rank):
    """One process alone finds a mistake: in a block of its own, and as the one on which the others wait."""

    def fail(who):
        if rank == who:
            raise DataError(f"found by {who}")

    def block(who):
        with all_or_none():
            fail(who)

    return [ended(partial(block, who)) for who in (0, 1)] + [ended(lambda: of_first(partial(fail, 0)))]


def check_defect_in_second(folder, rank):
    def block():
        with all_or_none():
            if rank == 1:
                raise ZeroDivisionError

    return ended(block)


def check_command(folder, rank):
    """The command trains the tiny task in two processes, fails in both if one lacks a file, and resumes in both."""
    os.environ["SPECTRON_RUNS"] = str(folder.parent / "runs")
    command = ["fit", str(TINY), "trainer.devices=2", "name=pair"]
    lacking = [*command, "name=broken", *(["weights.start=missing.safetensors"] if rank else [])]
    found = []
    for arguments in (command, lacking, [*command, "--resume", "trainer.max_steps=6"]):
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(arguments)
        found.append({"code": code, "out": out.getvalue(), "err": err.getvalue()})
    runs = list_runs(settings=TrackingSettings(str(folder.parent / "runs"))) if rank == 0 else []
    return {"found": found, "runs": [[run.experiment, run.status] for run in runs if run.experiment != "panel"]}


def ended(work):
    """Return the type of the error with which some work ends; every process comes to this point."""
    try:
        work()
        how = ""
    except BaseException as error:
        how = type(error).__name__
    return {"ended": how}


def run_checks(folder: Path) -> None:
    """Run all checks in this process, and write what each returns."""
    rank = int(os.environ["RANK"])
    distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    for name, check in [(name, check) for name, check in globals().items() if name.startswith("check_")]:
        common = folder / name
        common.mkdir(exist_ok=True)
        print(f"{name} started", flush=True)
        try:
            found = check(common, rank)
        except BaseException:
            found = {"failed": traceback.format_exc()}
        (folder / f"{name}-{rank}.json").write_text(json.dumps(found))
        everyone(name)  # nobody begins the next check before the other one has ended this one


@pytest.fixture(scope="module")
def pair(tmp_path_factory, make_runs):
    """Results of all checks, by name and rank."""
    folder = tmp_path_factory.mktemp("pair")
    make_runs(folder / "runs")
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    environment = os.environ | group | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = []
    for rank in (0, 1):
        own = environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        log = (folder / f"log-{rank}").open("w")
        processes.append(
            subprocess.Popen([sys.executable, __file__, str(folder)], env=own, stdout=log, stderr=subprocess.STDOUT)
        )
    deadline = time.monotonic() + LIMIT_SECONDS
    try:
        for process in processes:
            process.wait(timeout=max(1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        pass
    finally:
        for process in processes:
            process.kill()
            process.wait()
    results = {}
    for file in folder.glob("check_*.json"):
        name, _, rank = file.stem.removeprefix("check_").rpartition("-")
        results.setdefault(name, {})[int(rank)] = json.loads(file.read_text())
    logs = "\n".join((folder / f"log-{rank}").read_text()[-3000:] for rank in (0, 1))

    def of(name):
        both = results.get(name, {})
        assert sorted(both) == [0, 1], f"{name} did not end in both processes:\n{logs}"
        assert not [found for found in both.values() if isinstance(found, dict) and "failed" in found], both
        return [both[0], both[1]]

    return of


def same(found, expected):
    """Assert that rows of logged metrics are equal."""
    assert [step for step, _ in found] == [step for step, _ in expected]
    for (_, ours), (_, theirs) in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize(
    ("check", "size", "val"),
    [("training", 4, LINES[:3]), ("validation", 2, LINES[:3]), ("single_validation_batch", 2, LINES[:1])],
)
def test_two_processes_measure_what_one_measures(pair, tmp_path, check, size, val):
    alone = figures(tmp_path, 1, size, val)
    for found in pair(check):
        same(found["rows"], alone["rows"])
        assert found["weights"] == pytest.approx(alone["weights"], rel=1e-5)
        assert found["counts"] == alone["counts"]
        assert found["warned"] == []


def test_batch_without_readable_items_adds_nothing(pair, tmp_path):
    alone = Toy()
    fit(tmp_path, alone, lines(tmp_path, HOLES, batch_size=2), processes=1)
    first, second = pair("batch_without_readable_items")
    assert first["seen"] == [True, True, False, True]
    assert second["seen"] == [True, False, False, True]
    for ours, theirs in zip(first["weights"], alone.weights, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    assert second["weights"] == first["weights"]


@pytest.mark.parametrize(
    ("check", "error"),
    [
        ("too_many_broken_files", "TrainingError"),
        ("loss_not_finite_in_one", "TrainingError"),
        ("full_disk", "CheckpointError"),
        ("failed_panel", "DataError"),
    ],
)
def test_error_of_one_process_ends_both_and_is_reported_once(pair, check, error):
    assert pair(check) == [{"ended": error}, {"ended": "EndedByAnother"}]


def test_failure_before_run_ends_both(pair):
    for first, second in zip(*pair("failure_before_run"), strict=True):
        assert (first["ended"], second["ended"]) == ("DataError", "EndedByAnother")


def test_defect_keeps_its_traceback(pair):
    assert pair("defect_in_second") == [{"ended": "TrainingError"}, {"ended": "ZeroDivisionError"}]


def test_monitored_value_of_first_process_decides(pair):
    assert pair("monitor_known_to_first") == [4, 4]


@pytest.mark.parametrize(
    ("check", "error", "step"),
    [
        ("sigterm_to_second", "SIGTERMException", 5),
        ("ctrl_c_to_first", "SystemExit", 5),
        ("stop_within_accumulation", "SIGTERMException", 3),
        ("stop_within_validation", "SIGTERMException", 2),
    ],
)
def test_signal_to_one_process_stops_both_at_one_step(pair, check, error, step):
    for found in pair(check):
        assert (found["ended"], found["step"]) == (error, step)


def test_resumed_pair_begins_with_interrupted_validation(pair):
    (_, first_row), *_ = pair("stop_within_validation")[0]["resumed"]
    assert "val/loss" in first_row


def test_panel_longer_than_timeout_of_process_group(pair):
    assert pair("panel_longer_than_timeout") == [{"ended": ""}, {"ended": ""}]


def test_command_speaks_with_one_voice(pair):
    first, second = pair("command")
    assert [found["code"] for found in first["found"]] == [0, 1, 0]
    assert [found["code"] for found in second["found"]] == [0, 0, 0]
    assert "val/loss" in first["found"][0]["out"]
    assert "missing.safetensors" in first["found"][1]["err"]
    assert "".join(found["out"] for found in second["found"]) == ""
    assert first["runs"] == [["pair", "FINISHED"]]


if __name__ == "__main__":
    run_checks(Path(sys.argv[1]))
