"""What an earlier study claims, as statements about contrasts, and whether this study supports or refutes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from terralucas.statistics.contrasts import Contrast, holm
from terralucas.tables.vocabulary import (
    AVERAGED,
    REFUTED,
    RELATION_EQUIVALENT,
    RELATION_HIGHER,
    SUPPORTED,
    UNDECIDABLE,
    Difference,
)

COLUMNS = (
    "claim", "says", "a", "b", "metric", "relation", "margin", "verdict",
    "difference", "crossed_low", "crossed_high", "n_seeds", "p_holm", "p_equivalence_holm", "p_exceeding_holm",
    "seeds_needed", "chips_factor_needed",
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """A statement about the difference a − b of a factor in one score, averaged over the other factors.

    Attributes:
        name: short, e.g. `C1`.
        says: the statement in words.
        difference: factor, a, b.
        metric: score it is about.
        relation: what it says of a beside b: `higher`, `lower` or `equivalent`.
        margin: of `equivalent`, the largest difference it allows; None takes the study's margin of the score, with
            which a directed claim is refuted by equivalence too.
    """

    name: str
    says: str
    difference: Difference
    metric: str
    relation: str
    margin: float | None

    @classmethod
    def from_config(cls, entry: Mapping[str, Any]) -> Claim:
        """An entry of `report.claims`."""
        contrast = entry["contrast"]
        difference = (contrast["factor"], contrast["a"], contrast["b"])
        return cls(entry["name"], entry["says"], difference, entry["metric"], entry["relation"], entry["margin"])

    def is_about(self, contrast: Contrast) -> bool:
        """Whether a contrast is the claim's difference or its negative."""
        return contrast.family == AVERAGED and contrast.name in self.names

    @property
    def names(self) -> tuple[str, str]:
        """Names of the contrast and of its negative."""
        _, a, b = self.difference
        return f"{a} − {b}", f"{b} − {a}"


def with_claims(differences: Sequence[Difference], claims: Sequence[Claim]) -> list[Difference]:
    """The differences a study asks for, and those of claims that are not among them in either direction."""
    asked = list(differences)
    for factor, a, b in (claim.difference for claim in claims):
        if not {(factor, a, b), (factor, b, a)} & set(asked):
            asked.append((factor, a, b))
    return asked


def judge(
    claims: Sequence[Claim], contrasts: pd.DataFrame, power: pd.DataFrame, tests: pd.DataFrame, alpha: float
) -> pd.DataFrame:
    """Judge claims by the tests of their contrasts.

    A directed claim is supported where the difference is shown in its direction, and refuted where it is shown in the
    other or shown to lie within the margin. A claim of equivalence is supported where the difference is shown to lie
    within its margin, and refuted where it is shown to lie beyond. What neither shows is undecidable, as is everything
    with one seed. All by Holm-adjusted p values below alpha; docs/statistics.md says over which tests.

    Args:
        claims: of the study.
        contrasts: contrasts.csv of one set of classes.
        power: power.csv of the same.
        tests: for claims of equivalence `claim`, `margin`, `p_equivalence`, `p_exceeding`, `seeds_needed`,
            `chips_factor_needed`.
        alpha: level of the tests.

    Returns:
        The columns of `COLUMNS`, one row for each claim, differences as a − b of the claim; without numbers and
        undecidable where the study lacks a or b.
    """
    by_claim = {row["claim"]: row for row in tests.to_dict("records")}
    rows = [_row(claim, contrasts, power, by_claim.get(claim.name)) for claim in claims]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = ["p_equivalence_holm", "p_exceeding_holm"]
    table[numbers] = table[numbers].astype(float)
    _adjust(table, np.array([claim.margin is not None for claim in claims]), contrasts)
    table["verdict"] = [_verdict(row, alpha) for row in table.to_dict("records")]
    return table


def _row(claim: Claim, contrasts: pd.DataFrame, power: pd.DataFrame, test: Mapping[str, Any] | None) -> dict[str, Any]:
    _, a, b = claim.difference
    row: dict[str, Any] = {
        "claim": claim.name, "says": claim.says, "a": a, "b": b, "metric": claim.metric, "relation": claim.relation,
        "margin": claim.margin,
    }  # fmt: skip
    found = _of(contrasts, claim)
    if found is None:
        return row
    is_turned = found["contrast"] != claim.names[0]
    difference, low, high = (found[name] for name in ("difference", "crossed_low", "crossed_high"))
    needs = test if test is not None else _of(power, claim) or {}
    return row | {
        "margin": found["margin"] if claim.margin is None else claim.margin,
        "difference": -difference if is_turned else difference,
        "crossed_low": -high if is_turned else low,
        "crossed_high": -low if is_turned else high,
        "n_seeds": found["n_seeds"],
        "p_holm": found["p_holm"],
        # Of a margin of the claim's own the p values are adjusted below.
        "p_equivalence_holm": found["p_equivalence_holm"] if claim.margin is None else test and test["p_equivalence"],
        "p_exceeding_holm": test["p_exceeding"] if test is not None else np.nan,
        "seeds_needed": needs.get("seeds_needed"),
        "chips_factor_needed": needs.get("chips_factor_needed"),
    }


def _of(table: pd.DataFrame, claim: Claim) -> dict[str, Any] | None:
    """The row of a claim's contrast in contrasts.csv or power.csv."""
    chosen = table[
        table["contrast"].isin(claim.names) & (table["family"] == AVERAGED) & (table["metric"] == claim.metric)
    ]
    return None if chosen.empty else chosen.iloc[0].to_dict()


def _adjust(table: pd.DataFrame, has_own_margin: np.ndarray, contrasts: pd.DataFrame) -> None:
    """Holm: tests of claims' own margins join the family's equivalence tests; tests beyond a margin are a family."""
    for metric, rows in table.groupby("metric"):
        table.loc[rows.index, "p_exceeding_holm"] = holm(rows["p_exceeding_holm"])
        own = table.index[has_own_margin & (table["metric"] == metric)]
        family = contrasts[(contrasts["family"] == AVERAGED) & (contrasts["metric"] == metric)]
        joined = pd.concat([table.loc[own, "p_equivalence_holm"], family["p_equivalence"]], ignore_index=True)
        table.loc[own, "p_equivalence_holm"] = holm(joined.astype(float))[: len(own)]


def _verdict(row: Mapping[str, Any], alpha: float) -> str:
    if not (pd.notna(row["crossed_low"]) and row["n_seeds"] > 1):
        return UNDECIDABLE
    is_equivalent = row["p_equivalence_holm"] < alpha
    if row["relation"] == RELATION_EQUIVALENT:
        return SUPPORTED if is_equivalent else REFUTED if row["p_exceeding_holm"] < alpha else UNDECIDABLE
    if row["p_holm"] < alpha:
        return SUPPORTED if (row["difference"] > 0) == (row["relation"] == RELATION_HIGHER) else REFUTED
    return REFUTED if is_equivalent else UNDECIDABLE
