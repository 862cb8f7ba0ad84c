# What a session does when it begins, starts a study, ends well or with failures, and at the end of a dry run.
import logging
import os
import shutil

from execution.cluster.prepare import check_before_jobs, prepare_cluster, temporary_folders
from execution.slurm.slurm_configuration import keep_configuration
from execution.start.dry_run import end_dry_run, hide_jobs
from execution.records.earlier_outputs import remove_mixtures
from execution.end.at_exit import at_exit
from execution.records.finished_runs import describe_danger, patch_deletion
from execution.jobs.fork_jobs import fork_jobs
from execution.slurm.earlier_jobs import check_choice
from execution.start.interpreter import describe_optimization, describe_path
from execution.end.leftovers import (
    clean_own_logs,
    end_without_jobs,
    let_empty_folders_stay,
    remove_study_leftovers,
)
from execution.records.made_with import MadeWith, compares_settings, remember_accepted, require_fitting_results
from execution.cluster.missing_files import fail_without_job
from execution.jobs.orphans import end_with_parent, name_snakemake
from execution.records.own_start import know_start, require_own_settings
from execution.start.planned_inputs import require_pixel_size, require_planned_inputs
from execution.jobs.scheduler import survive_full_temporary_folder
from execution.start.run_status import finished_runs, planned_runs, runs_of_other_settings
from execution.start.refusals_of_start import (
    name_folder,
    say,
    stop_at_study_error,
    stop_beside_another_process,
    take_interrupts,
)
from execution.start.start_checks import (
    require_folders,
    require_no_deletion_beside,
    require_no_run_again,
    require_readable,
    require_settings_of_configuration,
    require_start_that_waits,
    require_temporary_folder,
    require_writable,
    require_writable_outputs,
    tell_outputs_that_cannot_be_replaced,
)
from execution.end.stop import EndJobsAtInterrupt, StopAtChangedCode, StopAtFailedCheck
from execution.end.stopped import StudyStoppedError
from execution.start.terminal import Terminal, show_progress
from terralucas.study.registration import plan_of, register


include: "dry_run.smk"


# Rules that check chips, splits and settings. Where one fails, the chips or the configuration must be corrected, which may
# change what all others are made of: the study stops there, though other failures leave the runs that do not depend on them
# to be finished (keep-going in profiles/default). Audits should come before feature passes. They are no inputs of these,
# because a new input would make Snakemake repeat the passes of finished studies; a higher priority does it.
CHECKS = ("index_chips", "split_chips", "audit_treatment", "audit_tuning")
RECORDS = run_files("run.yaml")


def check_planned_runs():
    """Refuse a start that would train finished runs again for a report of what is there, that would keep results of other
    settings, code or data, or whose jobs need what is known to be unusable.
    """
    if config["report"]["unfinished_runs"] == "name":
        again = planned_runs(workflow.dag) & finished_runs(all_runs(), RECORDS)
        require_no_run_again([run for run in all_runs() if run in again])
    if not compares_settings(workflow):
        workflow.logger_manager.logger.warning(
            "--rerun-triggers without params: results of another configuration, code or data are kept. The tables refuse runs "
            "of other settings; splits, features and figures are not compared."
        )
    require_settings_of_configuration(runs_of_other_settings(workflow), Path(RESULTS))
    require_fitting_results(workflow, Path(RESULTS))
    require_planned_inputs(workflow.dag, config, Path(DOWNLOADS))
    require_pixel_size(workflow.dag, DATASET["pixel_size_m"], Path(RESULTS, "data/report.json"))


def find_handler(kind):
    """Return this start's own handler of Snakemake's messages of a class; None if it ended before it had one."""
    return next((each for each in workflow.logger_manager.logger.handlers if isinstance(each, kind)), None)


def accept():
    """Remember what a start without jobs takes for finished."""
    remember_accepted(workflow, Path(RESULTS))


PATHS = name_folder(workflow)

if workflow.is_main_process:
    take_interrupts()
    clean_own_logs()
    keep_configuration()
    if problem := describe_path(sys.executable) or describe_optimization(sys.flags.optimize):
        raise StudyStoppedError(problem)
    stop_at_study_error(check_choice, EARLIER_JOBS)
    stop_at_study_error(require_readable, Path(RESULTS))
    # A damaged index is told here, without the lines of the rules that ask for the size of their jobs.
    get_dataset_size()
    stop_at_study_error(require_folders, workflow.rules, Path(".snakemake"), Path(DOWNLOADS))
    # Snakemake's records and lock; without this it ends with a traceback.
    require_writable(Path(".snakemake"))
    if workflow.output_settings.dryrun:
        # Snakemake calls no hook at the end of a dry run.
        at_exit(end_dry_run, workflow, check_planned_runs, print_dry_run)
        hide_jobs(workflow)
    else:
        # On a full disk, lines for Snakemake's log are lost; those for the terminal, and its errors, are not.
        logging.raiseExceptions = False
        require_temporary_folder()
        stop_at_study_error(require_no_deletion_beside, Path(RESULTS), sys.argv[1:])
        at_exit(end_without_jobs, workflow, check_planned_runs, accept, Path(RESULTS), RECORDS)
# In every process that starts jobs: here, and on the nodes.
name_snakemake()
stop_at_study_error(fork_jobs, workflow, FORK_JOBS)
UNPROTECTED = patch_deletion()
tell_outputs_that_cannot_be_replaced()
if not workflow.is_main_process:
    stop_at_study_error(know_start, SUBMITTED_BY, Path(RESULTS))
    stop_at_study_error(require_own_settings, SETTINGS)
    at_exit(fail_without_job, workflow)
    if "SLURM_JOB_ID" in os.environ:
        end_with_parent()


onstart:
    for folder in temporary_folders(workflow):
        # Snakemake deletes it at its end, but not where the study is refused below.
        at_exit(shutil.rmtree, folder, True)
    stop_at_study_error(require_start_that_waits, workflow.remote_execution_settings)
    require_writable(Path(RESULTS))
    require_writable_outputs(workflow.dag.needrun_jobs())
    stop_at_study_error(check_before_jobs, check_planned_runs, workflow, Path(RESULTS))
    mark = start = None
    # Rules that only name targets have no outputs.
    if any(job.output for job in workflow.dag.needrun_jobs()):
        mark = stop_at_study_error(
            stop_beside_another_process, Path(RESULTS), temporary_folders(workflow), code_of_start, SETTINGS
        )
        start = mark.start
        stop_at_study_error(know_start, start, Path(RESULTS))
    if not workflow.local_exec:
        stop_at_study_error(prepare_cluster, workflow, Path(RESULTS), start, EARLIER_JOBS)
        if UNPROTECTED:
            workflow.logger_manager.logger.warning(describe_danger(UNPROTECTED))
    survive_full_temporary_folder(workflow.scheduler, workflow.logger_manager.logger)
    # After jobs of earlier starts have ended.
    remove_mixtures(workflow)
    if mark is not None:
        workflow.logger_manager.logger.addHandler(MadeWith(workflow, Path(RESULTS), start))
    let_empty_folders_stay(workflow.dag)
    finished = len(finished_runs(all_runs(), RECORDS))
    stop_at_study_error(register, Path(RESULTS, "registration.json"), plan_of(config), finished)
    show_progress(workflow, len(all_runs()), finished)
    # After the terminal, which shows the failure before this says what follows from it.
    workflow.logger_manager.logger.addHandler(
        StopAtFailedCheck(workflow.scheduler, CHECKS, workflow.logger_manager.logger)
    )
    workflow.logger_manager.logger.addHandler(EndJobsAtInterrupt())
    if mark is not None:
        schemas = Path(workflow.basedir) / "workflow" / "schemas"
        workflow.logger_manager.logger.addHandler(
            StopAtChangedCode(
                workflow.scheduler, workflow.rules, mark.code, schemas, workflow.logger_manager.logger
            )
        )


onsuccess:
    made_with = find_handler(MadeWith)
    # Another process may have taken this one for dead, and run the study now.
    if made_with is not None and made_with.end(workflow):
        stop_at_study_error(made_with.require_unchanged)
        remove_study_leftovers(Path(RESULTS), RECORDS)
    # With --until, Snakemake looks at no report, which may be older than the runs.
    if any(job.rule.name == "build_report" for job in workflow.dag.jobs):
        say(f"The report is at {Path(RESULTS, 'report.html').resolve()}")


onerror:
    made_with, terminal = find_handler(MadeWith), find_handler(Terminal)
    if made_with is not None:
        made_with.end(workflow)
    if terminal is not None:
        terminal.show_failures()
    if PATHS:
        say(f"In these messages, {PATHS}.")
    say("What you asked for is not finished. What is finished is kept: start it again, and it goes on from there.")
