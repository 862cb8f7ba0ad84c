"""A copy of the project to run studies in, and a way to call Snakemake there as a user does."""

import os
import shutil
import subprocess
import sys

import yaml

from helpers.paths import ROOT
from helpers.warm_snakemake import WarmSnakemake, can_be_warm

_SNAKEMAKE = WarmSnakemake()
PARTS = ("Snakefile", "workflow", "config", "profiles", "environment.yml")


class Project:
    """A copy of the project in a folder of its own.

    Args:
        folder: where to copy it.
        environment: variables that Snakemake gets beside those of this process.
    """

    def __init__(self, folder, environment=None):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.environment = dict(environment or {})
        for name in PARTS:
            source = ROOT / name
            if source.is_dir():
                # With compiled modules, which are valid for files of the same times.
                shutil.copytree(source, folder / name)
            else:
                shutil.copy(source, folder / name)

    def write_config(self, config, name="small"):
        path = self.folder / "config" / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
        return f"config/{name}.yaml"

    def command(self, *arguments):
        return [sys.executable, "-m", "snakemake", *map(str, arguments)]

    def snakemake(self, *arguments, check=True):
        environment = os.environ | self.environment | {"NO_COLOR": "1"}
        if can_be_warm(environment):
            done = _SNAKEMAKE.run(list(map(str, arguments)), self.folder, environment)
        else:
            done = subprocess.run(
                self.command(*arguments), cwd=self.folder, env=environment, capture_output=True, text=True, check=False
            )
        done.output = done.stdout + done.stderr
        assert not check or done.returncode == 0, done.output[-4000:]
        return done

    def module(self, name, *arguments):
        """Run a module of the core without Snakemake, as the documentation has it."""
        return subprocess.run(
            [sys.executable, "-m", f"terralucas.{name}", *map(str, arguments)],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": "workflow/scripts"},
            capture_output=True,
            text=True,
            check=False,
        )

    def planned(self, *arguments):
        """Number of jobs by rule that a dry run plans; without `all`."""
        output = self.snakemake("-n", *arguments).output
        if "Nothing to be done" in output:
            return {}
        table = output.split("Job stats:")[1].split("total")[0]
        rows = [line.split() for line in table.splitlines() if line and line[0].isalpha()]
        return {name: int(count) for name, count in rows if name not in ("job", "all")}


def damage_split(results, seed=0):
    """Leave the last chip out of a split, so that runs of its seed fail; return the split and its whole text.

    A start would refuse a split that is not as it was made, so that this is forgotten (`forget_what_was_made`).
    """
    split = results / "splits" / f"seed-{seed}.csv"
    whole = split.read_text(encoding="utf-8")
    split.write_text("\n".join(whole.splitlines()[:-1]), encoding="utf-8")
    forget_what_was_made(results)
    return split, whole


def forget_what_was_made(results):
    """Delete the record of what results were made with, so that they count as those of the configuration."""
    (results / "data" / "made_with.json").unlink(missing_ok=True)


def results(project, study="small"):
    """Where a study's results lie in the project's copy."""
    return project.folder / "results" / study
