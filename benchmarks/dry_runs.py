"""Measure processor time and memory of dry runs of studies with many runs.

    PYTHONPATH=workflow/scripts python -m benchmarks.dry_runs [--runs 80 1000 10000]

A dry run reads the configuration, builds the graph of all jobs and looks which of them have to run. Goals are multiples
of a study of 80 runs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks.report_scale import ROOT, make_config

# Number of runs → the most times the processor time of 80 runs.
GOALS = {1000: 2.5, 10_000: 12.0}


# Run by a small process, because Linux counts the memory of the process that starts another one as its.
_MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=False)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
sys.exit(done.returncode)
"""


def dry_run(runs: int) -> tuple[float, float]:
    """Return the processor seconds and the peak memory in MiB of a dry run."""
    config = make_config(runs) | {"study": f"scale-{runs}"}
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, f"scale-{runs}.yaml")
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "2", "--configfile", str(path)]
        measured = [sys.executable, "-c", _MEASURED, *command]
        done = subprocess.run(measured, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"The dry run of {runs} runs failed:\n{done.stderr[-3000:]}")
    seconds, peak = map(float, done.stdout.split())
    return seconds, peak


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[80, 1000, 10_000])
    given = parser.parse_args()
    print(f"{'runs':>6}{'CPU s':>8}{'times':>7}{'MiB':>7}{'times':>7}")
    first = None
    for runs in given.runs:
        seconds, peak = dry_run(runs)
        first = first or (seconds, peak)
        goal = f"  goal {GOALS[runs]}" if runs in GOALS else ""
        print(
            f"{runs:>6}{seconds:>8.1f}{seconds / first[0]:>7.1f}{peak:>7.0f}{peak / first[1]:>7.1f}{goal}", flush=True
        )


if __name__ == "__main__":
    main()
