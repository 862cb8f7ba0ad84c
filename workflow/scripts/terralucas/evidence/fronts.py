"""Fronts of macro against micro accuracy of finished runs under shifts of the class prior.

A loss that gives rare classes more weight increases macro accuracy and decreases micro accuracy. Subtracting
τ · log prior from the logits of a finished run does the same without any training (Menon et al. 2021, Long-tail
learning via logit adjustment, eq. 9). The shifts of one run form a curve, its front. If the fronts of two recipes
coincide, one recipe is not better than the other: they are different points of the same trade-off.

A run with an unweighted loss predicts rare classes too rarely; shifts from τ = 0 to 2 correct that, and τ = 1 stands
for equal classes. A run with a balanced loss was trained for equal classes; τ = −1 removes that effect. τ takes both
signs, so that every run covers the whole front.

A front shows the test scores of all τ, so that its best point is chosen with the test chips and looks too good. The
table of runs has the scores with a shift that was chosen on validation chips.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from terralucas.processes import compute_each
from terralucas.statistics.run_predictions import Part, RunPredictions
from terralucas.statistics.seed_means import SeedDesign, scopes_of, summary_over_seeds
from terralucas.tables.scores import MAIN_SCORES
from terralucas.tables.tidy_csv import by_recipe, tidy_table
from terralucas.tables.vocabulary import EQUAL_MICRO, RECIPE

# −2, −1.95, … 2.
TAUS = np.arange(-40, 41) / 20
UNSHIFTED = 40
LEVELS = 21
RUN_METRICS = (
    "hypervolume",
    "tau",
    *(f"{score}_{stage}" for stage in ("unshifted", "shifted") for score in MAIN_SCORES),
)
PAIRED_METRICS = tuple(metric for metric in RUN_METRICS if metric != "tau")


@dataclass(frozen=True)
class Front:
    """The test scores of one run under all shifts.

    Attributes:
        names: backbone, loss, decoder, seed.
        scores: (81, 2) macro and micro accuracy of the test chips for each τ.
        chosen: position in `TAUS` of the shift with the best score of the study's monitor.
        chosen_on: "validation", or "test" if there are no validation chips.
    """

    names: Mapping[str, Any]
    scores: np.ndarray
    chosen: int
    chosen_on: str


def sweep(part: Part, prior: np.ndarray) -> np.ndarray:
    """Compute macro and micro accuracy for every τ in `TAUS`.

    Args:
        part: chips with labels and logits.
        prior: (K,) share of each class among the training chips.

    Returns:
        (81, 2) macro and micro accuracy; macro accuracy is the mean recall of the classes that occur.
    """
    shifted = part.logits.astype(np.float64)[None] - TAUS[:, None, None] * np.log(prior)
    hits = shifted.argmax(axis=2) == part.labels
    truth = np.eye(len(prior))[part.labels]
    present = truth.any(axis=0)
    recall = (hits @ truth)[:, present] / truth.sum(axis=0)[present]
    return np.column_stack([recall.mean(axis=1), hits.mean(axis=1)])


def trace(
    runs: Sequence[RunPredictions], priors: Mapping[int, np.ndarray], monitor: str, processes: int = 1
) -> list[Front]:
    """Compute the front of every run.

    Args:
        runs: predictions of the runs for test and validation chips.
        priors: seed → (K,) class shares of the training chips.
        monitor: `macro_accuracy` or `micro_accuracy`; the τ with the best such score is chosen. If several are equal,
            the one nearest to 0 is chosen.
        processes: number of processes that compute.
    """

    def front_of(run: RunPredictions) -> Front:
        prior = priors[run.names["seed"]]
        scores = sweep(run.test, prior)
        choosing = scores if run.validation is None else sweep(run.validation, prior)
        monitored = choosing[:, MAIN_SCORES.index(monitor)]
        chosen = int(min(np.flatnonzero(monitored == monitored.max()), key=lambda index: abs(TAUS[index])))
        return Front(run.names, scores, chosen, run.chosen_on)

    return compute_each(front_of, runs, processes)


def pareto(scores: np.ndarray) -> np.ndarray:
    """Return the (P, 2) Pareto-optimal points, with micro accuracy ascending and macro accuracy descending.

    A point is Pareto-optimal if no other point is better in one score and at least equal in the other.
    """
    order = np.lexsort((-scores[:, 0], -scores[:, 1]))
    kept: list[np.ndarray] = []
    for point in scores[order]:
        if not kept or point[0] > kept[-1][0]:
            kept.append(point)
    return np.array(kept[::-1])


def hypervolume(scores: np.ndarray) -> float:
    """Compute the area of all pairs (macro, micro) that some point reaches or exceeds; the reference point is (0, 0).

    Zitzler & Thiele (1999), Multiobjective evolutionary algorithms, IEEE Trans. Evol. Comput. 3(4).
    """
    front = pareto(scores)
    steps = np.diff(front[:, 1], prepend=0.0)
    return float((steps * front[:, 0]).sum())


def macro_at(scores: np.ndarray, micro: np.ndarray) -> np.ndarray:
    """Return the macro accuracy that a run reaches with at least each micro accuracy.

    Between two points of the front, the macro accuracy is interpolated linearly. A random choice between the two shifts
    for each chip would reach it.

    Args:
        scores: (T, 2) macro and micro accuracy.
        micro: (L,) micro accuracies.

    Returns:
        (L,) macro accuracies; NaN above the highest micro accuracy of the run.
    """
    front = pareto(scores)
    # The tolerance keeps the highest level, which is computed from the scores and may differ from them by rounding.
    return np.where(micro <= front[-1, 1] + 1e-12, np.interp(micro, front[:, 1], front[:, 0]), np.nan)


def common_levels(fronts: Sequence[Front]) -> np.ndarray:
    """Return 21 equally spaced micro accuracies, from the lowest end of all fronts to the highest that all reach."""
    ends = np.array([pareto(front.scores)[[0, -1], 1] for front in fronts])
    return np.linspace(ends[:, 0].min(), ends[:, 1].min(), LEVELS)


def front_runs_table(fronts: Sequence[Front]) -> pd.DataFrame:
    """Make a table with the hypervolume, the chosen τ, and the test scores without and with it of each run."""
    rows = []
    for front in fronts:
        row = {name: front.names[name] for name in (*RECIPE, "seed")}
        row |= {"hypervolume": hypervolume(front.scores), "tau": TAUS[front.chosen], "chosen_on": front.chosen_on}
        for stage, index in (("unshifted", UNSHIFTED), ("shifted", front.chosen)):
            row |= {f"{score}_{stage}": front.scores[index, column] for column, score in enumerate(MAIN_SCORES)}
        rows.append(row)
    return tidy_table(rows)


def summary_table(fronts: Sequence[Front], design: SeedDesign) -> pd.DataFrame:
    """Compute the mean over seeds with its interval, with one row for each recipe and metric of `RUN_METRICS`."""
    ends = {metric: (TAUS[0], TAUS[-1]) if metric == "tau" else (0.0, 1.0) for metric in RUN_METRICS}
    return summary_over_seeds(front_runs_table(fronts), ends, design)


def points_table(fronts: Sequence[Front], design: SeedDesign) -> pd.DataFrame:
    """Compute the mean over seeds with its interval, with one row for each recipe, τ and score.

    The column `on_front` is True if the recipe's mean scores for this τ are a Pareto-optimal point.
    """
    tables = []
    for names, group in _by_recipe(fronts):
        rows = []
        scores = np.array([front.scores for front in group])
        # Rounded, so that the last bit of a mean does not decide between equal points.
        means = scores.mean(axis=0).round(12)
        best = {tuple(point) for point in pareto(means)}
        for step, tau in enumerate(TAUS):
            on_front = tuple(means[step]) in best
            for column, score in enumerate(MAIN_SCORES):
                interval = design.columns(design.interval(scores[:, step, column]), 0.0, 1.0)
                rows.append({**names, "tau": tau, "metric": score, **interval, "on_front": on_front})
        # As a table, the rows of thousands of recipes take a tenth of the memory.
        tables.append(tidy_table(rows))
    return pd.concat(tables, ignore_index=True)


def contrasts_table(
    fronts: Sequence[Front], contrasts: Sequence[Mapping[str, str]], design: SeedDesign
) -> pd.DataFrame:
    """Compute contrasts a − b of fronts, with one row for each contrast, scope and metric.

    Differences are paired over seeds and averaged over the other factors. The metrics are those of `PAIRED_METRICS`,
    and macro accuracy at equal micro accuracy. The latter is given as a mean over 21 levels that both fronts of a pair
    reach (`micro_accuracy` is empty), and at each of 21 levels that all pairs reach (`micro_accuracy` is the level).
    """
    columns = ["contrast", "factor", "a", "b", "scope", "metric", "micro_accuracy", "difference", "sd", "n_seeds"]
    columns += ["n_cells", "ci_low", "ci_high", "p_value", "interval", "level"]
    rows = []
    for contrast in contrasts:
        for scope, backbones in scopes_of([front.names["backbone"] for front in fronts], contrast).items():
            pairs = _pairs([front for front in fronts if front.names["backbone"] in backbones], contrast)
            if not pairs:
                continue
            names = {"contrast": f"{contrast['a']} − {contrast['b']}", **contrast, "scope": scope}
            for metric, level, differences in _differences(pairs):
                by_seed = differences.groupby(level="seed").mean()
                interval = design.interval(by_seed.to_numpy())
                # All metrics lie between 0 and 1.
                values = design.columns(interval, -1.0, 1.0)
                values |= {"difference": values.pop("mean"), "p_value": interval.p_value}
                values["n_cells"] = len(differences) // len(by_seed)
                rows.append({**names, "metric": metric, "micro_accuracy": level, **values})
    return tidy_table(rows, columns)


def _pairs(fronts: Sequence[Front], contrast: Mapping[str, str]) -> list[tuple[Front, Front]]:
    """Return the pairs of fronts of a and b that have the same seed and the same other settings."""
    others = [name for name in RECIPE if name != contrast["factor"]]
    sides: tuple[dict[Any, Front], dict[Any, Front]] = ({}, {})
    for front in fronts:
        for side, name in zip(sides, (contrast["a"], contrast["b"]), strict=True):
            if front.names[contrast["factor"]] == name:
                side[tuple(front.names[key] for key in (*others, "seed"))] = front
    return [(front, sides[1][key]) for key, front in sides[0].items() if key in sides[1]]


def _differences(pairs: Sequence[tuple[Front, Front]]) -> Iterator[tuple[str, float, pd.Series]]:
    """Yield each metric, its micro accuracy (or NaN), and the differences of all pairs, indexed by seed."""
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    seeds = pd.Index([front.names["seed"] for front in first], name="seed")
    tables = [front_runs_table(side) for side in (first, second)]
    for metric in PAIRED_METRICS:
        yield metric, np.nan, pd.Series((tables[0][metric] - tables[1][metric]).to_numpy(), seeds)
    yield EQUAL_MICRO, np.nan, pd.Series([_gap(pair, common_levels(pair)).mean() for pair in pairs], seeds)
    levels = common_levels([*first, *second])
    for level, differences in pd.DataFrame([_gap(pair, levels) for pair in pairs], seeds, levels).items():
        yield EQUAL_MICRO, level, differences


def _gap(pair: tuple[Front, Front], micro: np.ndarray) -> np.ndarray:
    """Return the macro accuracy of the first front minus that of the second, (L,), at these micro accuracies."""
    return macro_at(pair[0].scores, micro) - macro_at(pair[1].scores, micro)


def _by_recipe(fronts: Sequence[Front]) -> Iterator[tuple[dict[str, str], list[Front]]]:
    for names, group in by_recipe(pd.DataFrame([front.names for front in fronts])):
        yield names, [fronts[index] for index in group.index]
