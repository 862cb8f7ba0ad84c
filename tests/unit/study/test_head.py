"""A study is run by one process at a time, whatever becomes of Snakemake's locks."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from helpers.not_tested import not_tested
from terralucas.errors import StudyError
from terralucas.study import head
from terralucas.study.head import (
    NAME,
    Running,
    is_running,
    may_be_running,
    read_head,
    seconds_after_boot,
    take_dead_mark,
    this_process,
)

SCRIPTS = str(Path(head.__file__).parents[2])


@pytest.fixture
def process():
    """Another process of this machine."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    yield process
    process.kill()
    process.wait()


def mark(folder, of):
    (folder / NAME).write_text(json.dumps(asdict(of)))


def of_process(process, **changes):
    return replace(
        this_process(), pid=process.pid, started=seconds_after_boot(process.pid), **changes
    )  # fmt: skip


def test_a_mark_is_there_while_the_study_runs(tmp_path):
    running = Running(tmp_path)
    assert running.begin() == (this_process(folder=tmp_path), None)
    assert read_head(tmp_path) == this_process(folder=tmp_path)
    running.end()
    assert list(tmp_path.iterdir()) == []


def test_a_mark_that_is_removed_while_the_study_runs_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(head, "HEARTBEAT_S", 0.01)
    running = Running(tmp_path)
    running.begin()
    (tmp_path / NAME).unlink()
    deadline = time.monotonic() + 10
    while read_head(tmp_path) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert read_head(tmp_path) == this_process(folder=tmp_path)
    running.end()


def test_the_mark_stays_that_of_its_study_in_another_folder(tmp_path, monkeypatch):
    """Snakemake goes back to where it was started (--directory), where a study of the same name may be."""
    monkeypatch.setattr(head, "HEARTBEAT_S", 0.01)
    for place in ("own", "other"):
        (tmp_path / place / "results").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "own")
    running = Running(Path("results"))
    running.begin()
    monkeypatch.chdir(tmp_path / "other")
    time.sleep(0.1)
    assert not list((tmp_path / "other" / "results").iterdir())
    running.end()
    assert not (tmp_path / "own" / "results" / NAME).exists()


def test_a_process_that_was_suspended_for_long_does_not_take_the_study_back(tmp_path, monkeypatch):
    """Another process may have taken it for dead, and have run the study to its end, which removes the mark."""
    interrupted = threading.Event()
    monkeypatch.setattr(head, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(head, "DEAD_AFTER_S", 0.0)
    monkeypatch.setattr(head, "_interrupt_this_process", interrupted.set)
    running = Running(tmp_path)
    running.begin()
    (tmp_path / NAME).unlink()
    assert interrupted.wait(10)
    assert list(tmp_path.iterdir()) == []
    running.end()


def test_a_study_that_another_process_of_this_machine_runs_is_refused(tmp_path, process):
    mark(tmp_path, of_process(process))
    with pytest.raises(StudyError, match=rf"is running already[\s\S]*process {process.pid} on this machine"):
        Running(tmp_path).begin()
    assert is_running(tmp_path)
    assert read_head(tmp_path).pid == process.pid, "its mark is left alone"


@pytest.mark.parametrize("step", [-7200.0, 5.0])
def test_a_clock_that_is_set_does_not_make_the_process_another_one(tmp_path, process, monkeypatch, step):
    mark(tmp_path, of_process(process))
    boot = psutil.boot_time()
    # A step of the clock moves the time of the boot, from which psutil counts.
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: boot + step)
    assert is_running(tmp_path)


def test_a_copy_of_a_running_study_is_not_taken_for_it(tmp_path, process):
    """The advice to stop the process would stop the original."""
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    mark(original, of_process(process, place=this_process(folder=original).place))
    shutil.copytree(original, copy)
    assert is_running(original)
    assert may_be_running(original)
    with pytest.raises(StudyError, match=rf"process {process.pid} on this machine, in {Path.cwd()}"):
        Running(original).begin()
    assert not is_running(copy)
    assert not may_be_running(copy)
    running = Running(copy)
    running.begin()
    running.end()
    assert read_head(original).pid == process.pid


def test_the_message_about_a_stopped_process_says_how_it_goes_on(tmp_path, process):
    """After Ctrl-Z, SIGINT waits until the process goes on."""
    mark(tmp_path, of_process(process))
    process.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 20
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(StudyError, match=rf"process {process.pid} on this machine, in .*, which is stopped") as refused:
        Running(tmp_path).begin()
    assert f"`fg` in its terminal, or kill -CONT {process.pid}" in str(refused.value)
    assert is_running(tmp_path)


def test_a_mark_of_another_version_with_more_in_it_is_one(tmp_path, process):
    other = of_process(process)
    (tmp_path / NAME).write_text(json.dumps({**asdict(other), "of_a_later_version": [1]}))
    assert read_head(tmp_path) == other
    with pytest.raises(StudyError, match="is running already"):
        Running(tmp_path).begin()
    assert "of_a_later_version" in (tmp_path / NAME).read_text(), "its mark is left alone"


def test_a_killed_process_is_taken_over_at_once_and_what_it_left_is_told(tmp_path, process):
    died = of_process(process, temporary=("a/tmp.x",))
    mark(tmp_path, died)
    process.kill()
    process.wait()
    assert not is_running(tmp_path)
    assert Running(tmp_path).begin()[1] == died
    assert read_head(tmp_path).pid == os.getpid()


def test_a_number_that_another_process_has_now_means_nothing(tmp_path, process):
    mark(tmp_path, replace(of_process(process), started=1000.0))
    assert not is_running(tmp_path)
    assert not may_be_running(tmp_path)


HOURS = 3600


@pytest.fixture(params=[{"machine": "login2"}, {"boot": "of another machine of this name"}], ids=["name", "boot"])
def elsewhere(tmp_path, monkeypatch, request):
    """The mark of a process on another machine."""
    clock = SimpleNamespace(now=0.0, life=lambda: None)

    def sleep(seconds):
        clock.now += seconds
        assert clock.now < 1000, "it waits much longer than it says"
        clock.life()

    monkeypatch.setattr(head, "time", SimpleNamespace(time=time.time, monotonic=lambda: clock.now, sleep=sleep))
    mark(tmp_path, replace(this_process(), pid=os.getppid(), started=1000.0, **request.param))
    return tmp_path, clock


def show_life(folder, seconds_ago):
    then = time.time() - seconds_ago
    os.utime(folder / NAME, (then, then))


def test_a_process_of_another_container_is_named_as_one(elsewhere):
    """Its number is that of another process here, which nobody should be told to stop."""
    folder, clock = elsewhere
    boot, _ = this_process().boot.rsplit(" ", 1)
    mark(folder, replace(this_process(), pid=1, boot=f"{boot} pid:[1]"))
    clock.life = lambda: show_life(folder, 0)
    with pytest.raises(StudyError, match="process 1 of another container, or of the host, on ") as refused:
        Running(folder).begin()
    assert "stop it in that container (kill -INT 1)" in refused.value.remedy


clocks = pytest.mark.parametrize("behind_s", [0, 2 * HOURS, -2 * HOURS], ids=["same", "behind", "ahead"])


@clocks
def test_a_process_of_another_machine_that_shows_life_is_refused_whatever_its_clock(elsewhere, behind_s):
    folder, clock = elsewhere
    show_life(folder, behind_s + 10)
    clock.life = lambda: show_life(folder, behind_s)
    with pytest.raises(StudyError, match=f"process {os.getppid()} on "):
        Running(folder).begin()
    assert is_running(folder)
    assert may_be_running(folder)


@clocks
def test_a_process_of_another_machine_that_shows_no_more_life_is_taken_over_whatever_its_clock(elsewhere, behind_s):
    folder, clock = elsewhere
    show_life(folder, behind_s)
    assert Running(folder).begin()[1].pid == os.getppid()
    assert head.DEAD_AFTER_S <= clock.now < head.DEAD_AFTER_S + 5
    assert read_head(folder) == this_process(folder=folder)


def test_a_process_of_another_machine_that_ends_is_waited_for_no_longer(elsewhere):
    folder, clock = elsewhere
    clock.life = (folder / NAME).unlink
    Running(folder).begin()
    assert clock.now < 5


def test_a_process_of_another_machine_that_was_silent_for_a_day_is_dead_at_once(elsewhere):
    folder, clock = elsewhere
    show_life(folder, 25 * HOURS)
    assert not may_be_running(folder)
    assert not is_running(folder)
    assert clock.now == 0


@pytest.fixture
def hidden(elsewhere, process, monkeypatch):
    """The mark of a process of another user of this machine, whose processes the machine hides (/proc with hidepid)."""
    folder, clock = elsewhere
    mark(folder, of_process(process))
    pids = [pid for pid in psutil.pids() if pid != process.pid]

    send = os.kill

    def ask(pid, number):
        if number == 0:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        send(pid, number)

    monkeypatch.setattr(psutil, "pids", lambda: pids)
    monkeypatch.setattr(os, "kill", ask)
    monkeypatch.setattr(psutil, "Process", lambda pid=None: (_ for _ in ()).throw(psutil.NoSuchProcess(pid)))
    return folder, clock


@pytest.mark.parametrize("elsewhere", [{}], indirect=True)
def test_a_process_that_the_machine_hides_is_watched_as_one_of_another_machine(hidden):
    folder, clock = hidden
    show_life(folder, 10)
    assert may_be_running(folder)
    assert take_dead_mark(folder) is None
    clock.life = lambda: show_life(folder, 0)
    with pytest.raises(StudyError, match="is running already"):
        head.require_dead(read_head(folder), folder / NAME)
    clock.life = lambda: None
    head.require_dead(read_head(folder), folder / NAME)


def test_a_process_of_a_container_is_one_of_another_machine():
    """Its number is that of another process here."""
    own_space = ["unshare", "--pid", "--fork", "--mount-proc"]
    try:
        subprocess.run([*own_space, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        not_tested("namespaces", error)
    code = "from terralucas.study.head import this_process; print(this_process().boot)"
    command, environment = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": SCRIPTS}
    here, there = (
        subprocess.run(each, capture_output=True, text=True, check=True, env=environment).stdout.strip()
        for each in (command, [*own_space, *command])
    )
    assert here == this_process().boot
    assert there != here


def test_a_running_study_shows_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(head, "HEARTBEAT_S", 0.01)
    running = Running(tmp_path)
    running.begin()
    os.utime(tmp_path / NAME, (0, 0))
    deadline = time.monotonic() + 20
    while (tmp_path / NAME).stat().st_mtime == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.end()


def test_a_process_that_wakes_after_another_took_the_study_over_ends_and_leaves_the_mark(
    tmp_path, monkeypatch, process
):
    interrupted = threading.Event()
    monkeypatch.setattr(head, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(head, "_interrupt_this_process", interrupted.set)
    running = Running(tmp_path)
    running.begin()
    other = of_process(process)
    mark(tmp_path, other)
    os.utime(tmp_path / NAME, (0, 0))
    assert interrupted.wait(20)
    running.end()
    assert read_head(tmp_path) == other
    assert (tmp_path / NAME).stat().st_mtime == 0, "it shows no life for the other one"


def test_results_that_became_read_only_do_not_matter_at_the_end(tmp_path, monkeypatch):
    running = Running(tmp_path)
    running.begin()

    def unlink(self, missing_ok=False):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(head.Path, "unlink", unlink)
    running.end()
    monkeypatch.undo()
    assert (tmp_path / NAME).is_file()


def test_signs_of_life_are_several_before_one_counts_as_dead():
    assert head.DEAD_AFTER_S >= 4 * head.HEARTBEAT_S


def test_a_mark_that_cannot_be_read_is_none(tmp_path):
    (tmp_path / NAME).write_text("{")
    assert not is_running(tmp_path)
    assert Running(tmp_path).begin() == (this_process(folder=tmp_path), None)
    assert read_head(tmp_path) == this_process(folder=tmp_path)


def test_a_mark_that_this_user_may_not_read_is_that_of_a_process_that_may_live(tmp_path, process, monkeypatch):
    mark(tmp_path, of_process(process))
    text = (tmp_path / NAME).read_text()

    def refuse(self, *args, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(StudyError, match=rf"{NAME} cannot be"):
        Running(tmp_path).begin()
    monkeypatch.undo()
    assert (tmp_path / NAME).read_text() == text


@pytest.mark.parametrize("links", [True, False])
def test_of_processes_that_begin_at_the_same_moment_one_runs_the_study(tmp_path, links):
    """Each finds the mark of the same dead process, and removes it; also on a file system without links."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    mark(tmp_path, replace(of_process(dead), place=this_process(folder=tmp_path).place))
    dead.wait()
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom terralucas.errors import StudyError\n"
        "from terralucas.study.head import Running, read_head\n"
        "folder = Path(sys.argv[1])\n"
        + ("" if links else "os.link = lambda *paths: os.rename('/nowhere', '/there')\n")
        + "print(flush=True)\nsys.stdin.readline()\n"
        "try:\n    own, _ = Running(folder).begin()\nexcept StudyError:\n    print('refused', flush=True)\n"
        "else:\n    print(own == read_head(folder), flush=True)\nsys.stdin.readline()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command, environment = [sys.executable, "-c", code, str(tmp_path)], os.environ | {"PYTHONPATH": SCRIPTS}
    starts = [subprocess.Popen(command, env=environment, **pipes) for _ in range(6)]
    for start in starts:
        start.stdout.readline()
    for start in starts:
        start.stdin.write("\n")
        start.stdin.flush()
    said = sorted(start.stdout.readline().strip() for start in starts)
    for start in starts:
        start.communicate("\n")
    assert said == ["True", *["refused"] * 5]
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_mark_that_was_moved_aside_for_a_moment_is_not_that_of_a_process_that_died(tmp_path, monkeypatch):
    """Another start looked at it; what this process deletes for a dead one are then its own folders."""
    link = os.link

    def link_and_fail(source, target):
        link(source, target)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(os, "link", link_and_fail)
    assert Running(tmp_path).begin(("tmp.own",)) == (this_process(("tmp.own",), folder=tmp_path), None)


def test_no_process_begins_while_another_one_removes_a_mark(tmp_path, process, monkeypatch):
    """The mark of a third process may be moved aside at this moment, and two ran the study then."""
    dead, running = replace(of_process(process), pid=2**30), Running(tmp_path)
    mark(tmp_path, dead)
    rename, begun, seen = Path.rename, threading.Thread(target=running.begin), []

    def rename_and_wait(self, target):
        rename(self, target)
        begun.start()
        begun.join(0.3)
        seen.append((tmp_path / NAME).exists())

    monkeypatch.setattr(Path, "rename", rename_and_wait)
    head._remove_mark(tmp_path / NAME, dead)
    begun.join(10)
    assert seen == [False]
    assert read_head(tmp_path) == this_process(folder=tmp_path)
    running.end()


def test_the_mark_of_a_process_that_began_meanwhile_is_put_back(tmp_path, process):
    living = of_process(process)
    mark(tmp_path, living)
    head._remove_mark(tmp_path / NAME, replace(living, pid=5))
    assert read_head(tmp_path) == living
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_file_system_without_links_has_marks_too(tmp_path, monkeypatch):
    def link(source, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    running = Running(tmp_path)
    running.begin()
    assert read_head(tmp_path) == this_process(folder=tmp_path)
    running.end()
    assert list(tmp_path.iterdir()) == []


def test_a_process_of_another_machine_may_run_a_study_that_this_user_may_not_write_to(elsewhere, monkeypatch):
    folder, _ = elsewhere

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(head, "atomic_path", refuse)
    assert may_be_running(folder)
