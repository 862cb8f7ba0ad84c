# What a study says when it starts, ends well or ends with failures, and how packed runs fail alone.
from snakemake.spawn_jobs import SpawnedJobArgsFactory

from _terminal import Terminal
from terralucas.disk import check_writable, remove_leftovers
from terralucas.study.registration import plan_of, register


def insist_on_writing(folder):
    """Stop before any job where files cannot be made, with a message that says so."""
    try:
        check_writable(Path(folder))
    except StudyError as error:
        raise WorkflowError(str(error)) from None


if workflow.is_main_process:
    # Snakemake's records and lock; without this it ends with a traceback.
    insist_on_writing(".snakemake")


def insist_on_plain_paths():
    """Stop where a path has characters that Snakemake and its SLURM plugin do not quote in the jobs' command lines."""
    for path in (Path.cwd(), workflow.main_snakefile, *workflow.overwrite_configfiles):
        if found := sorted(set("'$`\\\n") & set(str(path))):
            problem = StudyError(
                f"SLURM jobs cannot be started from {path}.",
                found=f"{' '.join(found)} in the path",
                remedy="use a folder whose path has no quote ', $, ` or backslash; spaces and other letters work",
            )
            raise WorkflowError(str(problem))


onstart:
    insist_on_writing(RESULTS)
    finished = sum(Path(path).is_file() for path in run_files("run.yaml"))
    register(Path(RESULTS, "registration.json"), plan_of(config), finished)
    if not workflow.local_exec:
        insist_on_plain_paths()
    # The plugin is only there, and its settings only known, where it is the executor.
    if hasattr(workflow.executor_settings, "status_command"):
        from _slurm import mend_plugin

        try:
            mend_plugin(workflow.executor_settings)
        except StudyError as error:
            raise WorkflowError(str(error)) from None
    # `--verbose` shows everything, as does the log file.
    if not workflow.output_settings.verbose:
        for handler in list(workflow.logger_manager.logger.handlers):
            if handler.name == "DefaultStreamHandler":
                workflow.logger_manager.logger.removeHandler(handler)
                workflow.logger_manager.logger.addHandler(
                    Terminal(
                        {workflow.dag.jobid(job): job for job in workflow.dag.needrun_jobs()},
                        total=len(run_files("run.yaml")),
                        finished=sum(Path(path).is_file() for path in run_files("run.yaml")),
                        is_remote=not workflow.local_exec,
                    )
                )


onsuccess:
    # What lets a finished run of a pack that failed end again at once is of no more use.
    for record in map(Path, run_files("run.yaml")):
        if record.is_file():
            remove_leftovers(record.parent, "resume.ckpt")
    if Path(f"{RESULTS}/report.html").is_file():
        print(f"The report is at {Path(RESULTS, 'report.html').resolve()}", file=sys.stderr)


onerror:
    print(
        "The study is not finished. What is finished is kept: start it again, and it goes on from there.",
        file=sys.stderr,
    )


# Snakemake hands --keep-incomplete to the processes it starts, but not --keep-going: the first run of a pack to fail
# would take those after it along.
_arguments = SpawnedJobArgsFactory.general_args
SpawnedJobArgsFactory.general_args = lambda *given, **named: f"{_arguments(*given, **named)} --keep-going"
