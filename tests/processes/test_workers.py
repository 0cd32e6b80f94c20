"""Worker processes that are really killed, as the operating system does if memory is short."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from spectron.cli.parser import main
from spectron.datamodules.synthetic.parallel import in_processes
from spectron.errors import ConfigError, WorkerError
from spectron.processes.workers import ended_by_system, naming_killed_workers
from spectron.tracking.store import TrackingSettings, list_runs

TINY = Path(__file__).parents[1] / "experiments" / "tiny"
DATA = '''
import os, signal
from pathlib import Path
from types import SimpleNamespace
import torch
from spectron.datamodules.streaming import EndlessDataModule
from tiny_task import TinyData

class Rows(torch.utils.data.Dataset):
    """Numbers; the worker that reads the fourth batch is killed while the file `kill` exists."""

    def __getitem__(self, place):
        if place >= 3 and Path(__file__).with_name("kill").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.randn(3, 4, generator=torch.Generator().manual_seed(place))

def loader(places):
    return EndlessDataModule.loader(SimpleNamespace(num_workers=1), Rows(), places)

class KilledData(TinyData):
    def train_dataloader(self):
        return loader(range(self.position, 20))

    def val_dataloader(self):
        return loader([0, 3] if Path(__file__).with_name("validation").exists() else [0])
'''


def test_fit_and_evaluate_name_killed_worker(tmp_path, make_runs, capsys):
    for file in TINY.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    (tmp_path / "killed_data.py").write_text(DATA)
    (tmp_path / "kill").touch()
    folder = make_runs(tmp_path / "runs")
    fit = ["fit", str(tmp_path / "tiny.yaml"), "data.class_path=killed_data.KilledData", f"tracking.folder={folder}"]
    assert main(fit) == 1
    [run] = list_runs("tiny", TrackingSettings(folder=str(folder)))
    printed = capsys.readouterr().err
    assert "data.init_args.batching.num_workers: " in printed
    assert f"--resume {run.run_id}" in printed
    assert run.status == "FAILED"

    (tmp_path / "kill").unlink()
    assert main([*fit, "--resume"]) == 0
    [run] = list_runs("tiny", TrackingSettings(folder=str(folder)))
    assert run.status == "FINISHED"

    (tmp_path / "kill").touch()
    (tmp_path / "validation").touch()
    capsys.readouterr()
    assert main(["evaluate", run.run_id, "--runs", str(folder), "--trust"]) == 1
    assert "data.init_args.batching.num_workers: " in capsys.readouterr().err
    assert all(run.status != "RUNNING" for run in list_runs("tiny", TrackingSettings(folder=str(folder))))


def die(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_pool_names_killed_worker():
    with pytest.raises(WorkerError) as raised:
        list(in_processes(die, range(4), workers=1))
    assert raised.value.key == "--workers"


def test_negative_number_of_workers_refused():
    with pytest.raises(ConfigError) as raised:
        list(in_processes(die, range(4), workers=-1))
    assert raised.value.key == "--workers"


def test_other_errors_keep_their_type():
    with pytest.raises(RuntimeError, match="out of memory"), naming_killed_workers(""):
        raise RuntimeError("CUDA out of memory")


@pytest.mark.parametrize(
    ("code", "killed"), [(None, False), (0, False), (1, False), (-15, False), (-9, True), (-7, True)]
)
def test_only_signals_of_the_system_count(code, killed):
    assert ended_by_system(code) is killed
