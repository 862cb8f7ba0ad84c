"""What the fork server imports once for all jobs (`_fork_jobs`)."""

import contextlib
import gc
import importlib
import signal
from pathlib import Path

from _processes import FORK_SERVER

_IMPORTED = (
    # First: it sets a variable that tqdm reads when it is imported.
    "_job",
    # The preamble that Snakemake writes into each script.
    "snakemake.iocontainers",
    "snakemake.logging",
    # What most jobs import: PyTorch, pandas, PyArrow, scikit-learn and the core.
    "terralucas.controls.run",
    "terralucas.training.frozen",
    "terralucas.training.run",
)

# Whether all is imported, and it is known which code that was. It is not while a file is being edited: each job is then
# a program of its own (`_forked_script`), which says what is wrong.
is_code_known = False
with contextlib.suppress(Exception):
    for name in _IMPORTED:
        importlib.import_module(name)
    is_code_known = importlib.import_module("_own_code").know_loaded_code()

Path("/proc/self/comm").write_text(FORK_SERVER)

# Imported objects are never freed. If the garbage collector looked at them in a job, the job would copy their memory.
gc.collect()
gc.freeze()

# SLURM sends it to all processes of a job. The server must live until its jobs have saved their progress, because it
# tells how they ended.
signal.signal(signal.SIGTERM, signal.SIG_IGN)

# A Ctrl-C during the imports waits (`_fork_jobs`), and Python's fork server drops it after them. The job for which this
# server was started must learn of it, which is forked later.
is_interrupted = signal.getsignal(signal.SIGINT) is signal.default_int_handler and signal.SIGINT in signal.sigpending()
