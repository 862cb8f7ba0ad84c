"""What is replaced in Snakemake and its SLURM plugin; the drill shows it on a real Slurm."""

import asyncio
import logging
import os
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin
from snakemake.api import SnakemakeApi
from snakemake.executors.local import common_settings
from snakemake.jobs import GroupJob
from snakemake.logging import logger
from snakemake.resources import Resource
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

from execution.cluster.packs import patch_packs
from execution.slurm.plugin import TESTED_VERSIONS, patch_plugin, prepare_slurm
from execution.slurm.slurm_configuration import keep_configuration
from execution.slurm.submissions import Submissions
from helpers.paths import SCRIPTS
from terralucas.errors import StudyError

PLUGIN = "snakemake-executor-plugin-slurm"
REPLACED = (
    (plugin, "get_min_job_age"),
    (plugin, "is_query_tool_available"),
    (plugin, "query_job_status"),
    (plugin, "subprocess"),
    (plugin.accounts, "subprocess"),
    (plugin.partitions, "subprocess"),
    (plugin.efficiency_report, "subprocess"),
    (plugin, "create_efficiency_report"),
    (plugin, "validate_or_get_slurm_job_id"),
    (plugin.Executor, "run_job"),
    (plugin.Executor, "cancel"),
    (plugin.Executor, "report_job_error"),
    (plugin.Executor, "_report_job_error_threadsafe"),
    (plugin.Executor, "_report_job_submission_threadsafe"),
    (plugin.Executor, "get_job_args"),
    (plugin.Executor, "get_job_exec_prefix"),
    (plugin.Executor, "additional_general_args"),
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


class Clients:
    """Slurm's clients, as shell scripts that a test writes."""

    def __init__(self, folder):
        self.folder = folder
        self.set_min_job_age(300)
        for name in ("sbatch", "squeue", "scancel"):
            self.write(name, "echo 'JOBID|STATE|NAME'" if name == "squeue" else "exit 0")

    def write(self, name, script):
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def set_min_job_age(self, seconds):
        """A controller that remembers ended jobs for so long; None while it is away."""
        self.write("scontrol", "exit 1" if seconds is None else f"echo 'MinJobAge               = {seconds} sec'")


@pytest.fixture
def clients(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return Clients(tmp_path)


def executor(command="squeue", requeue=False, array_jobs=None, logs="/study/.snakemake/slurm_logs"):
    settings = SimpleNamespace(
        status_command=command, init_seconds_before_status_checks=10, requeue=requeue, array_jobs=array_jobs
    )
    workflow = SimpleNamespace(executor_settings=settings, rules=[], scheduler=SimpleNamespace(_user_kill=None))
    return SimpleNamespace(workflow=workflow, run_uuid="uuid", _failed_nodes={"n7"}, slurm_logdir=Path(logs))


def ask(command):
    return asyncio.run(plugin.query_job_status(command, logger))[0]


@pytest.mark.parametrize("at_start", [300, None])
def test_squeue_is_kept_to_while_the_controller_is_away_and_sacct_never_asked(clients, at_start):
    clients.write("sacct", "sleep 1000")
    clients.set_min_job_age(at_start)
    patch_plugin(executor(), logger)
    clients.set_min_job_age(None)
    assert plugin.get_min_job_age() == at_start
    assert not plugin.is_query_tool_available("sacct")


def test_a_slurm_that_forgets_too_soon_is_refused_unless_it_has_a_database(clients):
    clients.set_min_job_age(60)
    clients.write("sacct", "exit 0")
    with pytest.raises(StudyError, match=r"MinJobAge 60 s[\s\S]*expected: 240 s"):
        patch_plugin(executor(), logger)
    patch_plugin(executor("sacct"), logger)


def test_a_slurm_that_never_forgets_is_fine(clients):
    """MinJobAge=0, as its manual says."""
    clients.set_min_job_age(0)
    patch_plugin(executor(), logger)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("19", "19"),
        ("19;cluster2", "19"),
        ("Project 4711: 1200 of 5000 hours used\n19", "19"),
        ("4 nodes of 7 are free\n19;north\n", "19"),
        ("Submitted batch job 23", "23"),
        # SLURM knows which is a job of this session.
        ("Budget left:\n4711\n19\nRemaining:\n12", "19"),
        ("", ""),
        ("4 of 7 nodes", ""),
        ("0\nSubmitted batch job 55", "55"),
        ("\x1b[32m19\x1b[0m;north", "19"),
        ("  19 \r\n", "19"),
        ("0", ""),
    ],
)
def test_the_id_of_a_job_is_found_where_sbatch_of_a_site_says_more(clients, output, expected):
    clients.write(
        "squeue",
        """case "$*" in *--name*uuid*) echo '18|RUNNING'; echo '19|PENDING';; *) echo '4711|RUNNING';; esac""",
    )
    patch_plugin(executor(), logger)
    assert plugin.validate_or_get_slurm_job_id(output.partition("\n")[0].split(";")[0], output) == expected


def test_an_id_that_slurm_cannot_tell_is_none(clients):
    clients.write("squeue", "exit 1")
    patch_plugin(executor(), logger)
    assert plugin.validate_or_get_slurm_job_id("4711", "4711\n19\n") == ""


def test_a_job_runs_its_rules_in_one_snakemake_that_outlives_sigterm_and_has_the_cores_of_the_job(clients, monkeypatch):
    monkeypatch.setattr(plugin.Executor, "get_job_args", lambda self, job: "--target-jobs x --cores all")
    mine = executor()
    patch_plugin(mine, logger)
    parts = (
        plugin.Executor.get_job_exec_prefix(mine, None),
        plugin.Executor.get_job_args(mine, SimpleNamespace(threads=3)),
        plugin.Executor.additional_general_args(mine),
    )
    assert parts == ("trap : TERM", "--target-jobs x --cores all --cores 3", "--executor local")


def test_neither_account_nor_partition_is_guessed(clients):
    of = executor()
    patch_plugin(of, logger)
    assert of._fallback_account_arg == "", "None would ask sacct"
    assert of._fallback_partition == "", "None would ask sinfo; SLURM has a default"


def test_filters_of_the_users_shell_do_not_hide_jobs(clients, tmp_path, monkeypatch):
    for name in ("SQUEUE_PARTITION", "SQUEUE_STATES", "SCANCEL_STATE", "SBATCH_ARRAY_INX", "SBATCH_WAIT"):
        monkeypatch.setenv(name, "short")
    monkeypatch.setenv("SBATCH_ACCOUNT", "lab")
    clients.write("squeue", 'test -z "$SQUEUE_PARTITION$SQUEUE_STATES" || exit 1; echo "JOBID|STATE"')
    prepare_slurm(executor(), tmp_path, "cancel", logger)
    left = [name for name in os.environ if name.startswith(("SQUEUE_", "SCANCEL_", "SBATCH_ARRAY", "SBATCH_WAIT"))]
    assert left == ["SQUEUE_ALL"], "which shows jobs in hidden partitions"


def test_every_question_to_squeue_is_about_all_partitions():
    """Of jobs in a partition with Hidden=YES, squeue tells other users than root only with --all, also of their own."""
    texts = [file.read_text(encoding="utf-8") for file in (SCRIPTS / "execution").rglob("*.py")]
    assert not any('["squeue"' in text for text in texts)
    assert sum(text.count("[*SQUEUE, ") for text in texts) == 9


def test_a_study_inside_a_job_keeps_the_configuration_of_slurm_and_nothing_else_of_the_job(monkeypatch):
    monkeypatch.setattr(plugin, "delete_slurm_environment", plugin.delete_slurm_environment)
    given = {
        "SLURM_JOB_ID": "7",
        "SLURM_CONF": "/etc/lab/slurm.conf",
        "SLURM_CLUSTERS": "b",
        "SLURM_MEM_PER_CPU": "100",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    keep_configuration()
    plugin.delete_slurm_environment()
    assert {name: value for name, value in os.environ.items() if name.startswith("SLURM_")} == {
        "SLURM_CONF": "/etc/lab/slurm.conf",
        "SLURM_CLUSTERS": "b",
    }
    monkeypatch.delenv("SLURM_CONF")
    monkeypatch.delenv("SLURM_CLUSTERS")
    plugin.delete_slurm_environment()
    assert not [name for name in os.environ if name.startswith("SLURM_")]


def test_a_machine_without_slurm_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StudyError, match=r"found: no sbatch, squeue, scancel, scontrol in PATH[\s\S]*on a login node"):
        prepare_slurm(executor(), tmp_path, "cancel", logger)


def test_arrays_are_refused(clients, tmp_path):
    with pytest.raises(StudyError, match=r"found: slurm-array-jobs: train_run[\s\S]*packs of runs"):
        prepare_slurm(executor(array_jobs="train_run"), tmp_path, "cancel", logger)


@pytest.mark.parametrize(
    ("resources", "variables", "found"),
    [
        ({"slurm_cluster": "b"}, {}, "slurm_cluster in the resources of train_run"),
        ({"clusters": "b"}, {}, "clusters in the resources of train_run"),
        ({}, {"SBATCH_CLUSTERS": "b"}, "SBATCH_CLUSTERS=b"),
        ({}, {"SLURM_CLUSTERS": "a,b"}, "SLURM_CLUSTERS=a,b"),
    ],
)
def test_jobs_of_another_cluster_than_squeue_is_asked_for_are_refused(
    clients, tmp_path, monkeypatch, resources, variables, found
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    mine = executor()
    mine.workflow.rules = [SimpleNamespace(name="train_run", resources=resources)]
    with pytest.raises(StudyError, match=rf"found: {found}\n[\s\S]*export SLURM_CLUSTERS="):
        prepare_slurm(mine, tmp_path, "cancel", logger)


@pytest.mark.parametrize(
    "option",
    [
        *("--array=1-2", "--array 1-2", "-a 1-2", "-a1-2", "'-a1-2'", "--arr=1-2", "-Ha1-2"),
        *("--test-only", "--test", "-M b", "-Mb", "--clusters=b", "--cluster=b"),
        *("--wait", "-W", "-QW", "-OW", "--help", "-h", "-V"),
    ],
)
@pytest.mark.parametrize("in_profile", ["{}", '"{}"', "'--nice=5' if attempt == 1 else \"{}\""])
def test_options_that_make_something_else_of_a_job_are_refused(clients, tmp_path, option, in_profile):
    """The tasks of an array would run the same run at once in one folder.

    In a profile, the options are a text in quotes inside a text, which Snakemake reads as an expression.
    """
    mine = executor()
    text = in_profile.format(f"--mail-type=END {option}")
    extra = Resource("slurm_extra", "--nice=5", raw=text)
    mine.workflow.rules = [SimpleNamespace(name="train_run", resources={"slurm_extra": extra})]
    with pytest.raises(StudyError, match=rf"found: {shlex.split(option)[0]} in slurm_extra of train_run"):
        prepare_slurm(mine, tmp_path, "cancel", logger)


def test_a_folder_of_logs_that_is_a_pattern_of_sbatch_is_refused(clients, tmp_path):
    """Of /data/50%u, SLURM would write its logs into another folder, which is not there."""
    with pytest.raises(StudyError, match=r"(?s)/data/50%u/slurm_logs.*found: % in the path.*slurm-logdir"):
        prepare_slurm(executor(logs="/data/50%u/slurm_logs"), tmp_path, "cancel", logger)


def test_other_options_of_sbatch_are_taken(clients, tmp_path):
    mine = executor()
    extra = Resource(
        "slurm_extra",
        "--mail-user=me-a@b.org --wait-all-nodes=1 --reservation=x-M --exclude=n1 --account=a -A=a -Ca -c1",
    )
    mine.workflow.rules = [SimpleNamespace(name="train_run", resources={"slurm_extra": extra})]
    prepare_slurm(mine, tmp_path, "cancel", logger)


def test_one_cluster_that_all_commands_read_is_taken(clients, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_CLUSTERS", "b")
    prepare_slurm(executor(), tmp_path, "cancel", logger)


def test_a_failed_job_is_reported_with_what_is_known_of_it(clients, monkeypatch):
    said = []
    monkeypatch.setattr(plugin.Executor, "report_job_error", lambda self, job_info, msg, **kwargs: said.append(msg))
    mine = executor()
    patch_plugin(mine, logger)
    unknown = "It failed. Detailed failure reason unavailable (status command is not 'sacct')."
    plugin.Executor.report_job_error(mine, SimpleNamespace(external_jobid="7"), msg=unknown)
    plugin.Executor.report_job_error(mine, SimpleNamespace(external_jobid=None))
    # Snakemake adds its own sentence.
    assert said == ["It failed. ", ""]


def test_sacct_without_a_database_is_refused(clients):
    clients.write("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    with pytest.raises(StudyError, match=r"disabled[\s\S]*set slurm-status-command to squeue"):
        patch_plugin(executor("sacct"), logger)


def test_nodes_that_failed_are_not_excluded_and_those_the_user_excludes_are(clients):
    mine = executor()
    patch_plugin(mine, logger)
    mine._failed_nodes.add("n1")
    assert mine._failed_nodes == {"n7"}


def test_a_preempted_job_is_over_where_slurm_may_not_requeue(clients):
    clients.write("squeue", "printf '7|PREEMPTED\\n8|RUNNING\\n'")
    patch_plugin(executor(), logger)
    assert ask("squeue") == {"7": "CANCELLED", "8": "RUNNING"}


def test_a_preempted_job_is_no_failed_one(clients, monkeypatch):
    failed, again = [], []
    monkeypatch.setattr(
        plugin.Executor, "report_job_error", lambda self, job_info, msg, **kwargs: failed.append(job_info)
    )
    monkeypatch.setattr(Submissions, "submit_again", lambda self, job: again.append(job) or True)
    clients.write("squeue", "printf '7|PREEMPTED\\n8|FAILED\\n'")
    mine = executor()
    patch_plugin(mine, logger)
    ask("squeue")
    jobs = [SimpleNamespace(external_jobid=number, job=f"job {number}") for number in "78"]
    for job in jobs:
        plugin.Executor.report_job_error(mine, job, msg="It failed.")
    assert (again, failed) == (["job 7"], jobs[1:])


def test_a_name_makes_jobs_of_earlier_starts_known(clients, tmp_path):
    """The name of the study and where its results are: another copy of the project has other jobs."""
    clients.write("squeue", "echo 'JOBID|STATE'")
    names = []
    for folder in (tmp_path / "a" / "my study", tmp_path / "b" / "my study"):
        mine = executor()
        prepare_slurm(mine, folder, "cancel", logger)
        names.append(mine.run_uuid)
    assert [re.sub(r"-[0-9a-f]{8}_", "-HASH_", name) for name in names] == ["my-study-HASH_uuid"] * 2
    assert names[0] != names[1]


@pytest.mark.parametrize("answer", ["echo '1|2|3|4|5|6|7|8|9|10|11'", "exit 1"])
def test_a_report_of_efficiency_that_cannot_be_made_does_not_stop_a_finished_study(clients, tmp_path, answer):
    clients.write("squeue", "echo 'JOBID|STATE'")
    clients.write("sacct", answer)
    prepare_slurm(executor(), tmp_path / "study", "cancel", logger)
    said = []
    own = SimpleNamespace(warning=said.append, error=said.append, info=said.append, debug=said.append)
    plugin.create_efficiency_report(e_threshold=0.8, run_uuid="uuid", e_report_path=tmp_path, logger=own)
    assert len(said) == 1 and ("the efficiency report was not made" in said[0] or "Failed to retrieve" in said[0])


def test_another_version_of_the_plugin_stops_before_anything_is_replaced(tmp_path, monkeypatch):
    before = functions()
    metadata = tmp_path / f"{PLUGIN.replace('-', '_')}-2.9.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {PLUGIN}\nVersion: 2.9.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StudyError) as stopped:
        patch_plugin(executor(), logger)
    assert stopped.value.found == f"{PLUGIN} 2.9.0"
    assert stopped.value.expected == "2.8.0"
    assert stopped.value.remedy == f"pip install {PLUGIN}==2.8.0"
    assert functions() == before


async def query_with_a_timeout(command, logger, timeout):
    """The plugin's function as another version might have it."""


@pytest.mark.parametrize(
    ("owner", "name", "other", "patch", "found"),
    [
        (plugin, "get_min_job_age", None, lambda: patch_plugin(executor(), logger), "no such function"),
        (plugin, "query_job_status", query_with_a_timeout, lambda: patch_plugin(executor(), logger), "timeout"),
        (plugin.Executor, "cancel", lambda self, jobs: None, lambda: patch_plugin(executor(), logger), "jobs"),
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


def test_slurm_without_packs_leaves_snakemake_as_it_is(clients):
    def of_snakemake():
        return GroupJob.log_error, SpawnedJobArgsFactory.general_args, getattr(GroupJob, "rule", None)

    before = of_snakemake()
    patch_plugin(executor(), logger)
    assert of_snakemake() == before


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
