"""Prepares a session on SLURM: replaces functions of Snakemake's SLURM plugin with those of this study.

It lasts for the process that submits; nothing here changes what jobs compute.
"""

from __future__ import annotations

import ast
import logging
import os
import re
import shlex
import shutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import snakemake_executor_plugin_slurm as plugin
from snakemake.exceptions import WorkflowError

from execution.known_functions import require_parameters
from execution.slurm.cancellation import cancel_session
from execution.slurm.clients import Client
from execution.slurm.earlier_jobs import name_of_jobs, settle_earlier_jobs
from execution.slurm.job_commands import FUNCTIONS as COMMAND_FUNCTIONS
from execution.slurm.job_commands import run_jobs_in_one_process
from execution.slurm.job_states import JobStates
from execution.slurm.sbatch import PluginSubprocess, Sbatch
from execution.slurm.submissions import Submissions
from terralucas.errors import StudyError

# The functions are not part of the plugin's public interface: another version may use them in another way.
TESTED_VERSIONS = ("2.8.0",)

# Status checks grow up to 180 s apart, and a job that ends must still be remembered at the next.
_LONGEST_BETWEEN_CHECKS_S = 240

_ACCOUNTING_S = 60

# The jobs of an array train one run at once in one folder. A test or a help text submits nothing. With --wait, sbatch
# answers when the job is over. squeue and scancel do not know jobs of another cluster. sbatch accepts the first letters
# of a long option, and several short options in one word.
_OTHER_KINDS = ("array", "test-only", "wait", "clusters", "help", "usage", "version")
_OTHER_KINDS_SHORT = re.compile(r"-[EHIOQksv]*[aMWhV]")
_FEWEST_LETTERS = 2

_FUNCTIONS = (
    (plugin, "get_min_job_age", ()),
    (plugin, "is_query_tool_available", ("tool_name",)),
    (plugin, "query_job_status", ("command", "logger")),
    (plugin, "validate_or_get_slurm_job_id", ("job_id", "output")),
    (plugin, "create_efficiency_report", ("e_threshold", "run_uuid", "e_report_path", "logger")),
    (plugin.Executor, "run_job", ("self", "job")),
    (plugin.Executor, "cancel", ("self",)),
    (plugin.Executor, "report_job_error", ("self", "job_info", "msg", "kwargs")),
    (plugin.Executor, "_report_job_error_threadsafe", ("self", "job_info", "msg")),
    (plugin.Executor, "_report_job_submission_threadsafe", ("self", "job_info")),
    *COMMAND_FUNCTIONS,
)


# With it, squeue shows jobs in hidden partitions.
_ALL_PARTITIONS = "SQUEUE_ALL"


def prepare_slurm(executor: Any, results: Path, earlier_jobs: str, logger: logging.Logger) -> None:
    """Replace what the plugin needs replaced, and settle what earlier starts of the study left in the queue.

    Args:
        executor: the plugin's, before its first job.
        results: folder of the study.
        earlier_jobs: what becomes of SLURM jobs of earlier starts: cancel or report.
        logger: Snakemake's.

    Raises:
        StudyError: the plugin is not one that was tested, SLURM cannot tell how jobs ended, or the study was stopped.
    """
    _require_slurm()
    _refuse_arrays(executor.workflow.executor_settings.array_jobs)
    _refuse_other_clusters(executor.workflow.rules)
    _refuse_other_kinds_of_jobs(executor.workflow.rules)
    _refuse_patterns(executor.slurm_logdir)
    _forget_filters(logger)
    patch_plugin(executor, logger)
    # All jobs of this session have this name; none was submitted yet.
    name = name_of_jobs(results)
    executor.run_uuid = f"{name}{executor.run_uuid}"
    logger.info(f"Jobs are named {executor.run_uuid}")
    # At SIGTERM, Snakemake only remembers it.
    scheduler = executor.workflow.scheduler
    settle_earlier_jobs(name, earlier_jobs, logger, is_stopped=lambda: bool(scheduler._user_kill))


def patch_plugin(executor: Any, logger: logging.Logger) -> None:
    """Replace functions of the plugin for this executor.

    Raises:
        StudyError: the plugin is not one that was tested, or SLURM cannot tell how jobs ended.
    """
    _require_tested_plugin()
    run_jobs_in_one_process()
    # Without an account, the site's default counts. The plugin would ask sacct, which may hang without a database.
    executor._fallback_account_arg = ""
    # The plugin would read SLURM's default partition from what sinfo prints, in which a site may say more.
    executor._fallback_partition = ""
    settings = executor.workflow.executor_settings
    if settings.status_command == "squeue":
        _keep_to_squeue(settings.init_seconds_before_status_checks)
    else:
        _require_accounting()
    submissions = _replace_submissions(executor, logger)
    _run_sbatch(submissions.sbatch)
    _replace_queries(executor, submissions, logger)

    def cancel(self: Any) -> None:
        cancel_session(self, submissions, logger)

    plugin.Executor.cancel = cancel
    # SLURM itself takes a node out that failed, and knows when it is back. The plugin would exclude it until the end of
    # the study, which waits for ever where no other node can run its jobs.
    executor._failed_nodes = _Unchanged(executor._failed_nodes)


def _require_slurm() -> None:
    """Stop where this machine has not the commands of SLURM."""
    missing = [command for command in ("sbatch", "squeue", "scancel", "scontrol") if shutil.which(command) is None]
    if missing:
        raise StudyError(
            "This machine cannot submit SLURM jobs.",
            found=f"no {', '.join(missing)} in PATH",
            expected="the commands of SLURM",
            remedy="start the study on a login node of the cluster, perhaps after `module load slurm`; or run it on "
            "this machine alone: snakemake --cores 8, without --profile profiles/slurm",
        )


def _refuse_arrays(array_jobs: str | None) -> None:
    """Stop where the plugin would submit arrays, whose refusals it does not report one by one."""
    if array_jobs:
        raise StudyError(
            "Runs cannot be submitted as SLURM arrays.",
            found=f"slurm-array-jobs: {array_jobs}",
            expected="no such setting",
            remedy="take it out; packs of runs (group-components in profiles/slurm/config.yaml) save jobs as arrays do",
        )


def _refuse_other_kinds_of_jobs(rules: Iterable[Any]) -> None:
    """Stop where options of sbatch would make something else of a job than one job of this cluster."""
    found = {
        f"{option} in slurm_extra of {rule.name}"
        for rule in rules
        if "slurm_extra" in rule.resources
        for option in _find_other_kinds(str(rule.resources["slurm_extra"].raw))
    }
    if found:
        shown = sorted(found)[:3]
        raise StudyError(
            "Options of sbatch in slurm_extra change what a job is, or when sbatch answers.",
            found="; ".join(shown) + (f"; and {len(found) - 3} more" if len(found) > 3 else ""),
            expected="options with which sbatch submits one job of this cluster, and answers at once",
            remedy="take them out of slurm_extra; packs of runs (group-components) save jobs as arrays do",
        )


def _find_other_kinds(resource: str) -> list[str]:
    """Return the options with which sbatch does not submit one job of this cluster, and answer at once.

    A value that looks like such an option, as in `--comment "-W"`, is taken for one.

    Args:
        resource: as in the profile: options, or an expression of which Snakemake takes the value.
    """
    found = []
    for options in _texts_of(resource):
        try:
            words = shlex.split(options)
        except ValueError:  # a quote that is not closed, which the shell refuses
            words = options.split()
        for word in words:
            name = word[2:].split("=")[0]
            is_long = word.startswith("--") and any(kind.startswith(name) for kind in _OTHER_KINDS)
            if (is_long and len(name) >= _FEWEST_LETTERS) or _OTHER_KINDS_SHORT.match(word):
                found.append(word)
    return found


def _texts_of(resource: str) -> list[str]:
    """Return the texts in an expression; the resource itself if it is no expression, or one without a text."""
    try:
        nodes = list(ast.walk(ast.parse(resource.strip(), mode="eval")))
    except (SyntaxError, ValueError):
        return [resource]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return texts or [resource]


def _refuse_patterns(logs: Path) -> None:
    """Stop where the folder of SLURM's logs has a %, which sbatch takes for a pattern such as %j."""
    if "%" in str(logs):
        raise StudyError(
            f"SLURM cannot write logs into {logs}.",
            found="% in the path, with which sbatch writes numbers of jobs",
            expected="a path without it",
            remedy="rename the folder, or set another one in the profile (slurm-logdir)",
        )


def _refuse_other_clusters(rules: Iterable[Any]) -> None:
    """Stop where jobs would go to a cluster that squeue and scancel are not told of.

    SLURM_CLUSTERS is read by all commands alike.
    """
    names = ("slurm_cluster", "cluster", "clusters")
    set_by = {f"{name} in the resources of {rule.name}" for rule in rules for name in names if name in rule.resources}
    if "SBATCH_CLUSTERS" in os.environ:
        set_by.add(f"SBATCH_CLUSTERS={os.environ['SBATCH_CLUSTERS']}")
    several = os.environ.get("SLURM_CLUSTERS", "")
    if "," in several or several == "all":
        set_by.add(f"SLURM_CLUSTERS={several}")
    if set_by:
        raise StudyError(
            "All jobs of a study must be on one cluster, which all commands of SLURM ask.",
            found="; ".join(sorted(set_by)),
            expected="no such setting",
            remedy="take it out of the profile, or `unset` it; start on a login node of that cluster, or "
            "`export SLURM_CLUSTERS=<its name>` before the start",
        )


class _Unchanged(set[str]):
    """Names of nodes that the user excludes; nothing is added."""

    def add(self, element: str) -> None:
        """Add nothing."""


def _forget_filters(logger: logging.Logger) -> None:
    """Remove variables of the user's shell that hide jobs from squeue and scancel, or make sbatch submit otherwise.

    With SBATCH_ARRAY_INX each job would be several that do the same, and with SBATCH_WAIT sbatch would answer only when
    the job is over.
    """
    names = ("SBATCH_ARRAY_INX", "SBATCH_WAIT")
    found = sorted(name for name in os.environ if name.startswith(("SQUEUE_", "SCANCEL_")) or name in names)
    found = [name for name in found if name != _ALL_PARTITIONS]
    for name in found:
        del os.environ[name]
    # For the plugin's own calls; ours have the option (`execution.slurm.clients.SQUEUE`).
    os.environ[_ALL_PARTITIONS] = "1"
    if found:
        logger.info(
            f"SLURM: {', '.join(found)} of your shell are ignored; they would hide jobs of the study, or submit "
            "them in another way"
        )


def _run_sbatch(sbatch: Sbatch) -> None:
    """Give what the plugin starts for a submission a time limit, and find the id also where a site prints more."""
    for module in (plugin, plugin.accounts, plugin.partitions, plugin.efficiency_report):
        module.subprocess = PluginSubprocess(sbatch)
    report = plugin.create_efficiency_report

    def create_efficiency_report(e_threshold: float, run_uuid: str, e_report_path: Any, logger: Any) -> None:
        try:
            report(e_threshold, run_uuid, e_report_path, logger)
        except Exception as error:
            # The study is finished then: there may be no sacct, or one that says more.
            logger.warning(f"SLURM: the efficiency report was not made ({type(error).__name__}: {error})")

    plugin.create_efficiency_report = create_efficiency_report
    original = plugin.validate_or_get_slurm_job_id

    def guess(output: str) -> str:
        try:
            return str(original("", output))
        except WorkflowError:
            return ""

    plugin.validate_or_get_slurm_job_id = lambda job_id, output: sbatch.find_id(output, guess)


def _require_tested_plugin() -> None:
    """Stop before anything is replaced in a plugin whose code is not known."""
    installed = version("snakemake-executor-plugin-slurm")
    if installed not in TESTED_VERSIONS:
        raise StudyError(
            "This version of Snakemake's SLURM plugin was not tested: the study has to replace functions inside it.",
            found=f"snakemake-executor-plugin-slurm {installed}",
            expected=" or ".join(TESTED_VERSIONS),
            remedy=f"pip install snakemake-executor-plugin-slurm=={TESTED_VERSIONS[-1]}",
        )
    for owner, name, parameters in _FUNCTIONS:
        require_parameters(owner, name, parameters)


def _keep_to_squeue(seconds_before_checks: int) -> None:
    """Check once that SLURM remembers ended jobs for long enough, and never let the plugin turn to sacct.

    The plugin asks at every status check. While the controller is away it gets no answer and turns to sacct, which may
    be installed without a database: it fails or hangs there, and the study waits for its jobs for ever.
    """
    # None if the controller is away at this moment, too; SLURM remembers for 300 s unless a site says otherwise.
    remembered = plugin.get_min_job_age()
    needed = max(3 * seconds_before_checks, _LONGEST_BETWEEN_CHECKS_S)
    # Zero: SLURM forgets none.
    if remembered and remembered < needed:
        raise StudyError(
            "This SLURM forgets ended jobs too soon to ask squeue about them.",
            found=f"MinJobAge {remembered} s",
            expected=f"{needed} s: the longest time between two checks, and three times "
            "slurm-init-seconds-before-status-checks",
            remedy="set slurm-status-command to sacct where SLURM has an accounting database, or ask the "
            "site for a longer MinJobAge",
        )
    is_available = plugin.is_query_tool_available
    plugin.get_min_job_age = lambda: remembered
    plugin.is_query_tool_available = lambda tool_name: tool_name != "sacct" and is_available(tool_name)


def _require_accounting() -> None:
    """Stop where sacct has no database to ask; it would never tell that a job ended."""
    try:
        sacct = Client(["sacct", "--noheader", "--allocations", "--format=JobID", "--name=none"])
    except OSError:
        problem = "sacct is not installed"
    else:
        is_over = sacct.wait(_ACCOUNTING_S)
        if not is_over:
            sacct.kill()
        status, _, errors = sacct.finish()
        problem = errors.strip() if status != 0 or "disabled" in errors else ""
        if not is_over:
            problem = f"no answer within {_ACCOUNTING_S} s"
    if problem:
        raise StudyError(
            "sacct does not answer, so that the study could not learn how its jobs end.",
            found=problem,
            expected="a SLURM with an accounting database that answers",
            remedy="set slurm-status-command to squeue in profiles/slurm/config.yaml, or start again when the database "
            "is back",
        )


def _replace_submissions(executor: Any, logger: logging.Logger) -> Submissions:
    cls = plugin.Executor
    submissions = Submissions(
        executor, cls.run_job, cls._report_job_error_threadsafe, cls._report_job_submission_threadsafe, logger
    )
    cls.run_job = lambda self, job: submissions.submit(job)
    cls._report_job_error_threadsafe = lambda self, job_info, msg: submissions.refuse(job_info, msg)
    cls._report_job_submission_threadsafe = lambda self, job_info: submissions.accept(job_info)
    return submissions


def _replace_queries(executor: Any, submissions: Submissions, logger: logging.Logger) -> None:
    states = JobStates(submissions, lambda: executor.run_uuid, executor.workflow.executor_settings.requeue, logger)

    async def query_job_status(command: str, logger: Any) -> Any:
        return await states.query(command)

    plugin.query_job_status = query_job_status
    report = plugin.Executor.report_job_error

    def report_job_error(self: Any, job_info: Any, msg: str | None = None, **kwargs: Any) -> None:
        job = job_info.external_jobid
        if states.was_preempted(job) and submissions.submit_again(job_info.job):
            logger.info(f"SLURM: job {job} was preempted; it is submitted again, with the same memory and time.")
            return
        report(self, job_info, msg=states.explain(job_info.external_jobid, msg or ""), **kwargs)

    plugin.Executor.report_job_error = report_job_error
