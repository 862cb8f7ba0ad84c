"""Measure processor time and memory of dry runs, and of starts with nothing to do, of studies with many runs.

    PYTHONPATH=workflow/scripts python -m benchmarks.dry_runs [--runs 80 1000 10000]

A dry run reads the configuration, builds the graph of all jobs and looks which of them have to run. A finished study
is one whose files are all there, with Snakemake's records of them; they are empty but for the index of the chips, the
report of the data and the records of the runs, which a start compares with the configuration. Starting it again does
the same and finds nothing to do. Goals are multiples of a study of 80 runs.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from benchmarks.report_scale import ROOT, Study, chips_of, make_config
from terralucas.codebase import Fingerprints
from terralucas.names import run_name, seed_of
from terralucas.study.settings import training_settings

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


# What a copy of the project needs to start Snakemake.
PARTS = ("Snakefile", "workflow", "config", "profiles", "environment.yml")


class Copy:
    """A copy of the project with the configuration of a study.

    Args:
        folder: where to copy it.
        runs: number of runs of the study.
    """

    def __init__(self, folder: Path, runs: int) -> None:
        self.folder = folder
        for name in PARTS:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name)
            else:
                shutil.copy(source, folder / name)
        self.study = f"scale-{runs}"
        self.config = make_config(runs) | {"study": self.study}
        text = yaml.safe_dump(self.config, sort_keys=False)
        (folder / "config" / f"{self.study}.yaml").write_text(text, encoding="utf-8")

    def command(self, *options: str) -> list[str]:
        """Return a command that starts Snakemake for the study."""
        config = f"config/{self.study}.yaml"
        return [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", config, *options]

    def measure(self, *options: str) -> tuple[float, float]:
        """Return the processor seconds and the peak memory in MiB of a start."""
        seconds, peak = self._output([sys.executable, "-c", _MEASURED, *self.command(*options)]).split()
        return float(seconds), float(peak)

    def finish(self) -> None:
        """Make all files of the study, and Snakemake's records of them."""
        rows = self._output(self.command("--summary")).splitlines()[1:]
        for name in (row.split("\t")[0] for row in rows):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            if path.name == "run.yaml":
                path.write_text(yaml.safe_dump(self._record(*path.parts[-5:-1]), sort_keys=False), encoding="utf-8")
        data = self.folder / "results" / self.study / "data"
        chips_of(Study(self.config, 1)).to_parquet(data / "chips.parquet")
        # A start compares the size of pixels with that of the chips.
        (data / "report.json").write_text("{}", encoding="utf-8")
        self._output(self.command("--touch"))

    def _record(self, backbone: str, loss: str, decoder: str, seed: str) -> dict[str, Any]:
        config = self.config
        settings = {"backbone": backbone, "loss": loss, "decoder": decoder, "seed": seed_of(seed)}
        settings |= {"loss_setting": config["losses"][loss], "decoder_setting": config["decoders"][decoder]}
        training = training_settings(config, config["backbones"][backbone]["tuning"])
        settings |= {"training": training, "n_classes": len(config["dataset"]["classes"])}
        name = run_name(backbone, loss, decoder, settings["seed"])
        features, versions = {"sha256": "0"}, dict.fromkeys("abcdefgh", "1.2.3")
        return {"run": name, "settings": settings, "code": self._code, "features": features, "versions": versions}

    @cached_property
    def _code(self) -> str:
        known = Fingerprints(self.folder / ".snakemake" / "code_fingerprints.json")
        return known.of(self.folder / "workflow" / "scripts" / "train_run.py")

    def _output(self, command: list[str]) -> str:
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command[-8:])} failed:\n{done.stderr[-3000:]}")
        return done.stdout


def dry_run(runs: int) -> tuple[float, float]:
    """Return the processor seconds and the peak memory in MiB of a dry run of a study that has not started."""
    with tempfile.TemporaryDirectory() as temporary:
        return Copy(Path(temporary), runs).measure("--dry-run")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[80, 1000, 10_000])
    given = parser.parse_args()
    print(f"{'runs':>6}  {'start':<16}{'CPU s':>8}{'times':>7}{'MiB':>7}{'times':>7}")
    first: dict[str, tuple[float, float]] = {}

    def show(runs: int, name: str, measured: tuple[float, float]) -> None:
        (seconds, peak), base = measured, first.setdefault(name, measured)
        goal = f"  goal {GOALS[runs]}" if runs in GOALS else ""
        row = f"{runs:>6}  {name:<16}{seconds:>8.1f}{seconds / base[0]:>7.1f}{peak:>7.0f}{peak / base[1]:>7.1f}"
        print(row + goal, flush=True)

    for runs in given.runs:
        with tempfile.TemporaryDirectory() as temporary:
            study = Copy(Path(temporary), runs)
            show(runs, "dry run", study.measure("--dry-run"))
            # Snakemake takes more than ten minutes to write its records of 10,000 runs.
            study.finish()
            show(runs, "nothing to do", study.measure())


if __name__ == "__main__":
    main()
