"""Claims of an earlier study: statements about contrasts that this study supports, refutes or cannot decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from terralucas.statistics.contrasts import Contrast, holm
from terralucas.tables.vocabulary import (
    AVERAGED,
    INCONCLUSIVE,
    REFUTED,
    REFUTED_AS_EQUIVALENT,
    REFUTED_BUT_SMALL,
    RELATION_EQUIVALENT,
    RELATION_HIGHER,
    SUPPORTED,
    SUPPORTED_BUT_SMALL,
    Difference,
)

COLUMNS = (
    *("claim", "says", "a", "b", "metric", "relation", "margin", "verdict"),
    *("difference", "crossed_low", "crossed_high", "n_seeds", "p_holm", "p_equivalence_holm", "p_exceeding_holm"),
    *("seeds_needed", "chips_factor_needed"),
)


@dataclass(frozen=True)
class Claim:
    """A statement about the difference a − b of a factor in one score, averaged over the other factors.

    Attributes:
        name: short name, e.g. `C1`.
        says: the statement in words.
        difference: factor, a, b.
        metric: name of the score.
        relation: how a compares with b: `higher`, `lower` or `equivalent`.
        margin: for `equivalent`, the largest difference that the claim allows. None stands for the study's margin of
            the score; that margin also decides whether equivalence refutes a claim of `higher` or `lower`.
    """

    name: str
    says: str
    difference: Difference
    metric: str
    relation: str
    margin: float | None

    @classmethod
    def from_config(cls, entry: Mapping[str, Any]) -> Claim:
        """Make a claim from an entry of `report.claims`."""
        contrast = entry["contrast"]
        difference = (contrast["factor"], contrast["a"], contrast["b"])
        return cls(entry["name"], entry["says"], difference, entry["metric"], entry["relation"], entry["margin"])

    def is_about(self, contrast: Contrast) -> bool:
        """Return whether a contrast is the difference of the claim, or its negative."""
        return contrast.family == AVERAGED and contrast.name in self.names

    @property
    def names(self) -> tuple[str, str]:
        """Name of the claim's contrast, and name of its negative."""
        _, a, b = self.difference
        return f"{a} − {b}", f"{b} − {a}"


def add_claimed_differences(differences: Sequence[Difference], claims: Sequence[Claim]) -> list[Difference]:
    """Return the differences that a study asks for, and the differences of claims that are not yet among them.

    A difference a − b counts as present if the study asks for a − b or for b − a.
    """
    asked = list(differences)
    for factor, a, b in (claim.difference for claim in claims):
        if not {(factor, a, b), (factor, b, a)} & set(asked):
            asked.append((factor, a, b))
    return asked


def judge(
    claims: Sequence[Claim], contrasts: pd.DataFrame, power: pd.DataFrame, tests: pd.DataFrame, alpha: float
) -> pd.DataFrame:
    """Judge claims by the tests of their contrasts.

    A claim of `higher` or `lower` is supported if the difference is shown in the claimed direction. It is refuted if
    the difference is shown in the other direction, or is shown to lie within the margin. The verdict also says whether
    a shown difference is smaller than the margin. A claim of equivalence is supported if the difference is shown to lie
    within its margin, and refuted if it is shown to lie beyond. All other claims are inconclusive, and with one seed
    every claim is. A result is shown if its Holm-adjusted p value is below alpha; docs/statistics.md says which tests
    are adjusted together.

    Args:
        claims: the claims of the study.
        contrasts: contrasts.csv of one set of classes.
        power: power.csv of the same classes.
        tests: for claims of equivalence, the columns `claim`, `p_equivalence`, `p_exceeding`, `seeds_needed` and
            `chips_factor_needed`.
        alpha: level of the tests.

    Returns:
        The columns of `COLUMNS` with one row for each claim. Differences are a − b as in the claim. If the study lacks
        a or b, the numbers are missing and the claim is inconclusive.
    """
    by_claim = {row["claim"]: row for row in tests.to_dict("records")}
    rows = [_claim_row(claim, contrasts, power, by_claim.get(claim.name)) for claim in claims]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = ["p_equivalence_holm", "p_exceeding_holm"]
    table[numbers] = table[numbers].astype(float)
    _adjust_p_values(table, np.array([claim.margin is not None for claim in claims]), contrasts)
    table["verdict"] = [_verdict(row, alpha) for row in table.to_dict("records")]
    return table


def _claim_row(
    claim: Claim, contrasts: pd.DataFrame, power: pd.DataFrame, test: Mapping[str, Any] | None
) -> dict[str, Any]:
    _, a, b = claim.difference
    row: dict[str, Any] = {
        "claim": claim.name,
        "says": claim.says,
        "a": a,
        "b": b,
        "metric": claim.metric,
        "relation": claim.relation,
        "margin": claim.margin,
    }
    found = _row_of_contrast(contrasts, claim)
    if found is None:
        return row
    is_reversed = found["contrast"] != claim.names[0]
    difference, low, high = (found[name] for name in ("difference", "crossed_low", "crossed_high"))
    needs = test if test is not None else _row_of_contrast(power, claim) or {}
    return row | {
        "margin": found["margin"] if claim.margin is None else claim.margin,
        "difference": -difference if is_reversed else difference,
        "crossed_low": -high if is_reversed else low,
        "crossed_high": -low if is_reversed else high,
        "n_seeds": found["n_seeds"],
        "p_holm": found["p_holm"],
        # If the claim has its own margin, `_adjust_p_values` adjusts this p value later.
        "p_equivalence_holm": found["p_equivalence_holm"] if claim.margin is None else test and test["p_equivalence"],
        "p_exceeding_holm": test["p_exceeding"] if test is not None else np.nan,
        "seeds_needed": needs.get("seeds_needed"),
        "chips_factor_needed": needs.get("chips_factor_needed"),
    }


def _row_of_contrast(table: pd.DataFrame, claim: Claim) -> dict[str, Any] | None:
    """Return the row of a claim's contrast in contrasts.csv or power.csv, or None if there is none."""
    chosen = table[
        table["contrast"].isin(claim.names) & (table["family"] == AVERAGED) & (table["metric"] == claim.metric)
    ]
    return None if chosen.empty else chosen.iloc[0].to_dict()


def _adjust_p_values(table: pd.DataFrame, has_own_margin: np.ndarray, contrasts: pd.DataFrame) -> None:
    """Adjust the p values of claims by Holm's method, within each score.

    The tests that a difference lies beyond the margin form one family. The equivalence tests of claims with their own
    margin are adjusted together with the equivalence tests of the averaged contrasts.
    """
    for metric, rows in table.groupby("metric"):
        table.loc[rows.index, "p_exceeding_holm"] = holm(rows["p_exceeding_holm"])
        own = table.index[has_own_margin & (table["metric"] == metric)]
        family = contrasts[(contrasts["family"] == AVERAGED) & (contrasts["metric"] == metric)]
        joined = pd.concat([table.loc[own, "p_equivalence_holm"], family["p_equivalence"]], ignore_index=True)
        table.loc[own, "p_equivalence_holm"] = holm(joined.astype(float))[: len(own)]


def _verdict(row: Mapping[str, Any], alpha: float) -> str:
    if not (pd.notna(row["crossed_low"]) and row["n_seeds"] > 1):
        return INCONCLUSIVE
    is_equivalent = row["p_equivalence_holm"] < alpha
    if row["relation"] == RELATION_EQUIVALENT:
        return SUPPORTED if is_equivalent else REFUTED if row["p_exceeding_holm"] < alpha else INCONCLUSIVE
    if row["p_holm"] < alpha:
        is_as_claimed = (row["difference"] > 0) == (row["relation"] == RELATION_HIGHER)
        if is_as_claimed:
            return SUPPORTED_BUT_SMALL if is_equivalent else SUPPORTED
        return REFUTED_BUT_SMALL if is_equivalent else REFUTED
    return REFUTED_AS_EQUIVALENT if is_equivalent else INCONCLUSIVE
