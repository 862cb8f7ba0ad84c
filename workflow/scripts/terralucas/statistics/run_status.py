"""The status of every run of a study, and the choice of the runs that can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from terralucas.errors import StudyError
from terralucas.names import run_name
from terralucas.predictions import DIVERGED, FINISHED
from terralucas.tables.vocabulary import FAILED, MISSING, RECIPE

# A recipe is not compared if it lacks a finished run for more than this share of the seeds.
MOST_LOST = 0.5
# A line of a job's log (`execution.jobs.job`, `execution.jobs.fork_jobs`) that says why there is no result. SIGINT is
# Ctrl-C, no fault of a run.
_ERROR = re.compile(r"^(?:[\d-]+ [\d:,]+ )?ERROR\b|: ended by SIG(?!INT$)\w+$", re.MULTILINE)


@dataclass(frozen=True)
class RunStatus:
    """The status of one run of the study's grid.

    Attributes:
        recipe: backbone, loss, decoder.
        seed: seed of the run.
        folder: folder with the files of the run.
        status: finished, diverged, failed (there is no record, and an error in the log) or missing (neither).
        reason: how the run diverged, or the log that says why it failed; empty otherwise.
    """

    recipe: tuple[str, str, str]
    seed: int
    folder: Path
    status: str
    reason: str = ""

    @property
    def run(self) -> str:
        """Name of the run: backbone/loss/decoder/seed-s."""
        return run_name(*self.recipe, self.seed)

    @property
    def names(self) -> dict[str, Any]:
        """Backbone, loss, decoder and seed, by the names of their columns."""
        return {**dict(zip(RECIPE, self.recipe, strict=True)), "seed": self.seed}


@dataclass(frozen=True)
class ComparableRuns:
    """The recipes and seeds that are compared: each of these recipes has a finished run with each of these seeds."""

    recipes: list[tuple[str, str, str]]
    seeds: list[int]

    def includes(self, entry: RunStatus) -> bool:
        """Return whether a run is compared."""
        return entry.recipe in self._recipe_set and entry.seed in self.seeds

    @cached_property
    def _recipe_set(self) -> frozenset[tuple[str, str, str]]:
        return frozenset(self.recipes)


def read_run_status(
    runs: Path, logs: Path, recipes: Iterable[tuple[str, str, str]], seeds: Sequence[int]
) -> list[RunStatus]:
    """Read the status of each run of the grid, in the order of the grid.

    Args:
        runs: folder with the files `<backbone>/<loss>/<decoder>/seed-<s>/run.yaml`.
        logs: folder with the files `<backbone>/<loss>/<decoder>/seed-<s>.log`.
        recipes: recipes of the grid.
        seeds: seeds of the grid.
    """
    return [_entry(runs, logs, recipe, seed) for recipe in recipes for seed in seeds]


def _entry(runs: Path, logs: Path, recipe: tuple[str, str, str], seed: int) -> RunStatus:
    folder = runs / run_name(*recipe, seed)
    record = folder / "run.yaml"
    if record.is_file():
        found = yaml.load(record.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        return RunStatus(recipe, seed, folder, found["status"], found["diverged"])
    log = logs / f"{run_name(*recipe, seed)}.log"
    if log.is_file() and _ERROR.search(log.read_text(encoding="utf-8", errors="replace")):
        return RunStatus(recipe, seed, folder, FAILED, f"log: {log}")
    # Without an error the run did not fail, but was lost after it, for example with its folder.
    return RunStatus(recipe, seed, folder, MISSING)


def comparable_runs(entries: Sequence[RunStatus]) -> ComparableRuns:
    """Choose the recipes and seeds whose runs are compared.

    A recipe is chosen if its runs are finished for at least half of the study's seeds. The chosen seeds are those for
    which all chosen recipes have finished runs.

    Raises:
        StudyError: no recipe has enough finished runs, or the chosen recipes share no seed.
    """
    seeds = list(dict.fromkeys(entry.seed for entry in entries))
    finished: dict[tuple[str, str, str], set[int]] = {entry.recipe: set() for entry in entries}
    for entry in entries:
        if entry.status == FINISHED:
            finished[entry.recipe].add(entry.seed)
    kept = [recipe for recipe, own in finished.items() if len(own) >= (1 - MOST_LOST) * len(seeds) and own]
    common = [seed for seed in seeds if all(seed in finished[recipe] for recipe in kept)]
    if not kept or not common:
        counts = {status: sum(entry.status == status for entry in entries) for status in (FINISHED, DIVERGED)}
        raise StudyError(
            "The study has too few finished runs to compare recipes.",
            found=f"{counts[FINISHED]} of {len(entries)} runs finished, {counts[DIVERGED]} diverged",
            expected=f"a recipe with half of its {len(seeds)} seeds, and a seed that all such recipes share",
            remedy="start the study again, or correct the settings of the recipes that diverge",
        )
    return ComparableRuns(kept, common)
