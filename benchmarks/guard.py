"""Check that nothing became much slower: ratios of two times within one run, beside wide limits.

    make guard

CI runs this. The limits are about twice what is usual. Other load on the machine does not reach them; a mistake does,
such as a copy of all features in each step or an import in each job. Exact figures come from the other benchmarks.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks import dry_runs, feature_pass, training_loop
from terralucas.backbones.features import FeatureOptions

SCRIPTS = Path(__file__).resolve().parents[1] / "workflow" / "scripts"
# What each training job imports.
_SCRIPT = "import terralucas.training.frozen, terralucas.training.run\n"


@dataclass(frozen=True)
class Guarded:
    """A ratio that must stay below a limit.

    Attributes:
        name: the two times.
        measure: returns the ratio.
        usual: what it is on quiet machines.
        limit: what it must not exceed.
    """

    name: str
    measure: Callable[[], float]
    usual: float
    limit: float


def loop(number: int, rounds: int) -> Callable[[], float]:
    """Return the ratio of the training loop to the barest loop, for a case of `training_loop`."""
    return lambda: training_loop.measure(training_loop.CASES[number], rounds).ratio


def features() -> float:
    """Return the ratio of a feature pass to the forward pass on chips in memory."""
    options = FeatureOptions(batch_size=32, workers=1, threads=1, precision="32", device="cpu")
    return feature_pass.measure("terramind_v1_tiny", 384, 64, options, rounds=1).ratio


def fork() -> float:
    """Return the ratio of the start of a forked job to that of a program with the same imports."""
    from execution.jobs import fork_jobs as _fork_jobs

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "job.py")
        path.write_text(_SCRIPT, encoding="utf-8")
        script = SimpleNamespace(threads=1, rulename="job", resources={}, bench_record=None)
        _fork_jobs._is_server_ready()
        forked, alone = [], []
        # The first round waits until the server has imported everything.
        for _ in range(3):
            forked.append(_seconds(_fork_jobs._run, script, str(path)))
            command = [sys.executable, str(path)]
            alone.append(_seconds(subprocess.run, command, env={"PYTHONPATH": str(SCRIPTS)}, check=True))
    return statistics.median(forked[1:]) / statistics.median(alone[1:])


def plans() -> float:
    """Return the ratio of the processor time of a dry run of 1,000 runs to that of 80 runs."""
    few, _ = dry_runs.dry_run(80)
    many, _ = dry_runs.dry_run(1000)
    return many / few


GUARDED = (
    Guarded("training loop / barest loop, tiny, identity", loop(0, 3), 1.0, 2.0),
    Guarded("training loop / barest loop, base, mlp", loop(3, 1), 1.0, 2.0),
    Guarded("feature pass / forward pass, tiny, 64 px", features, 1.3, 4.0),
    Guarded("start of a forked job / of a program", fork, 0.3, 0.8),
    Guarded("dry run of 1,000 runs / of 80", plans, 2.5, 6.0),
)


def _seconds(work: Callable[..., Any], *arguments: Any, **options: Any) -> float:
    started = time.perf_counter()
    work(*arguments, **options)
    return time.perf_counter() - started


def main() -> None:
    """Print the ratios, and end with an error if one is above its limit."""
    too_slow = []
    print(f"{'ratio':<46}{'now':>7}{'usual':>7}{'limit':>7}")
    for guarded in GUARDED:
        ratio = guarded.measure()
        print(f"{guarded.name:<46}{ratio:>7.2f}{guarded.usual:>7.2f}{guarded.limit:>7.2f}", flush=True)
        if ratio > guarded.limit:
            too_slow.append(guarded.name)
    if too_slow:
        raise SystemExit(
            f"Too slow: {'; '.join(too_slow)}. Run `make guard` again on a quiet machine before you search."
        )


if __name__ == "__main__":
    main()
