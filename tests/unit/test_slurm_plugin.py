"""What is replaced in Snakemake and its SLURM plugin; the drill shows it on a real Slurm."""

import asyncio
import logging
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin
from snakemake.api import SnakemakeApi
from snakemake.executors.local import common_settings
from snakemake.jobs import GroupJob
from snakemake.logging import logger
from snakemake.settings.types import (
    DAGSettings,
    ExecutionSettings,
    OutputSettings,
    RemoteExecutionSettings,
    ResourceSettings,
    SchedulingSettings,
)
from snakemake.spawn_jobs import SpawnedJobArgsFactory
from snakemake_interface_logger_plugins.common import LogEvent

from _packs import patch_packs
from _slurm import TESTED_VERSIONS, patch_plugin
from terralucas.errors import StudyError

PLUGIN = "snakemake-executor-plugin-slurm"
REPLACED = (
    (plugin, "get_min_job_age"),
    (plugin, "query_job_status"),
    (GroupJob, "log_error"),
    (SpawnedJobArgsFactory, "general_args"),
)


def functions():
    """What may be replaced, as it is now."""
    return [*(getattr(owner, name) for owner, name in REPLACED), getattr(GroupJob, "rule", None)]


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    """Snakemake and the plugin are as they were after each test."""
    for owner, name in REPLACED:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    yield
    if "rule" in GroupJob.__dict__:
        del GroupJob.rule


class Controller:
    """A `scontrol` of a SLURM that remembers ended jobs for `min_job_age` seconds; None while it is away."""

    def __init__(self, folder):
        self.answer = folder / "answer"
        script = folder / "scontrol"
        script.write_text(f"#!/bin/sh\nexec cat '{self.answer}'\n")
        script.chmod(0o755)

    def set_min_job_age(self, seconds):
        self.answer.unlink(missing_ok=True)
        if seconds is not None:
            self.answer.write_text(f"MinJobAge               = {seconds} sec\n")


@pytest.fixture
def controller(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return Controller(tmp_path)


def settings(command="squeue", requeue=False):
    return SimpleNamespace(status_command=command, init_seconds_before_status_checks=10, requeue=requeue)


@pytest.mark.parametrize(("at_start", "later"), [(300, 300), (None, sys.maxsize)])
def test_squeue_is_kept_to_while_the_controller_is_away(controller, at_start, later):
    controller.set_min_job_age(at_start)
    patch_plugin(settings())
    controller.set_min_job_age(None)
    assert plugin.get_min_job_age() == later


def test_a_slurm_that_forgets_too_soon_is_refused_unless_it_has_a_database(controller):
    controller.set_min_job_age(60)
    with pytest.raises(StudyError, match=r"MinJobAge 60 s[\s\S]*expected: 240 s"):
        patch_plugin(settings())
    patch_plugin(settings("sacct"))


@pytest.mark.parametrize(("requeue", "state"), [(False, "CANCELLED"), (True, "PREEMPTED")])
def test_a_preempted_job_is_over_where_slurm_may_not_requeue(tmp_path, requeue, state):
    states = tmp_path / "states"
    states.write_text("7|PREEMPTED\n8|RUNNING\n")
    patch_plugin(settings("sacct", requeue))
    found, _ = asyncio.run(plugin.query_job_status(f"cat '{states}'", logger))
    assert found == {"7": state, "8": "RUNNING"}


def test_a_status_check_that_fails_stays_a_failed_one(tmp_path):
    patch_plugin(settings("sacct"))
    assert asyncio.run(plugin.query_job_status(f"cat '{tmp_path / 'absent'}'", logger)) == (None, None)


def test_another_version_of_the_plugin_stops_before_anything_is_replaced(tmp_path, monkeypatch):
    before = functions()
    metadata = tmp_path / f"{PLUGIN.replace('-', '_')}-2.9.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {PLUGIN}\nVersion: 2.9.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StudyError) as stopped:
        patch_plugin(settings())
    assert stopped.value.found == f"{PLUGIN} 2.9.0"
    assert stopped.value.expected == "2.8.0"
    assert stopped.value.remedy == f"pip install {PLUGIN}==2.8.0"
    assert functions() == before


async def query_with_a_timeout(command, logger, timeout):
    """The plugin's function as another version might have it."""


@pytest.mark.parametrize(
    ("owner", "name", "other", "patch", "found"),
    [
        (plugin, "get_min_job_age", None, lambda: patch_plugin(settings()), "no such function"),
        (plugin, "query_job_status", query_with_a_timeout, lambda: patch_plugin(settings()), "timeout"),
        (GroupJob, "log_error", lambda self, message: None, patch_packs, "message"),
        (SpawnedJobArgsFactory, "general_args", lambda self: "", patch_packs, r"general_args\(self\)"),
    ],
)
def test_a_function_that_changed_stops_before_anything_is_replaced(monkeypatch, owner, name, other, patch, found):
    monkeypatch.setattr(owner, name, other)
    before = functions()
    with pytest.raises(StudyError, match=rf"found: .*{found}"):
        patch()
    assert functions() == before


def test_a_pack_that_has_a_rule_of_its_own_stops_before_anything_is_replaced():
    GroupJob.rule = "there already"
    before = functions()
    with pytest.raises(StudyError, match=r"found: GroupJob\.rule is there"):
        patch_packs()
    assert functions() == before


def test_the_version_that_is_locked_was_tested():
    lock = (Path(__file__).parents[2] / "requirements.lock").read_text(encoding="utf-8")
    assert re.findall(rf"^{PLUGIN}==(\S+)", lock, re.MULTILINE)[0] in TESTED_VERSIONS


def test_slurm_without_packs_leaves_snakemake_as_it_is(controller):
    before = functions()[2:]
    controller.set_min_job_age(300)
    patch_plugin(settings())
    assert functions()[2:] == before


def test_a_pack_passes_on_what_slurm_says_and_has_a_rule():
    patch_packs()
    member = SimpleNamespace(
        rule=SimpleNamespace(name="train_run"), get_log_error_info=lambda **_: {"jobid": 1}, log_error=lambda **_: None
    )
    pack = object.__new__(GroupJob)
    pack._groupid, pack._jobs = "pack", [member]
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger.addHandler(handler)
    try:
        pack.log_error("SLURM status is: 'OUT_OF_MEMORY'", aux_logs=["7.log"])
    finally:
        logger.removeHandler(handler)
    (record,) = (each for each in records if getattr(each, "event", None) == LogEvent.GROUP_ERROR)
    assert (record.said, record.aux_logs) == ("SLURM status is: 'OUT_OF_MEMORY'", ["7.log"])
    assert pack.rule.name == "train_run"


def test_the_processes_that_snakemake_starts_keep_going(tmp_path):
    """With Snakemake's own arguments before: --keep-incomplete is one that it does hand on."""
    snakefile = tmp_path / "Snakefile"
    snakefile.write_text("rule all:\n    output: 'out'\n")
    with SnakemakeApi(OutputSettings(quiet=set())) as api:
        workflow = api.workflow(ResourceSettings(cores=1), snakefile=snakefile, workdir=tmp_path)._workflow
        workflow.dag_settings = DAGSettings()
        workflow.execution_settings = ExecutionSettings(keep_going=True, keep_incomplete=True)
        workflow.remote_execution_settings = RemoteExecutionSettings()
        workflow.scheduling_settings = SchedulingSettings()
        assert "--keep-going" not in workflow.spawned_job_args_factory.general_args(common_settings)
        patch_packs()
        arguments = workflow.spawned_job_args_factory.general_args(common_settings).split()
    assert {"--keep-incomplete", "--keep-going"} <= set(arguments)
