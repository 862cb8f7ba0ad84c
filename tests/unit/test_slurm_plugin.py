"""What is mended of Snakemake's SLURM plugin; the drill shows it on a real Slurm."""

import asyncio
import logging
import sys
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin
from snakemake.jobs import GroupJob
from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from _slurm import mend_plugin
from terralucas.errors import StudyError


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    """The plugin is as it was after each test."""
    for owner, name in ((plugin, "get_min_job_age"), (plugin, "query_job_status"), (GroupJob, "log_error")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    yield
    if "rule" in GroupJob.__dict__:
        del GroupJob.rule


def settings(command="squeue", requeue=False):
    return SimpleNamespace(status_command=command, init_seconds_before_status_checks=10, requeue=requeue)


@pytest.mark.parametrize(("at_start", "later"), [(300, 300), (None, sys.maxsize)])
def test_squeue_is_kept_to_while_the_controller_is_away(monkeypatch, at_start, later):
    answers = iter([at_start])
    monkeypatch.setattr(plugin, "get_min_job_age", lambda: next(answers, None))
    mend_plugin(settings())
    assert [plugin.get_min_job_age() for _ in range(2)] == [later, later]


def test_a_slurm_that_forgets_too_soon_is_refused_unless_it_has_a_database(monkeypatch):
    monkeypatch.setattr(plugin, "get_min_job_age", lambda: 60)
    with pytest.raises(StudyError, match=r"MinJobAge 60 s[\s\S]*expected: 240 s"):
        mend_plugin(settings())
    mend_plugin(settings("sacct"))


@pytest.mark.parametrize(("requeue", "state"), [(False, "CANCELLED"), (True, "PREEMPTED")])
def test_a_preempted_job_is_over_where_slurm_may_not_requeue(monkeypatch, requeue, state):
    async def query(command, log):
        return {"7": "PREEMPTED", "8": "RUNNING"}, 0.1

    monkeypatch.setattr(plugin, "query_job_status", query)
    mend_plugin(settings("sacct", requeue))
    assert asyncio.run(plugin.query_job_status("squeue", None)) == ({"7": state, "8": "RUNNING"}, 0.1)


def test_a_pack_passes_on_what_slurm_says_and_has_a_rule():
    mend_plugin(settings("sacct"))
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
