"""What refuses a start before its first job: folders, paths, settings, and runs that are not those of the study."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from snakemake.exceptions import ProtectedOutputException
from snakemake.jobs import Job

from execution.end.stopped import StudyStoppedError
from execution.known_functions import require_parameters
from execution.start.refusals_of_start import stop_at_study_error
from execution.start.run_status import Run
from terralucas.disk import check_writable, explain
from terralucas.errors import StudyError
from terralucas.names import run_name
from terralucas.study.head import is_running, read_head


def require_writable(folder: Path) -> None:
    """Stop before any job where files cannot be made, with a message that says so."""
    stop_at_study_error(check_writable, folder)


def require_temporary_folder() -> None:
    """Stop where Snakemake could write no temporary file; its library for plans would end with a traceback."""
    stop_at_study_error(_check_temporary_folder, os.environ.get("TMPDIR", "/tmp"))


def _check_temporary_folder(folder: str) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(65536))
    except (FileNotFoundError, NotADirectoryError):
        # Libraries choose another folder.
        return
    except OSError as error:
        error.filename = f"{folder} (TMPDIR)"
        raise explain(error) or error from None


def require_folders(rules: Iterable[Any], *others: Path) -> None:
    """Check that nothing else is where the study makes folders; Snakemake would end in a traceback.

    Args:
        rules: Snakemake's rules of the study.
        others: folders beside those of the rules' files.

    Raises:
        StudyError: a file is there, or a link that leads nowhere, such as to a disk that is not mounted.
    """
    files = [str(file) for rule in rules for file in (*rule.output, *rule.log, rule.benchmark) if file]
    # Up to the first wildcard.
    folders = {parent for file in files for parent in Path(file.partition("{")[0] + "x").parents}
    for folder in sorted({*folders, *others} - {Path()}):
        if folder.is_symlink() and not os.path.exists(folder):  # noqa: PTH110 - false also where access is denied
            raise StudyError(
                f"{folder} is a link that leads nowhere.",
                found=f"a link to {folder.readlink()}, where no folder is found",
                expected="a link to a folder",
                remedy="mount the disk to which it leads, or make the folder there; without the link, an empty folder "
                "takes its place",
            )
        if os.path.isfile(folder):  # noqa: PTH113 - false also where access is denied
            raise StudyError(
                f"{folder} is a file, where a folder of the study should be.",
                found="a file",
                expected="a folder, or nothing, so that one can be made",
                remedy="move the file to another place, or give the study another name (`study:`)",
            )


def require_readable(results: Path) -> None:
    """Check that all folders of a study can be entered; Snakemake would end in a traceback.

    Raises:
        StudyError: one cannot, as of a colleague whose files nobody else may read.
    """

    def refuse(error: OSError) -> None:
        if isinstance(error, PermissionError):
            raise explain(error) or error

    for folder, _, _ in os.walk(results, onerror=refuse):
        if not os.access(folder, os.X_OK):
            refuse(PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder))


def require_writable_outputs(jobs: Iterable[Any]) -> None:
    """Stop where the folders of what jobs will write cannot be written; Snakemake would end there without a summary.

    Args:
        jobs: Snakemake's jobs that will run.
    """
    files = (file for job in jobs for file in (*job.output, *job.log, job.benchmark) if file)
    for folder in {Path(file).parent for file in files}:
        # A folder that is not there is made in the nearest one that is.
        existing = next((each for each in (folder, *folder.parents) if each.is_dir()), folder)
        if not os.access(existing, os.W_OK | os.X_OK):
            require_writable(existing)


def tell_outputs_that_cannot_be_replaced() -> None:
    """Let Snakemake say in words which earlier outputs a job may not replace, as those of a colleague."""
    try:
        require_parameters(Job, "check_protected_output", ("self",))
    except StudyError:
        return
    original = Job.check_protected_output

    async def check_protected_output(self: Job) -> None:
        try:
            await original(self)
        except ProtectedOutputException:
            files = [str(path) for path in self.output if Path(path).exists() and not os.access(path, os.W_OK)]
            raise StudyStoppedError(str(_closed(files))) from None

    Job.check_protected_output = check_protected_output


def _closed(files: Sequence[str]) -> StudyError:
    """Return the error for files that this user may not write."""
    more = f" and {len(files) - 4} more" if len(files) > 4 else ""
    try:
        of = f", of the user {Path(files[0]).owner()}"
    except (KeyError, OSError):  # no name is known
        of = ""
    return StudyError(
        "Results that must be made again belong to somebody else, or are write-protected.",
        found=f"{', '.join(files[:4])}{more}{of}",
        expected="files that your user may write",
        remedy="let their owner start the study, or give your group the right to write (chmod -R g+w on the folder of "
        "the study); set `umask 002` in the shells of all who share it. chmod u+w ends a write protection of your own",
    )


def require_quotable_paths(paths: Iterable[str | Path]) -> None:
    """Check the paths in command lines of a cluster's jobs.

    Raises:
        StudyError: a path has characters that Snakemake and its SLURM plugin do not quote there.
    """
    for path in paths:
        if found := sorted(set("'$`\\\n") & set(str(path))):
            raise StudyError(
                f"SLURM jobs cannot be started from {path}.",
                found=f"{' '.join(found)} in the path",
                remedy="use a folder whose path has no quote ', $, ` or backslash; spaces and other letters work",
            )


def require_quotable_settings(settings: Iterable[str]) -> None:
    """Check the settings of `--config` in command lines of a cluster's jobs.

    Raises:
        StudyError: a setting has characters that the shell would read there.
    """
    for setting in settings:
        found = sorted(set("$`\\\n") & set(setting))
        if {"'", '"'} <= set(setting):
            found += ["'", '"']
        if found:
            raise StudyError(
                f"SLURM jobs cannot be started with --config {setting}.",
                found=" ".join(repr(character)[1:-1] for character in found),
                expected="no $, ` or backslash, and one kind of quotes",
                remedy="give the setting in a configuration file (--configfile), or use another path",
            )


def require_no_run_again(again: Sequence[Run]) -> None:
    """Check that a report of the finished runs (`report.unfinished_runs: name`) finds them as the configuration says.

    Args:
        again: finished runs that would be trained again before the report.

    Raises:
        StudyError: there are such runs.
    """
    if not again:
        return
    names = [run_name(*run) for run in again]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    raise StudyError(
        "report.unfinished_runs is `name`, which starts no run, but finished runs are not those of this configuration.",
        found=f"{len(names)} run(s) of another configuration, other chips or other code: {', '.join(names[:8])}{more}",
        expected="finished runs of this configuration",
        remedy="undo the change to report them as they are; or start the study with report.unfinished_runs: refuse, "
        "which trains them again",
    )


def require_settings_of_configuration(other: Sequence[Run], results: Path) -> None:
    """Check that no run of other settings, code or data is kept as if it were of this study.

    Args:
        other: such runs.
        results: folder of the study.

    Raises:
        StudyError: there are such runs.
    """
    if not other:
        return
    names = [f"{results}/runs/{run_name(*run)}" for run in other]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    raise StudyError(
        "Finished runs have other settings, code or data than the study has now, and Snakemake has no record that "
        "tells so.",
        found=f"{len(names)} run(s), as their run.yaml says: {', '.join(names[:8])}{more}",
        expected="runs with the present configuration, code, and features (or weights and chips)",
        remedy="undo the change; or delete the folders of these runs and start the study again, which trains them. "
        "They may be of a start with other settings that was killed while its jobs went on; if they were copied, copy "
        ".snakemake of their project too",
    )


def require_start_that_waits(settings: Any) -> None:
    """Check that a start waits for its jobs: otherwise it submits nothing, and ends well.

    Args:
        settings: `workflow.remote_execution_settings`.

    Raises:
        StudyError: it would not.
    """
    if settings.immediate_submit:
        raise StudyError(
            "Jobs cannot be submitted before the jobs on which they depend have ended.",
            found="--immediate-submit",
            expected="a start that waits for its jobs, and then submits what follows from them",
            remedy="start without this option, in tmux or as a job of its own (docs/slurm.md, section 3)",
        )


def require_no_deletion_beside(results: Path, arguments: Iterable[str]) -> None:
    """Check that the results of a study that runs are not deleted, which Snakemake does without asking anybody.

    Args:
        results: folder of the study.
        arguments: of Snakemake's command line.

    Raises:
        StudyError: an argument is --delete-all-output or --delete-temp-output, and a process runs the study.
    """
    options = ("--delete-all-output", "--delete-temp-output")
    # Python's argparse takes beginnings of options.
    found = [each for each in arguments if len(each) > len("--delete-") and any(o.startswith(each) for o in options)]
    head = read_head(results) if found and is_running(results) else None
    if head is not None:
        raise StudyError(
            f"The output of a study that is running cannot be deleted: {found[0]}.",
            found=f"process {head.pid} on {head.machine} runs the study in {results}",
            expected="no process that runs it",
            remedy="wait until it ends, or stop it (Ctrl-C), and delete its output then",
        )
