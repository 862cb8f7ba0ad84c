"""What the logs of a job that failed say: its error, or how it ended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from terralucas.disk import explain

# An error in a rule's log ("… ERROR name: message") or in SLURM's ("ERROR: message"), with its indented lines; or what
# SLURM itself says of a job it ended or could not start.
_ERROR = re.compile(
    r"^(?:(?:[\d-]+ [\d:,]+ )?ERROR(?: [\w.]+)?: |(?:slurmstepd|slurmd)(?:-\S+)?: error: )(.*(?:\n  .*)*)",
    re.MULTILINE,
)
# An error that Snakemake itself writes into SLURM's log, such as one about clocks that differ. The error of a rule may
# begin with the line of another error, which caused it.
_ERROR_OF_SNAKEMAKE = re.compile(
    r"^(?!CalledProcessError)\w*(?:Error|Exception)(?: in \w+ .*)?:\n"
    r"(?!CalledProcessError|At least one job did not complete|\w+ in file )(\S.*(?:\n  (?!File ).*)*)",
    re.MULTILINE,
)
# What Python says of an error of the system.
_ERROR_OF_SYSTEM = re.compile(r"\[Errno (\d+)\] ([^:\n]+)(?:: '(.*)')?")
# How a process ended that could not say it itself, in the words of a shell.
_DEATH = re.compile(r"^.*(?:Illegal instruction|Bus error|Segmentation fault|Aborted|Killed).*$", re.MULTILINE)
# The error of a traceback that ends a log, but for what Snakemake says of the failed job: a job whose modules cannot be
# read has no log of its own yet. Python also writes tracebacks of what it goes on after.
_TRACEBACK = re.compile(
    r"^(?!Exception ignored in|--- Logging error ---).*\nTraceback \(most recent call last\):\n(?:[ \t].*\n)+"
    r"(?!KeyboardInterrupt|SystemExit)(\w.*(?:\n[ \t].*)*)\n*(?:(?:RuleException|WorkflowError)\b[\s\S]*)?\Z",
    re.MULTILINE,
)
# What Snakemake writes when it begins.
_BEGAN = "Building DAG of jobs"
_ENDED = re.compile(r" INFO progress: \w+: (ended by SIG\w+)$", re.MULTILINE)


def last_error(logs: Sequence[str]) -> str | None:
    """The last error a job wrote into one of its logs, of which the first that has any counts."""
    return _last_match(_ERROR, logs)


def error_of_snakemake(logs: Sequence[str]) -> str | None:
    """The last error that Snakemake itself wrote into SLURM's log of a job; one of the system is explained."""
    said = _last_match(_ERROR_OF_SNAKEMAKE, logs)
    of_system = _ERROR_OF_SYSTEM.fullmatch(said or "")
    if of_system is None:
        return said
    number, words, path = of_system.groups()
    # It writes the scripts of jobs into its folder.
    return str(explain(OSError(int(number), words, path or ".snakemake, or the folder TMPDIR of the node")) or said)


def _last_match(pattern: re.Pattern[str], logs: Sequence[str]) -> str | None:
    for path in map(Path, logs):
        # Patterns may look at the line before.
        if path.is_file() and (found := pattern.findall("\n" + path.read_text(encoding="utf-8", errors="replace"))):
            return str(found[-1]).rstrip()
    return None


def last_traceback(logs: Sequence[str]) -> str | None:
    """The error of the traceback that ends one of SLURM's logs of a job."""
    return _last_match(_TRACEBACK, logs)


def last_words(logs: Sequence[str]) -> str | None:
    """The last line of SLURM's log of a job in which no Snakemake began, or else how a process ended."""
    for path in map(Path, logs):
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace").strip()
            if lines := _DEATH.findall(text) if _BEGAN in text else text.splitlines():
                return str(lines[-1]).strip()
    return None


def last_signal(logs: Sequence[str]) -> str:
    """What a job wrote that was ended by Ctrl-C or SIGTERM, which is no error."""
    for path in map(Path, logs):
        if path.is_file() and (found := _ENDED.findall(path.read_text(encoding="utf-8", errors="replace"))):
            return str(found[-1])
    return "it ended without an error in its log"


def time_written(path: str) -> int | None:
    """Return when a file was last written, in ns; None if it is not there."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return None
