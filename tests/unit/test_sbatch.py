"""Submissions through a site's own sbatch: it may hang, and say more than the id of a job."""

import logging
import subprocess
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin

from execution.slurm import sbatch as _sbatch
from execution.slurm.sbatch import PluginSubprocess, Sbatch


@pytest.fixture
def said():
    return []


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def write(name, script):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    return write


@pytest.fixture
def sbatch(said):
    logger = logging.Logger("slurm", logging.INFO)
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    return Sbatch(lambda: "study_uuid", logger)


def submit(sbatch, text=None):
    """As the plugin does."""
    process = PluginSubprocess(sbatch).Popen("sbatch --parsable", shell=True, text=True, stdin=subprocess.PIPE)
    output, errors = process.communicate(input=text)
    return process.returncode, output, errors


def test_an_sbatch_that_hangs_is_said_and_given_up_with_what_it_started(sbatch, said, write, tmp_path, monkeypatch):
    for name, seconds in (("_LOOK_S", 0.1), ("_SILENCE_S", 0.1), ("_PATIENCE_S", 0.4)):
        monkeypatch.setattr(_sbatch, name, seconds)
    write("sbatch", f"sh -c 'sleep 10; echo > {tmp_path}/late'; exit 0")
    assert submit(sbatch) == (1, "", "no answer of sbatch within 0 s")
    assert not (tmp_path / "late").exists()
    (line,) = said
    assert line.startswith("SLURM: sbatch has not answered for 0 s. It is started again after 0 s; a job that SLURM")


def test_a_tip_of_the_site_about_failed_submissions_is_no_failure(sbatch, write):
    write("sbatch", "echo 'Tip: was your job submission failed? See our wiki' >&2; echo '19;lab'")
    assert submit(sbatch) == (0, "19;lab\n", "")


def test_a_failed_submission_without_an_id_is_one(sbatch, write):
    write("sbatch", "echo 'Batch job submission failed' >&2")
    assert submit(sbatch) == (0, "", "Batch job submission failed\n")


def test_sbatch_reads_the_script_of_a_job(sbatch, write):
    write("sbatch", "cat /dev/stdin >&2")
    assert submit(sbatch, "#!/bin/sh\ntrue")[2] == "#!/bin/sh\ntrue"


def test_a_question_of_the_plugin_that_is_not_answered_fails(sbatch, write, monkeypatch):
    for name in ("_LOOK_S", "_QUESTION_S"):
        monkeypatch.setattr(_sbatch, name, 0.2)
    write("sacctmgr", "sleep 10 & wait")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        PluginSubprocess(sbatch).check_output(["sacctmgr", "-n"], text=True, stderr=subprocess.PIPE)
    assert failed.value.stderr == "no answer of sacctmgr within 0 s"


def test_the_plugins_report_of_efficiency_ends_where_sacct_hangs(sbatch, write, monkeypatch):
    """`--slurm-efficiency-report`, after the last job of the study."""
    for name in ("_LOOK_S", "_QUESTION_S"):
        monkeypatch.setattr(_sbatch, name, 0.1)
    monkeypatch.setattr(plugin.efficiency_report, "subprocess", PluginSubprocess(sbatch))
    write("sacct", "sleep 20")
    errors = []
    logger = SimpleNamespace(warning=errors.append, error=errors.append)
    assert plugin.efficiency_report.get_sacct_data("uuid", logger) is None
    assert errors == ["Failed to retrieve job data for workflow uuid."]
    write("sacct", "echo '7|a'; echo '8|b'")
    assert plugin.efficiency_report.get_sacct_data("uuid", logger) == ["7|a", "8|b"]
