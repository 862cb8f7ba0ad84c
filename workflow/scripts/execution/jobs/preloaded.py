"""What the fork server imports once for all jobs (`execution.jobs.fork_jobs`)."""

# Before all modules whose code it remembers.
from execution.records import executed_code as _executed_code  # noqa: F401  # isort: skip

import contextlib
import gc
import importlib
import signal
import sys
from pathlib import Path

try:
    # Without it, no script can be forked.
    from execution.jobs import forked_script as _forked_script  # noqa: F401
    from execution.jobs.processes import FORK_SERVER
except Exception:
    # Each job is then a program of its own (`execution.jobs.fork_jobs`).
    sys.exit(1)

_IMPORTED = (
    # First: it sets a variable that tqdm reads when it is imported.
    "execution.jobs.job",
    # The preamble that Snakemake writes into each script.
    "snakemake.iocontainers",
    "snakemake.logging",
    # What most jobs import: PyTorch, pandas, PyArrow, scikit-learn and the core.
    "terralucas.controls.run",
    "terralucas.training.frozen",
    "terralucas.training.run",
)

# Not while a file is being edited: each job is then a program of its own (`execution.jobs.forked_script`), which says
# what is wrong.
is_complete = False
with contextlib.suppress(Exception):
    for name in _IMPORTED:
        importlib.import_module(name)
    is_complete = True

Path("/proc/self/comm").write_text(FORK_SERVER)

# Imported objects are never freed. If the garbage collector looked at them in a job, the job would copy their memory.
gc.collect()
gc.freeze()

# SLURM sends it to all processes of a job. The server must live until its jobs have saved their progress, because it
# tells how they ended.
signal.signal(signal.SIGTERM, signal.SIG_IGN)

# A Ctrl-C during the imports waits (`execution.jobs.fork_jobs`), and Python's fork server drops it after them. The job
# for which this server was started must learn of it, which is forked later.
is_interrupted = signal.getsignal(signal.SIGINT) is signal.default_int_handler and signal.SIGINT in signal.sigpending()
