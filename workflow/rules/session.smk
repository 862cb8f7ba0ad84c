# What a study shows in a dry run, when it starts, ends well or ends with failures, and what stops it early.
import atexit
import os
import shutil

from snakemake.settings.enums import Quietness

from _dry_run import HideJobs, downloads_section, require_no_run_again, results_section, runs_section
from _finished_runs import patch_deletion
from _interpreter import describe_path
from _orphans import end_with_parent
from _packs import patch_packs
from _stop import StopAtFailedCheck
from _terminal import RUN_RULES, Terminal
from terralucas.disk import check_writable, remove_leftovers, remove_scripts
from terralucas.study.head import Running, is_running
from terralucas.study.registration import plan_of, register

# Rules that check chips, splits and settings. Where one fails, the chips or the configuration must be corrected, which may
# change what all others are made of: the study stops there, though other failures leave the runs that do not depend on them
# to be finished (keep-going in profiles/default). An audit as an input of feature passes would come before them for certain,
# but a new input makes Snakemake repeat those of finished studies; so audits have a higher priority instead.
CHECKS = ("index_chips", "split_chips", "audit_treatment", "audit_tuning")


def stop_at_study_error(function, *arguments):
    """Call a function; its StudyError ends Snakemake with the message and no traceback."""
    try:
        function(*arguments)
    except StudyError as error:
        raise WorkflowError(str(error)) from None


def require_writable(folder):
    """Stop before any job where files cannot be made, with a message that says so."""
    stop_at_study_error(check_writable, Path(folder))


if workflow.is_main_process:
    if problem := describe_path(sys.executable):
        raise WorkflowError(problem)
    # Snakemake's records and lock; without this it ends with a traceback.
    require_writable(".snakemake")


def require_quotable_paths():
    """Stop where a path has characters that Snakemake and its SLURM plugin do not quote in the jobs' command lines."""
    for path in (Path.cwd(), workflow.main_snakefile, *workflow.overwrite_configfiles):
        if found := sorted(set("'$`\\\n") & set(str(path))):
            raise StudyError(
                f"SLURM jobs cannot be started from {path}.",
                found=f"{' '.join(found)} in the path",
                remedy="use a folder whose path has no quote ', $, ` or backslash; spaces and other letters work",
            )


def prepare_cluster():
    """Check and change what Snakemake needs to run jobs on a cluster."""
    require_quotable_paths()
    if workflow.group_settings.overwrite_groups:
        patch_packs()
    # A local rule fails on this machine as it did before; only jobs of the cluster end for reasons of their own.
    for each in workflow.rules:
        if workflow.is_local(each):
            each.restart_times = 0
    # The plugin is only installed for sure, and its settings only known, where it is the executor.
    if workflow.executor_plugin.name == "slurm":
        from _slurm import prepare_slurm

        prepare_slurm(workflow.scheduler._executor, Path(RESULTS), EARLIER_JOBS, workflow.logger_manager.logger)


RUNNING = Running(Path(RESULTS))


def stop_beside_another_process():
    """Mark the study as run by this process; stop where another one runs it, and delete what one that died left."""
    # Snakemake's own folder for scripts of jobs on a cluster, which it deletes at its end.
    temporary = () if workflow.local_exec else (workflow.scheduler._executor.tmpdir,)
    # Also where this process is refused, or anything else stops it before its first job.
    for path in temporary:
        atexit.register(shutil.rmtree, path, ignore_errors=True)
    died = RUNNING.begin(temporary)
    atexit.register(RUNNING.end)
    for path in died.temporary if died else ():
        shutil.rmtree(path, ignore_errors=True)


def remove_study_leftovers():
    """Delete what let a finished run of a pack that failed end again at once, and what killed jobs left."""
    for record in map(Path, run_files("run.yaml")):
        if record.is_file():
            remove_leftovers(record.parent, "resume.ckpt")
    # The log of a job is of its own study; another study may read this one's tables.
    remove_scripts(Path(".snakemake", "scripts"), f"{RESULTS}/logs/")


def tidy_up_at_exit():
    """Delete leftovers where nothing was to be done, of which Snakemake tells no hook."""
    if workflow.scheduler is not None and not len(workflow.dag) and not is_running(Path(RESULTS)):
        remove_study_leftovers()


if workflow.is_main_process and not workflow.output_settings.dryrun:
    atexit.register(tidy_up_at_exit)
# In every process that starts jobs: here, and on the nodes.
patch_deletion()
if not workflow.is_main_process and "SLURM_JOB_ID" in os.environ:
    end_with_parent()


def terminal_handlers():
    """What shows Snakemake's log on the terminal; none where a plugin for logging does."""
    handlers = workflow.logger_manager.logger.handlers
    return [handler for handler in handlers if handler.name == "DefaultStreamHandler"]


def finished_runs():
    """The runs of the grid that are finished, as (backbone, loss, decoder, seed)."""
    return {run for run, record in zip(all_runs(), run_files("run.yaml")) if Path(record).is_file()}


def planned_runs():
    """The runs that this session would do, as (backbone, loss, decoder, seed)."""
    jobs = workflow.dag.needrun_jobs(exclude_finished=False)
    wildcards = [job.wildcards for job in jobs if job.rule.name in RUN_RULES]
    return {(each.backbone, each.loss, each.decoder, each.seed) for each in wildcards}


def check_planned_runs():
    """Stop where a report of what is there would first train finished runs again."""
    if config["report"]["unfinished_runs"] == "name":
        require_no_run_again([run for run in all_runs() if run in planned_runs() & finished_runs()])


def end_dry_run():
    """Print the summary of a dry run, or end it with status 1 if the start itself would be refused."""
    # Snakemake makes the scheduler when it knows all jobs; before that an error ended it, which it has shown.
    if workflow.scheduler is None:
        return
    try:
        check_planned_runs()
    except StudyError as error:
        print(error, file=sys.stderr, flush=True)
        sys.stdout.flush()
        # An error at exit is shown, but leaves the exit status as it was.
        os._exit(1)
    print_dry_run()


def print_dry_run():
    """Print which runs a dry run plans, what would be downloaded and what is there."""
    jobs = list(workflow.dag.needrun_jobs(exclude_finished=False))
    outputs = {str(path) for job in jobs for path in job.output}
    planned = planned_runs()
    has_chips_to_retrieve = any(job.rule.name == "retrieve_chips" for job in jobs)
    fetched = [job.wildcards.backbone for job in jobs if job.rule.name == "fetch_weights"]
    sections = (
        runs_section(all_runs(), planned, finished_runs()),
        downloads_section(
            without_secrets(config)["dataset"]["sources"] if has_chips_to_retrieve else [],
            Path(DOWNLOADS, "chips", DATASET_FOLDER),
            {name: config["backbones"][name]["weights"] for name in GRID["backbones"] if name in fetched},
            Path(DOWNLOADS, "huggingface"),
        ),
        results_section(
            RESULTS,
            {
                "report": [f"{RESULTS}/report.html"],
                "tables": [f"{RESULTS}/tables/{name}.csv" for name in (*TABLES, *EVIDENCE, *BESIDE)],
            },
            outputs,
        ),
    )
    print(f"\nStudy {config['study']}", *("\n".join(section) for section in sections), sep="\n\n")


if workflow.is_main_process and workflow.output_settings.dryrun:
    # Snakemake calls no hook at the end of a dry run.
    atexit.register(end_dry_run)
    # `--verbose`, and a --quiet that does not name `reason` as that of profiles/default, show every job.
    if not workflow.output_settings.verbose and Quietness.REASON in (workflow.output_settings.quiet or ()):
        for handler in terminal_handlers():
            handler.addFilter(HideJobs())


onstart:
    require_writable(RESULTS)
    stop_at_study_error(check_planned_runs)
    # A job without outputs, such as `power`, may run beside the study.
    if any(job.output for job in workflow.dag.needrun_jobs()):
        stop_at_study_error(stop_beside_another_process)
    if not workflow.local_exec:
        stop_at_study_error(prepare_cluster)
    register(Path(RESULTS, "registration.json"), plan_of(config), len(finished_runs()))
    # `--verbose` shows everything, as does the log file.
    if not workflow.output_settings.verbose:
        for handler in terminal_handlers():
            workflow.logger_manager.logger.removeHandler(handler)
            workflow.logger_manager.logger.addHandler(
                Terminal(
                    {workflow.dag.jobid(job): job for job in workflow.dag.needrun_jobs()},
                    total=len(all_runs()),
                    finished=len(finished_runs()),
                    is_remote=not workflow.local_exec,
                )
            )
    # After the terminal, which shows the failure before this says what follows from it.
    workflow.logger_manager.logger.addHandler(
        StopAtFailedCheck(workflow.scheduler, CHECKS, workflow.logger_manager.logger)
    )


onsuccess:
    remove_study_leftovers()
    if Path(f"{RESULTS}/report.html").is_file():
        print(f"The report is at {Path(RESULTS, 'report.html').resolve()}", file=sys.stderr)


onerror:
    for handler in workflow.logger_manager.logger.handlers:
        if isinstance(handler, Terminal):
            handler.show_failures()
    print(
        "The study is not finished. What is finished is kept: start it again, and it goes on from there.",
        file=sys.stderr,
    )
