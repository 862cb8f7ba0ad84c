"""Lets a job of a cluster fail where its node does not see the job's input files."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

from terralucas.errors import StudyError


def fail_without_job(workflow: Any) -> None:
    """End this process of a job with an error if Snakemake did not get as far as the job.

    Snakemake waits for the files and then ends with the exit status 0, as if the job were done.
    """
    # Snakemake makes the scheduler when the files are there and all jobs are known.
    if workflow.scheduler is not None:
        return
    settings = workflow.execution_settings
    missing = [path for path in (settings and settings.wait_for_files) or () if not Path(path).exists()]
    if missing:
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        # SLURM's name of a node may be another than its host name.
        node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
        error = StudyError(
            f"The node {node} does not see the input files of this job.",
            found=f"no {', '.join(missing[:4])}{more} after {settings.latency_wait} s",
            expected="the folder of the project, on a file system that all nodes share",
            remedy="start the study again, if the files are gone on the machine that started it, too: somebody, or the "
            "clean-up of the disk, deleted them; otherwise ask the site which folders its nodes share. Where files "
            "only come late, raise latency-wait in the profile",
        )
        sys.stderr.write(f"ERROR: {error}\n")
    sys.stderr.flush()
    sys.stdout.flush()
    # An exception at exit would leave the exit status as it was.
    os._exit(1)
