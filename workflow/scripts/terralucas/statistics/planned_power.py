"""The power of a study before its first run, computed from its configuration and stated assumptions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from terralucas.statistics.power import (
    POWER,
    Spreads,
    chips_needed,
    planned_spreads,
    seeds_needed,
    share_of_seeds,
    smallest_difference,
)
from terralucas.tables.scores import FEWEST_CHIPS
from terralucas.tables.tidy_csv import tidy_table


@dataclass(frozen=True)
class Plan:
    """The design of a study before its runs.

    Attributes:
        class_counts: number of chips of each class; for a holdout, only the test chips.
        folds: number of folds K; 1 for a holdout.
        seeds: number of seeds J.
        test_to_train: n_test / n_train; 0 for a holdout.
        margin: largest difference in macro accuracy that does not matter in practice.
        level: confidence level of the intervals.
        contrasts: number of contrasts of the study, which inform each other about the variance from training.
        family: number of contrasts of the question, among which p values are Holm-adjusted.
        tested: effective share of the chips that the seeds test (`power.share_of_seeds`); None for 0 to J − 1.
        untested: share of the chips that no seed is expected to test.
    """

    class_counts: Sequence[float]
    folds: int
    seeds: int
    test_to_train: float
    margin: float
    level: float
    contrasts: int = 1
    family: int = 1
    tested: float | None = None
    untested: float = 0.0

    @classmethod
    def from_config(
        cls,
        split: Mapping[str, Any],
        seeds: Sequence[int],
        class_counts: Sequence[int],
        margin: float,
        level: float,
        grid: Mapping[str, Sequence[Any]] | None = None,
        differences: Sequence[Mapping[str, str]] = (),
    ) -> Plan:
        """Make the design from the configuration.

        Args:
            split: section `split`.
            seeds: the seeds.
            class_counts: number of chips of each class.
            margin, level: as in the class.
            grid: section `grid`; None for two recipes alone.
            differences: `report.contrasts`.
        """
        contrasts = _count_contrasts(grid, differences) if grid else 1
        sizes = {"contrasts": max(contrasts, 1), "family": max(len(differences), 1)}
        if split["strategy"] == "holdout":
            tested = [max(1.0, count * split["test_share"]) for count in class_counts]
            return cls(tested, 1, len(seeds), 0.0, margin, level, **sizes)
        test = 1.0 / split["folds"]
        train = (1.0 - test) * (1.0 - split["validation_share"])
        share = share_of_seeds(seeds, split["folds"])
        by_repetition = Counter(seed // split["folds"] for seed in seeds)
        untested = math.prod(1.0 - number * test for number in by_repetition.values())
        return cls(
            class_counts, split["folds"], len(seeds), test / train, margin, level, **sizes, tested=share,
            untested=untested,
        )  # fmt: skip

    def with_seeds(self, seeds: int) -> Plan:
        """Return the design with the seeds 0 to J − 1; itself with its own number of seeds."""
        return self if seeds == self.seeds else replace(self, seeds=seeds, tested=None, untested=0.0)

    @property
    def alpha(self) -> float:
        """Level of a test in Holm's first step."""
        return (1.0 - self.level) / self.family


@dataclass(frozen=True)
class Assumptions:
    """Assumptions about two recipes; see `report.planning` in the configuration.

    Attributes:
        recall: recall of every class.
        paired_correlation: correlation between the two recipes' hits on the same chip.
        training_sd: standard deviation, over repeated trainings, of one run's difference in macro accuracy.
    """

    recall: float
    paired_correlation: float
    training_sd: float


def spreads_of(plan: Plan, assumptions: Assumptions) -> Spreads:
    """Return the expected spreads of the difference of two recipes.

    The variances of R contrasts with correlation r between their runs together have ν R / (1 + (R − 1) r²) degrees of
    freedom, with ν = J − 1 (`training_variance.pooled_freedom`); r is taken as that of two recipes' hits.
    """
    number, correlation = plan.contrasts, assumptions.paired_correlation
    pooled = (plan.seeds - 1) * number / (1.0 + (number - 1) * correlation**2)
    spreads = planned_spreads(
        plan.class_counts,
        plan.folds,
        plan.seeds,
        plan.test_to_train,
        [assumptions.recall] * len(plan.class_counts),
        assumptions.paired_correlation,
        assumptions.training_sd,
        plan.tested,
    )
    return replace(spreads, free=pooled)


def _count_contrasts(grid: Mapping[str, Sequence[Any]], differences: Sequence[Mapping[str, str]]) -> int:
    """Count the contrasts of a study: each difference over all other settings, and in each of their combinations."""
    sizes = {"backbone": len(grid["backbones"]), "loss": len(grid["losses"]), "decoder": len(grid["decoders"])}
    recipes = sizes["backbone"] * sizes["loss"] * sizes["decoder"]
    cells = [recipes // sizes[difference["factor"]] for difference in differences]
    return sum(1 + (number if number > 1 else 0) for number in cells)


def tests_macro_accuracy(plan: Plan) -> bool:
    """Return whether every class has enough test chips for an interval and a test of macro accuracy."""
    return min(plan.class_counts) >= FEWEST_CHIPS


def planned_power(plan: Plan, assumptions: Assumptions) -> pd.DataFrame:
    """Compute what the study could show with its own number of seeds, and with more repetitions of its folds.

    Returns:
        One row for each number of seeds. Columns: metric, seeds, power, smallest_difference (in macro accuracy, between
        two recipes, shown with that power), margin, seeds_needed, chips_factor_needed (both to decide the margin; empty
        if no number would), and the assumptions. Without `tests_macro_accuracy`, all but the margin are empty.
    """
    if not tests_macro_accuracy(plan):
        unknown = {"smallest_difference": np.nan, "margin": plan.margin, "seeds_needed": None}
        head = {"metric": "macro_accuracy", "seeds": plan.seeds, "power": POWER}
        return tidy_table([{**head, **unknown, "chips_factor_needed": None, **vars(assumptions)}])
    alpha, rows = plan.alpha, []
    numbers = sorted({plan.seeds, *(plan.folds * repetitions for repetitions in (1, 2, 4, 10))} - {1})
    needed = seeds_needed(
        lambda seeds: spreads_of(plan.with_seeds(seeds), assumptions), plan.margin, alpha, plan.folds, POWER
    )
    for seeds in numbers:
        spreads = spreads_of(plan.with_seeds(seeds), assumptions)
        rows.append(
            {
                "metric": "macro_accuracy",
                "seeds": seeds,
                "power": POWER,
                "smallest_difference": smallest_difference(spreads, alpha, POWER),
                "margin": plan.margin,
                "seeds_needed": needed,
                "chips_factor_needed": chips_needed(spreads, plan.margin, alpha, POWER),
                **vars(assumptions),
            }
        )
    return tidy_table(rows)


def sentences(table: pd.DataFrame, plan: Plan, assumptions: Assumptions) -> list[str]:
    """Describe the table of `planned_power` in sentences."""
    if not tests_macro_accuracy(plan):
        return [
            f"The rarest class would have about {min(plan.class_counts):.0f} test chip(s). With fewer than "
            f"{FEWEST_CHIPS}, macro accuracy has no interval for new chips and no test: use folds "
            "(split.strategy: kfold), a larger split.test_share, or more chips."
        ]
    own = table[table["seeds"] == plan.seeds]
    lines = [
        f"Assuming a recall of {assumptions.recall:g} in every class, a correlation of "
        f"{assumptions.paired_correlation:g} between two recipes on the same chip, and "
        f"{100 * assumptions.training_sd:g} points of spread over trainings"
        + (f", and p values adjusted over {plan.family} contrasts:" if plan.family > 1 else ":")
    ]
    if len(own):
        smallest = 100 * own["smallest_difference"].item()
        # More is no difference of two accuracies.
        points = f"{smallest:.1f}" if smallest <= 100 else "more than 100"
        lines.append(
            f"With {plan.seeds} seeds, two recipes must differ by {points} points of macro accuracy to be told "
            f"apart with {100 * POWER:g} % power; averages over other settings need less."
        )
        if plan.tested is not None and plan.tested < share_of_seeds(range(plan.seeds), plan.folds) - 1e-9:
            lines.append(
                f"These seeds are expected to leave {100 * plan.untested:.0f} % of the chips untested, because they "
                f"test folds of several repetitions; the seeds 0 to {plan.seeds - 1} test more (seed s tests fold "
                f"s mod {plan.folds} of repetition s // {plan.folds})."
            )
    else:
        lines.append("One seed tells nothing about differences.")
    margin, needed = 100 * plan.margin, table["seeds_needed"].iloc[0]
    factor = own["chips_factor_needed"].item() if len(own) else float("nan")
    if pd.notna(needed):
        lines.append(f"Deciding {margin:g} points takes {needed:.0f} seeds.")
    elif pd.notna(factor):
        lines.append(
            f"No number of seeds decides {margin:g} points; {factor:.1f} times the chips of every class would."
        )
    elif len(own):
        lines.append(f"Neither more seeds nor more chips alone decide {margin:g} points; both together may.")
    return lines
