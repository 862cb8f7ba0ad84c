"""A study is run by one process at a time, and the next start deletes what a killed one left."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from helpers.project import results
from terralucas.study.head import NAME, seconds_after_boot, this_process

pytestmark = pytest.mark.workflow


@pytest.fixture
def other():
    """Another process of this machine."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    yield replace(this_process(), pid=process.pid, started=seconds_after_boot(process.pid))
    process.kill()
    process.wait()


def start(study, *arguments):
    return study.snakemake("--cores", 2, "--configfile", "config/small.yaml", *arguments, check=False)


def test_a_second_process_is_refused_also_after_unlock(study, other):
    folder = results(study)
    report = (folder / "report.html").read_bytes()
    (folder / NAME).write_text(json.dumps(asdict(other)))
    try:
        assert start(study, "--unlock").returncode == 0
        refused = start(study, "--forcerun", "build_report")
        assert refused.returncode != 0
        assert "is running already" in refused.output
        assert f"process {other.pid} on this machine" in refused.output
        assert "Traceback" not in refused.output
        assert (folder / "report.html").read_bytes() == report
        assert (folder / NAME).is_file(), "the mark of the other process"
    finally:
        (folder / NAME).unlink()


def test_a_start_with_nothing_to_do_deletes_what_a_killed_one_left(study):
    folder = results(study)
    run = next(folder.glob("runs/*/*/*/*"))
    scripts = study.folder / ".snakemake" / "scripts"
    left = [run / "resume.ckpt", run / ".metrics.json.abc.tmp", scripts / "tmpabc.train_run.py"]
    others = scripts / "tmpdef.train_run.py"
    for path in left:
        path.write_text(f"# results/{folder.name}/logs/train_run")
    others.write_text(f"# results/another/logs/build_report, results/{folder.name}/tables")
    done = start(study)
    assert "Nothing to be done" in done.output
    assert [path for path in left if path.exists()] == []
    assert others.exists(), "of another study, which may be running"
    others.unlink()


def test_the_next_start_deletes_the_folders_of_a_killed_one_and_its_own_mark(study):
    folder = results(study)
    temporary = study.folder / ".snakemake" / "tmp.killed"
    temporary.mkdir()
    dead = replace(this_process((str(temporary),)), started=1000.0)
    (folder / NAME).write_text(json.dumps(asdict(dead)))
    done = start(study, "--forcerun", "build_report")
    assert done.returncode == 0, done.output[-2000:]
    assert not temporary.exists()
    assert not (folder / NAME).exists()
    shutil.rmtree(temporary, ignore_errors=True)
