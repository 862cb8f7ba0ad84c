"""The box “How far to trust it”: what limits the answer, in a few lines beside it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from terralucas.report.sections.classes import chips_by_class, fewest_text
from terralucas.report.sections.space import NO_WIDER, WIDER, correlated_recipes, widening
from terralucas.report.sections.variance import why_unknown
from terralucas.report.wording import count_text
from terralucas.tables.scores import MAIN_SCORES, PERCENT, PERCENT_SIGN
from terralucas.tables.vocabulary import ALL_CLASSES, CHIPS, CONTROL, SPLIT

# A class with fewer test chips has a recall that one chip moves by more than 3 points.
FEW_CHIPS = 30
# From these shares on, a line is marked.
_MANY = 0.5


@dataclass(frozen=True)
class TrustItem:
    """A line of the box: what it is about, what was found, and whether it weakens the answer."""

    label: str
    text: str
    weakens: bool


def trust_items(
    per_class: pd.DataFrame,
    variance: pd.DataFrame,
    overlap: pd.DataFrame,
    spatial: pd.DataFrame,
    correlation: pd.DataFrame,
    runs: pd.DataFrame,
    simulated: bool,
    random_weights: list[str],
) -> list[TrustItem]:
    """Collect what a reader must know before believing the answer.

    Args:
        per_class, variance, overlap, spatial, correlation, runs: the tables of these names.
        simulated: whether the chips are simulated.
        random_weights: backbones whose weights are random.
    """
    items = [_origin(simulated, random_weights), _rarest(per_class), _training(variance), _ground(overlap)]
    return [each for each in [*items, _space(spatial, correlation), _epochs(runs)] if each is not None]


def _origin(simulated: bool, random_weights: list[str]) -> TrustItem:
    chips = "simulated chips" if simulated else "chips from files"
    weights = f"random weights ({', '.join(random_weights)})" if random_weights else "pre-trained weights"
    return TrustItem("Chips and weights", f"{chips}, {weights}", simulated or bool(random_weights))


def _rarest(per_class: pd.DataFrame) -> TrustItem | None:
    chips = chips_by_class(per_class)
    if chips.empty:
        return None
    n = int(chips.min())
    one = 100.0 / n / len(chips)
    text = f"{fewest_text(chips, 'test chip')}: one more right is {one:.1f} points of macro accuracy"
    return TrustItem("Rarest class", text, n < FEW_CHIPS)


def _training(variance: pd.DataFrame) -> TrustItem | None:
    rows = variance[
        variance["classes"].eq(ALL_CLASSES)
        & variance["metric"].isin(list(MAIN_SCORES))
        & ~variance["component"].isin([CHIPS, SPLIT])
    ]
    known = rows["variance"].notna()
    if not known.any():
        return TrustItem("Spread of training", f"unknown: {why_unknown(rows)}", True)
    rows = rows[known]
    if rows["share"].isna().all():
        return TrustItem("Spread of training", "none seen: all runs of a recipe have the same accuracies", True)
    zero = int(rows["note"].astype(str).str.contains("below 0").sum())
    text = (
        f"hidden by the chance of the test chips in {zero} of {len(rows)} estimates; intervals take it from all "
        "recipes together"
        if zero
        else f"measured for all {len(rows)} estimates"
    )
    return TrustItem("Spread of training", text, zero / len(rows) > _MANY)


def _ground(overlap: pd.DataFrame) -> TrustItem:
    if overlap.empty:
        return TrustItem("Shared ground", "unknown: not all chips have coordinates", True)
    share = overlap["n_overlapping"].sum() / overlap["n_test"].sum()
    text = f"{PERCENT.text(share)}{PERCENT_SIGN} of the test chips show ground that a training chip shows"
    return TrustItem("Shared ground", text if share else "no test chip shows ground of a training chip", share > _MANY)


def _space(spatial: pd.DataFrame, correlation: pd.DataFrame) -> TrustItem:
    if correlation.empty:
        return TrustItem("Neighbours", "taken as independent; without coordinates this cannot be checked", True)
    found, of = correlated_recipes(correlation)
    factor = widening(spatial)
    if factor is None:
        wider = ""
    elif factor < NO_WIDER:
        wider = "; with ground resampled in blocks, intervals are no wider"
    else:
        wider = f"; with ground resampled in blocks, intervals are {factor:.1f} times as wide"
    text = f"right or wrong together for {found} of {count_text(of, 'recipe')}{wider}" if of else f"few pairs{wider}"
    return TrustItem("Neighbours", text, found / max(of, 1) > _MANY or (factor or 0.0) > WIDER)


def _epochs(runs: pd.DataFrame) -> TrustItem | None:
    trained = runs[runs["best_epoch"].notna() & (runs["loss"] != CONTROL)]
    if trained.empty:
        return None
    last = int((trained["best_epoch"] == trained["epochs"]).sum())
    text = f"best at the last epoch in {last} of {count_text(len(trained), 'run')}"
    if last:
        text += ": longer training may score higher"
    return TrustItem("Training length", text, last / len(trained) > _MANY)
