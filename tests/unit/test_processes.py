"""Processes that this one started are ended with all that they started, also one that does not listen."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

import _processes
from _processes import end_children

# Says its number when it is ready for a signal, then waits for ever.
WAITS = "import os, threading; print(os.getpid(), flush=True); threading.Event().wait()"
IGNORES = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITS
# Has a child of its own, which says its number, too.
STARTS = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {WAITS!r}])\n" + WAITS


@pytest.fixture
def start():
    """Start Python code as children of this process; each is ready for a signal."""
    started = []

    def start(code, lines=1):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        started.append(child)
        child.numbers = [int(child.stdout.readline()) for _ in range(lines)]
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_process_and_what_it_started_are_terminated_and_its_exit_status_is_left(start):
    child = start(STARTS, lines=2)
    (grandchild,) = psutil.Process(child.pid).children()
    assert {child.pid, grandchild.pid} == set(child.numbers)
    begun = time.monotonic()
    end_children(20)
    assert time.monotonic() - begun < 10, "it waits no longer than they live"
    # Zero, were the status read before.
    assert child.wait(5) == -signal.SIGTERM
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


def test_one_that_ignores_sigterm_is_killed_after_a_while_and_the_others_are_not(start):
    deaf, listening = start(IGNORES), start(WAITS)
    begun = time.monotonic()
    end_children(0.5)
    assert time.monotonic() - begun >= 0.5
    assert (deaf.wait(5), listening.wait(5)) == (-signal.SIGKILL, -signal.SIGTERM)


@pytest.mark.parametrize("is_reaped", [True, False], ids=["reaped", "zombie"])
def test_one_that_ended_meanwhile_does_not_matter(start, monkeypatch, is_reaped):
    """Between the look for processes and the signal."""
    ended, other = start(WAITS), start(WAITS)
    real = psutil.Process.children

    def children(self, recursive):
        found = real(self, recursive=recursive)
        ended.kill()
        # Waits for the end without reading the status.
        os.waitid(os.P_PID, ended.pid, os.WEXITED | (0 if is_reaped else os.WNOWAIT))
        return found

    monkeypatch.setattr(psutil.Process, "children", children)
    end_children(20)
    assert other.wait(5) == -signal.SIGTERM
    assert is_reaped or ended.wait(5) == -signal.SIGKILL


def test_one_of_another_user_does_not_keep_the_others(start, monkeypatch):
    """Snakemake's process on a node must end in any case; root, which may signal all, takes its answer from here."""
    first, second = start(WAITS), start(WAITS)
    real = psutil.Process.send_signal

    def send_signal(self, number):
        if self.pid == first.pid:
            raise psutil.AccessDenied(self.pid)
        real(self, number)

    monkeypatch.setattr(psutil.Process, "send_signal", send_signal)
    monkeypatch.setattr(_processes, "_PAUSE_S", 0.01)
    end_children(0.2)
    assert second.wait(5) == -signal.SIGTERM
    assert first.poll() is None


def test_nothing_to_end_takes_no_time():
    begun = time.monotonic()
    end_children(20)
    assert time.monotonic() - begun < 5
