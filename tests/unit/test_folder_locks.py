"""Locks of folders between processes, one of which may hang."""

import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from helpers.paths import SCRIPTS
from terralucas import folder_locks
from terralucas.folder_locks import locked

HOLDER = """
import sys, time
from pathlib import Path
from terralucas import folder_locks
folder_locks._SIGN_S = 0.1
with folder_locks.locked(Path(sys.argv[1]), "works in"):
    print("locked", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def hold(tmp_path):
    """Start a process that locks the folder for some seconds."""
    started = []

    def start(seconds):
        command = [sys.executable, "-c", HOLDER, str(tmp_path), str(seconds)]
        environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
        assert started[-1].stdout.readline() == "locked\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def quick(monkeypatch, caplog):
    monkeypatch.setattr(folder_locks, "_LOOK_S", 0.05)
    caplog.set_level(logging.INFO)


@pytest.mark.parametrize("patience_s", [None, 1.0])
def test_a_process_that_works_is_waited_for_however_long_that_takes(tmp_path, hold, caplog, patience_s):
    process = hold(3)
    with locked(tmp_path, "works in", patience_s):
        assert process.wait(10) == 0
    assert [record.message for record in caplog.records] == [f"Another process works in {tmp_path}; waiting for it"]


def test_a_process_that_shows_no_life_is_not_waited_for(tmp_path, hold, caplog):
    process = hold(60)
    process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with locked(tmp_path, "works in", 1.0):
        assert time.monotonic() - began >= 1
        assert process.poll() is None
    assert "has given no sign of life for 1 s" in caplog.records[-1].message


def test_a_lock_of_a_process_that_was_killed_is_free(tmp_path, hold, caplog):
    process = hold(60)
    process.kill()
    process.wait()
    with locked(tmp_path, "works in", 1.0):
        assert not caplog.records


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, caplog):
    def flock(file, how):
        raise OSError(folder_locks._NO_LOCKS[0], "no locks")

    monkeypatch.setattr(folder_locks.fcntl, "flock", flock)
    with locked(tmp_path, "works in", 1.0):
        assert "The file system has no locks" in caplog.records[-1].message
