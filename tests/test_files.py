"""Files that are written whole, and locks that end with their process."""

import os
import signal
import subprocess
import sys

import pytest

from spectron.errors import LockedError
from spectron.files import Lock, remove_abandoned, written_whole

HOLDER = """
import os, sys, time
from pathlib import Path
from spectron.files import Lock, written_whole
lock = Lock(Path(sys.argv[1]) / "lock")
if os.fork() == 0:
    time.sleep(60)  # a data worker, which outlives its parent
with written_whole(Path(sys.argv[1]) / "big.ckpt") as part:
    part.write_text("half")
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds a lock and writes a file."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, process_group=0)
    assert process.stdout.readline()
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_lock_and_part_of_other_process_respected_until_it_is_killed(tmp_path, holder):
    with pytest.raises(LockedError) as caught:
        Lock(tmp_path / "lock")
    assert str(holder.pid) in caught.value.message
    assert caught.value.file == tmp_path / "lock"
    remove_abandoned(tmp_path)
    assert len(list(tmp_path.glob("*.part"))) == 1
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    Lock(tmp_path / "lock").release()
    remove_abandoned(tmp_path)
    assert list(tmp_path.glob("*.part")) == []


def test_lock_twice_in_one_process_refused(tmp_path):
    lock = Lock(tmp_path / "lock")
    with pytest.raises(LockedError):
        Lock(tmp_path / "lock")
    lock.release()
    lock.release()
    Lock(tmp_path / "lock").release()


def test_two_writers_of_one_file_have_own_parts(tmp_path):
    with written_whole(tmp_path / "x") as one, written_whole(tmp_path / "x") as other:
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "x").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_interrupted_write_keeps_old_file(tmp_path):
    def write():
        with written_whole(tmp_path / "x") as part:
            part.write_text("new")
            raise KeyboardInterrupt

    (tmp_path / "x").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "old")]


def test_abandoned_parts_removed_by_name(tmp_path):
    for name in ("deep/last.ckpt.0a.part", "a.jsonl.1b.part", "b.jsonl.2c.part", "kept.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    remove_abandoned(tmp_path, "a.jsonl")
    assert not (tmp_path / "a.jsonl.1b.part").exists()
    assert (tmp_path / "b.jsonl.2c.part").exists()
    remove_abandoned(tmp_path)
    assert [path.name for path in tmp_path.rglob("*.*") if path.is_file()] == ["kept.txt"]
