"""Child processes that end with their parent, and SIGTERM that cleans up like Ctrl-C."""

import os
import signal
import subprocess
import sys
import time

import pytest

from spectron.processes.children import interrupted_by_sigterm

PARENT = """
import os, subprocess, sys, time
from spectron.processes.children import environment_of_child
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]], env=os.environ | environment_of_child())
time.sleep(60)
"""
CHILD = """
import os, signal, sys, time
from pathlib import Path
from spectron.processes.children import PARENT, end_with_parent
def save(*_):
    Path(sys.argv[1]).write_text("saved")
    os._exit(0)
signal.signal(signal.SIGTERM, save)
end_with_parent()
assert PARENT not in os.environ  # a child of its own may be started by something else
print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_child_of_killed_parent_is_asked_to_end(tmp_path):
    saved = tmp_path / "saved"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD, str(saved)], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while not saved.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        assert saved.exists()
    finally:
        if not saved.exists():
            os.kill(child, signal.SIGKILL)


def test_sigterm_interrupts_once_and_only_within_block():
    def work():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)  # while cleaning up
            cleaned.append(True)

    before, cleaned = signal.getsignal(signal.SIGTERM), []
    with pytest.raises(KeyboardInterrupt), interrupted_by_sigterm():
        work()
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGTERM) == before
