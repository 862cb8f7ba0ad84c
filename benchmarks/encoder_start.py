"""Measure what an encoder costs a process before the first chip, with and without the rest of TerraTorch.

Each build runs in a process of its own that has imported what all jobs need, in turns. Times are of the processor.

    python -m benchmarks.encoder_start
"""

import statistics
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1] / "workflow" / "scripts"
ROUNDS = 5
# What a job that is not forked imports, too (`execution.jobs.preloaded`).
_BUILD = f"""
import sys, time
sys.path.insert(0, {str(SCRIPTS)!r})
import terralucas.training.frozen, terralucas.training.run
begin = time.process_time()
IMPORT
from terralucas.backbones.encoder import build_backbone
build_backbone("terramind_v1_tiny", ["RED"], {{"source": "random", "seed": 0}})
print(time.process_time() - begin, len(sys.modules))
"""


def measure(statement: str) -> tuple[float, int]:
    """Return the seconds of the processor for an encoder, after a statement, and the number of modules at the end."""
    code = _BUILD.replace("IMPORT", statement)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, modules = done.stdout.split()
    return float(seconds), int(modules)


def main() -> None:
    """Print both medians and their ratio."""
    alone, whole = [], []
    for _ in range(ROUNDS):
        alone.append(measure(""))
        whole.append(measure("import terratorch"))
    medians = [statistics.median(seconds for seconds, _ in rows) for rows in (alone, whole)]
    print(f"{'':>24}{'seconds':>9}{'modules':>9}")
    for name, seconds, rows in zip(("TerraMind alone", "all of TerraTorch"), medians, (alone, whole), strict=True):
        print(f"{name:>24}{seconds:>9.2f}{rows[0][1]:>9}")
    print(f"ratio {medians[0] / medians[1]:.2f}")


if __name__ == "__main__":
    main()
