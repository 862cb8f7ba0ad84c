"""The power of a study before its first run, from its configuration and stated assumptions alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from terralucas.statistics.power import Spreads, chips_needed, planned_spreads, seeds_needed, smallest_difference
from terralucas.tables.tidy_csv import tidy_table

POWER = 0.8


@dataclass(frozen=True)
class Plan:
    """The design of a study.

    Attributes:
        class_counts: chips of each class; of a holdout those of its test part.
        folds: K of the k folds; 1 for a holdout.
        seeds: J.
        test_to_train: n_test / n_train; 0 for a holdout.
        margin: largest difference in macro accuracy that would not matter.
        level: of the intervals.
    """

    class_counts: Sequence[float]
    folds: int
    seeds: int
    test_to_train: float
    margin: float
    level: float

    @classmethod
    def from_config(
        cls, split: Mapping[str, Any], seeds: int, class_counts: Sequence[int], margin: float, level: float
    ) -> Plan:
        """The design of a configuration's `split` section and number of seeds."""
        if split["strategy"] == "holdout":
            tested = [max(1.0, count * split["test_share"]) for count in class_counts]
            return cls(tested, 1, seeds, 0.0, margin, level)
        test = 1.0 / split["folds"]
        train = (1.0 - test) * (1.0 - split["validation_share"])
        return cls(class_counts, split["folds"], seeds, test / train, margin, level)


@dataclass(frozen=True)
class Assumptions:
    """What is assumed of two recipes; `report.planning` in the configuration.

    Attributes:
        recall: of every class.
        paired_correlation: of both recipes being right on the same chip.
        training_sd: standard deviation over trainings of one run's difference in macro accuracy.
    """

    recall: float
    paired_correlation: float
    training_sd: float


def spreads_of(plan: Plan, assumptions: Assumptions) -> Spreads:
    """What the difference of two recipes would vary by."""
    return planned_spreads(
        plan.class_counts, plan.folds, plan.seeds, plan.test_to_train, [assumptions.recall] * len(plan.class_counts),
        assumptions.paired_correlation, assumptions.training_sd,
    )  # fmt: skip


def planned_power(plan: Plan, assumptions: Assumptions) -> pd.DataFrame:
    """One row for each number of seeds, from the study's own to more repetitions, and what it could show.

    Columns: seeds, smallest_difference (macro accuracy, with 80 % power, two recipes), margin, seeds_needed,
    chips_factor_needed (both to decide the margin; empty where none would), and the assumptions.
    """
    alpha, rows = 1.0 - plan.level, []
    numbers = sorted({plan.seeds, *(plan.folds * repetitions for repetitions in (1, 2, 4, 10))} - {1})
    needed = seeds_needed(
        lambda seeds: spreads_of(replace(plan, seeds=seeds), assumptions), plan.margin, alpha, plan.folds, POWER
    )
    for seeds in numbers:
        spreads = spreads_of(replace(plan, seeds=seeds), assumptions)
        rows.append({
            "metric": "macro_accuracy", "seeds": seeds, "power": POWER,
            "smallest_difference": smallest_difference(spreads, alpha, POWER),
            "margin": plan.margin, "seeds_needed": needed,
            "chips_factor_needed": chips_needed(spreads, plan.margin, alpha, POWER),
            **vars(assumptions),
        })  # fmt: skip
    return tidy_table(rows)


def sentences(table: pd.DataFrame, plan: Plan, assumptions: Assumptions) -> list[str]:
    """The table in words."""
    own = table[table["seeds"] == plan.seeds]
    said = [
        f"Assuming a recall of {assumptions.recall:g} in every class, a correlation of "
        f"{assumptions.paired_correlation:g} between two recipes on the same chip, and "
        f"{100 * assumptions.training_sd:g} points of spread over trainings:"
    ]
    if len(own):
        smallest = 100 * own["smallest_difference"].item()
        said.append(
            f"With {plan.seeds} seeds, two recipes must differ by {smallest:.1f} points of macro accuracy to be told "
            f"apart with {100 * POWER:g} % power; averages over other settings need less."
        )
    else:
        said.append("One seed tells nothing about differences.")
    margin, needed = 100 * plan.margin, table["seeds_needed"].iloc[0]
    factor = own["chips_factor_needed"].item() if len(own) else float("nan")
    if pd.notna(needed):
        said.append(f"Deciding {margin:g} points takes {needed:.0f} seeds.")
    elif pd.notna(factor):
        said.append(f"No number of seeds decides {margin:g} points; {factor:.1f} times the chips of every class would.")
    else:
        said.append(f"Neither more seeds nor more chips decide {margin:g} points; training varies too much.")
    return said
