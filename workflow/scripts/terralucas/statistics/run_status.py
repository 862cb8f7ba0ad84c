"""What became of every run of a study, and which of them can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from terralucas.errors import StudyError
from terralucas.names import run_name
from terralucas.predictions import DIVERGED, FINISHED
from terralucas.tables.vocabulary import FAILED, MISSING, RECIPE

# A recipe that has lost more than this share of its seeds is not compared.
MOST_LOST = 0.5


@dataclass(frozen=True)
class RunStatus:
    """One run of the study's grid.

    Attributes:
        recipe: backbone, loss, decoder.
        seed: of the run.
        folder: of its files.
        status: finished, diverged, failed (it has a log but no record) or missing.
        reason: how it diverged, or which log says why it failed; empty otherwise.
    """

    recipe: tuple[str, str, str]
    seed: int
    folder: Path
    status: str
    reason: str = ""

    @property
    def run(self) -> str:
        """The run's name: backbone/loss/decoder/seed-s."""
        return run_name(*self.recipe, self.seed)

    @property
    def names(self) -> dict[str, Any]:
        """backbone, loss, decoder, seed."""
        return {**dict(zip(RECIPE, self.recipe, strict=True)), "seed": self.seed}


@dataclass(frozen=True)
class ComparableRuns:
    """What every comparison of a study is of: the same seeds of each of these recipes."""

    recipes: list[tuple[str, str, str]]
    seeds: list[int]

    def includes(self, entry: RunStatus) -> bool:
        """Whether a run takes part."""
        return entry.recipe in self.recipes and entry.seed in self.seeds


def read_run_status(
    runs: Path, logs: Path, recipes: Iterable[tuple[str, str, str]], seeds: Sequence[int]
) -> list[RunStatus]:
    """One entry for each run of the grid, in its order.

    Args:
        runs: folder of `<backbone>/<loss>/<decoder>/seed-<s>/run.yaml`.
        logs: folder of `<backbone>/<loss>/<decoder>/seed-<s>.log`.
        recipes, seeds: of the grid.
    """
    return [_entry(runs, logs, recipe, seed) for recipe in recipes for seed in seeds]


def _entry(runs: Path, logs: Path, recipe: tuple[str, str, str], seed: int) -> RunStatus:
    folder = runs / run_name(*recipe, seed)
    record = folder / "run.yaml"
    if record.is_file():
        found = yaml.load(record.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        return RunStatus(recipe, seed, folder, found["status"], found["diverged"])
    log = logs / f"{run_name(*recipe, seed)}.log"
    return (
        RunStatus(recipe, seed, folder, FAILED, f"log: {log}")
        if log.is_file()
        else RunStatus(recipe, seed, folder, MISSING)
    )


def comparable_runs(entries: Sequence[RunStatus]) -> ComparableRuns:
    """The recipes and seeds whose runs are compared: every such recipe with every such seed.

    A recipe takes part with at least half of the study's seeds; the seeds are those that all of these recipes have.

    Raises:
        StudyError: no recipe has so many finished runs, or they share no seed.
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
            remedy="start the study again, or mend the settings of the recipes that diverge",
        )
    return ComparableRuns(kept, common)
