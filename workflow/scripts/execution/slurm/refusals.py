"""What SLURM says when it takes no job: whether waiting helps, and what to do."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from terralucas.disk import BAD_DISK, READ_ONLY

# How the message about a job begins that SLURM does not take.
REFUSED = "SLURM does not take this job."


@dataclass(frozen=True)
class Refusal:
    """Why a job was not taken.

    Attributes:
        reason: SLURM's own words, in one line.
        tries: how often the submission is tried again; None: until SLURM takes it.
        may_be_taken: whether SLURM may have taken the job all the same, because only its answer was lost.
        remedy: what the user can do.
    """

    reason: str
    tries: int | None
    may_be_taken: bool
    remedy: str


_UNTIL_IT_WORKS, _NEVER, _A_FEW_TIMES = None, 0, 5

_FEWER_JOBS = "use fewer `jobs` in the profile, or larger packs (group-components)"
_WAIT = "nothing, if SLURM is back soon; otherwise ask the site"
_SITE = "correct the settings of your site at the top of profiles/slurm/config.yaml (docs/slurm.md, section 9)"
_SMALLER = "use smaller packs (group-components), set-resources, or another partition (docs/slurm.md, section 6)"

_CONFIGURATION = (
    "set SLURM_CONF to the configuration of the cluster (on a login node, `scontrol show config | grep SLURM_CONF` "
    "shows it), or start on a login node"
)
_GRES = (
    "set `gpu` and `gres` in set-resources as your site gives GPUs; `sinfo -o '%P %G'` lists their names "
    "(docs/slurm.md, section 2)"
)
_NODES = (
    "`sinfo -N` lists the names of nodes; correct slurm-exclude-failed-nodes, or --nodelist and --exclude in "
    "slurm_extra, in profiles/slurm/config.yaml"
)
_SPACE = "free space or raise the quota of the disk with the project's folder `.snakemake`; finished results are kept"
_SHORTER = "use smaller packs (group-components), or start from a shell with fewer and shorter variables"
_PARTITION = (
    "see what the partition allows (`scontrol show partition`) and whether its nodes are up (`sinfo`); use another "
    "one, smaller packs (group-components) or set-resources (docs/slurm.md, section 6)"
)
_POLICY = f"{_FEWER_JOBS}; or {_SMALLER}"
_NOT_WRITABLE = (
    "make the project's folder `.snakemake` writable for your user, and start the study again; finished results are "
    "kept"
)
_FILE_SYSTEM = "see whether the disk with the project's folder `.snakemake` answers, and the limit `ulimit -n`"
_DELETED = (
    "start the study again: somebody, or the clean-up of the disk, deleted files of the project's folder `.snakemake` "
    "while the study ran; finished results are kept"
)
_WORDS = (
    "do what these words say, which may be your site's own; its settings are at the top of "
    "profiles/slurm/config.yaml (docs/slurm.md, sections 2 and 9), or ask the site"
)
# What a user may have set elsewhere, too.
_OF_SETTINGS = (_SITE, _GRES, _NODES, _SMALLER, _PARTITION, _POLICY, _WORDS)
_ASK_FOR_ID = "ask the site why its sbatch does not print the id of a job, as --parsable says"
# What `Submissions` itself says.
NO_ID = "SLURM may have taken the job, but sbatch did not say its id"
SAME_ID = "SLURM gave the id of another job of this start, because its controller has lost its state"
# Of Linux, about one argument of more than 128 KiB, or all of them and the environment.
TOO_LONG = "Argument list too long"


# A file of this project's folder, in an error of the system.
_OWN_FILE = r".*[/']\.snakemake(?:[/']|$)"


def _numbers(codes: Iterable[int]) -> str:
    """Return the pattern of the errors of the system with these numbers, as Python writes them."""
    return rf"\[Errno (?:{'|'.join(map(str, codes))})\]"


# Pattern, tries, whether the job may have been taken, remedy. The first that matches counts.
_KINDS = (
    # Limits on the number of jobs: the next job that ends makes room. The line after it says the same of all limits.
    (r"(?:Max|Grp)Submit\w*|MaxJobCount", _UNTIL_IT_WORKS, False, _FEWER_JOBS),
    # A job that asks for more than one job may have is never taken.
    (r"(?:QOS|Assoc)\w*Per(?:Job|Node)\w*|QOSMin\w*", _NEVER, False, _SMALLER),
    (r"Required partition not available|Requested nodes are busy", _UNTIL_IT_WORKS, False, _WAIT),
    (r"No space left on device|[Dd]isk quota exceeded", _UNTIL_IT_WORKS, False, _SPACE),
    (TOO_LONG, _NEVER, False, _SHORTER),
    # The plugin's own error.
    (_numbers([errno.ENOENT]) + _OWN_FILE, _NEVER, False, _DELETED),
    # Errors of the plugin, too. ENFILE and EMFILE are too many files.
    (_numbers((*BAD_DISK, errno.ENFILE, errno.EMFILE)), _A_FEW_TIMES, False, _FILE_SYSTEM),
    (_numbers(READ_ONLY) + _OWN_FILE, _NEVER, False, _NOT_WRITABLE),
    # The controller is away, restarts or is too busy, or munge or the name server do not answer.
    (
        r"Unable to contact slurm controller|temporarily unable|Resource temporarily unavailable|standby mode|[Mm]unge"
        r"|I/O error writing script|authentication error|Connection refused|Unable to resolve|allocate memory"
        r"|[Hh]ost name lookup failure|failure in name resolution",
        _UNTIL_IT_WORKS, False, _WAIT,
    ),
    (
        r"no answer of \S+ within|timed out|Zero Bytes were transmitted|Unexpected message received|Connection reset"
        r"|Transport endpoint|Broken pipe",
        _UNTIL_IT_WORKS, True, _WAIT,
    ),
    (r"Job violates accounting/QOS policy", _A_FEW_TIMES, False, _POLICY),
    (r"Requested partition configuration not available", _A_FEW_TIMES, False, _PARTITION),
    (r"establish a configuration source|process configuration file", _NEVER, False, _CONFIGURATION),
    (NO_ID, _A_FEW_TIMES, True, _ASK_FOR_ID),
    (SAME_ID, _UNTIL_IT_WORKS, False, _WAIT),
    (r"generic resource \(gres\)|Invalid Trackable RESource", _NEVER, False, _GRES),
    (r"Invalid node name", _NEVER, False, _NODES),
    (
        r"time limit is invalid|node configuration is not available|Memory specification|More processors requested",
        _NEVER, False, _SMALLER,
    ),
    (
        r"Invalid (?:partition|account|qos|feature|wckey|cluster)|[Rr]eservation|not permitted|appears to be invalid"
        r"|not allowed in the 'slurm_extra'|in both 'gpu' and 'gres'|Access.* denied|unrecognized option"
        r"|invalid option|command not found",
        _NEVER, False, _SITE,
    ),
)  # fmt: skip

_MESSAGE = re.compile(r"The error message was '(.*?)'\.\n", re.DOTALL)
RAISED = "Job submission failed with exception: "
# Of an sbatch without an error, which says the words "submission failed" and no id.
_DOUBTED = "SLURM job submission failed. The error message was "


def remedy_of_what_lasts(text: str) -> str | None:
    """Return what to do about an error of SLURM's commands that does not pass; None where it may."""
    for pattern, tries, _, remedy in _KINDS:
        if re.search(pattern, text):
            return remedy if tries == _NEVER else None
    return None


def read_refusal(message: str) -> Refusal:
    """Return what the SLURM plugin's message about a failed submission means.

    A message that is not known is tried again a few times: an error that passes must not end a study, and one that
    stays must not keep it waiting. SLURM may have taken the job before it: sbatch may fail after that.
    """
    found = _MESSAGE.search(message)
    # Before the plugin's whole command line, in which any word may occur.
    text = found[1] if found else message.partition("\n    sbatch call:")[0].removeprefix(RAISED)
    # What the plugin raises itself, it raises again; sbatch's own words may be a site's.
    is_own_error = found is None and message.startswith(RAISED) and not text.startswith(_DOUBTED)
    text = text.removeprefix(_DOUBTED)
    lines = [re.sub(r"^(?:sbatch: )?(?:error: )?", "", line.strip()) for line in text.splitlines()]
    reason = "; ".join(line for line in lines if line) or "sbatch failed without a message"
    kinds = (
        (tries, may_be_taken, remedy) for pattern, tries, may_be_taken, remedy in _KINDS if re.search(pattern, reason)
    )
    unknown = (_NEVER, False, _SITE) if is_own_error else (_A_FEW_TIMES, True, _WORDS)
    tries, may_be_taken, remedy = next(kinds, unknown)
    return Refusal(reason, tries, may_be_taken, remedy + (_set_elsewhere() if remedy in _OF_SETTINGS else ""))


def _set_elsewhere() -> str:
    """Return which variables of the user's shell sbatch reads; they count where its command says nothing."""
    found = sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith("SBATCH_"))
    return f"; your shell sets {', '.join(found)}, which sbatch follows: `unset` what is wrong" if found else ""
