"""Measure the coverage of the report's intervals and the error rates of its tests, on studies with a known truth.

    make coverage
    PYTHONPATH=workflow/scripts python -m benchmarks.coverage --studies 2000 --worlds middle blocks

The methods are those of the report (crossed, bca, seeds, wilson), the two kinds of the crossed interval (percentile,
basic), and three that the report does not use: `chips` resamples only chips, `naive` resamples seeds and chips, and `t`
is the t interval over seeds without the correction for overlapping training sets.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from benchmarks.simulated_studies import Study, World, simulate, true_scores
from terralucas.statistics import comparison, power, weighted_scores
from terralucas.statistics.contrasts import Contrast, contrasts_table, simple_contrasts
from terralucas.statistics.crossed_interval import crossed, limits
from terralucas.statistics.intervals import corrected_t
from terralucas.statistics.mixed_model import mixed_model_table
from terralucas.statistics.recipe_scores import scores_table
from terralucas.statistics.resampling import Design, Scores, combine, draw_weights, make_design, score_recipe

LEVEL, ALPHA = 0.95, 0.05
COVERAGE_GOAL = (0.93, 0.97)
WORLDS = (
    World("calm", units=200),
    World("middle", units=64),
    World("wild", units=24),
    World("ten seeds", units=64, seeds=10),
    World("holdout", units=64, holdout=True),
    World("blocks", units=64, blocks=150),
)
INTERVALS = ("crossed", "bca", "seeds", "wilson", "percentile", "basic", "chips", "naive", "t")
TESTS = ("crossed", "seeds", "mixed model", "McNemar", "t")
MAIN = "macro_accuracy"


@dataclass(frozen=True)
class Measured:
    """The results of the n studies of a world, for M scores.

    Recipes a and b are one recipe under two names; a and c differ.

    Attributes:
        names: names of the scores.
        intervals: method → (n, 2, M) intervals of recipe a.
        truth: (n, M) true scores of recipe a.
        p_values: method → (n, M) p values of a − b.
        difference_p: method → (n, M) p values of a − c.
        wide: method → (n, 2, M) intervals of a − c at level 1 − 2 alpha, which decide equivalence.
        difference: (n, M) true differences a − c.
        limits: method → (n, 2, M) intervals of a − c at level 1 − alpha.
        spreads: spreads of a − c in macro accuracy, for each study.
    """

    names: tuple[str, ...]
    intervals: dict[str, np.ndarray]
    truth: np.ndarray
    p_values: dict[str, np.ndarray]
    difference_p: dict[str, np.ndarray]
    wide: dict[str, np.ndarray]
    difference: np.ndarray
    limits: dict[str, np.ndarray]
    spreads: list[power.Spreads]

    def coverage(self, method: str) -> np.ndarray:
        """Return the (M,) share of studies whose interval contains the truth; a missing interval does not."""
        limits = self.intervals[method]
        return ((limits[:, 0] <= self.truth) & (self.truth <= limits[:, 1])).mean(axis=0)


def measure(world: World, studies: int, draws: int) -> Measured:
    """Simulate studies of a world, and apply every method to each study."""
    gathered = [_one(world, number, draws) for number in range(studies)]
    truths = {name: np.array([each["population"][name] for each in gathered]) for name in world.shifts}
    if not world.holdout:
        # With k folds, the estimand is the mean over data sets, which is equal for all studies, and for a and b.
        truths = {name: np.broadcast_to(each.mean(axis=0), each.shape) for name, each in truths.items()}
        truths["a"] = truths["b"] = (truths["a"] + truths["b"]) / 2.0
    scored = {name: np.array([true_scores(world, one) for one in each]) for name, each in truths.items()}

    def stacked(key: str) -> dict[str, np.ndarray]:
        return {method: np.array([each[key][method] for each in gathered]) for method in gathered[0][key]}

    return Measured(
        weighted_scores.score_names(range(len(world.counts))),
        stacked("intervals"),
        scored["a"],
        stacked("p_values"),
        stacked("difference_p"),
        stacked("wide"),
        scored["a"] - scored["c"],
        stacked("limits"),
        [each["spreads"] for each in gathered],
    )


def _one(world: World, number: int, draws: int) -> dict:
    study = simulate(world, number)
    design = make_design(study.recipes["a"], len(world.counts), world.test_to_train, study.groups)
    scores = {("x", name, "y"): score_recipe(design, runs, draws, number) for name, runs in study.recipes.items()}
    null, real = (simple_contrasts(list(scores), ("loss", "a", other))[0] for other in ("b", "c"))
    table = contrasts_table(design, [null, real], scores.__getitem__, {}, LEVEL, number)
    mixed = mixed_model_table(_runs(design, scores), [null, real], table, MAIN, LEVEL)
    rows = table[table["contrast"] == real.name]
    difference = combine(real.coefficients, scores.__getitem__)
    return {
        "population": study.population,
        "intervals": _intervals(design, study, scores["x", "a", "y"], draws, number),
        "p_values": _p_values(design, table, mixed, null, combine(null.coefficients, scores.__getitem__)),
        "difference_p": _p_values(design, table, mixed, real, difference),
        "wide": {
            "crossed": limits(crossed(design, difference, number, "contrast"), 1 - 2 * ALPHA),
            "seeds": _t(difference.seeds, design.test_to_train, 1 - 2 * ALPHA),
        },
        "limits": {name: rows[[f"{name}_low", f"{name}_high"]].to_numpy().T for name in ("crossed", "bca", "seeds")},
        "spreads": comparison.observed_spreads(design, difference)[design.names.index(MAIN)],
    }


def _intervals(design: Design, study: Study, scores: Scores, draws: int, number: int) -> dict[str, np.ndarray]:
    table = scores_table(design, scores, LEVEL, number)
    both = crossed(design, scores, number, "recipe")
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return {
        **{name: table[[f"{name}_low", f"{name}_high"]].to_numpy().T for name in INTERVALS[:4]},
        **{
            name: limits(replace(both, basic=np.full(len(design.names), reflected)), LEVEL)
            for name, reflected in (("percentile", False), ("basic", True))
        },
        "chips": np.nanquantile(scores.drawn, tails, axis=0),
        "naive": np.nanquantile(_naive(design, study, draws, number), tails, axis=0),
        "t": _t(scores.seeds, 0.0, LEVEL),
    }


def _naive(design: Design, study: Study, draws: int, number: int) -> np.ndarray:
    """Draw the scores with both seeds and chips resampled with replacement, each seed with its own chips."""
    n_classes, runs = len(design.classes), study.recipes["a"]
    rows = np.concatenate(design.tests)
    seed = np.repeat(np.arange(len(design.seeds)), [len(test) for test in design.tests])
    by_run = []
    for test, run in zip(design.tests, runs.values(), strict=True):
        place = {chip: index for index, chip in enumerate(run.chips)}
        order = [place[chip] for chip in design.chips[test]]
        by_run.append(weighted_scores.chip_terms(design.labels[test], run.logits[order]))
    terms = np.concatenate(by_run).astype(np.float32)
    order = np.argsort(design.labels[rows], kind="stable")
    random, drawn = np.random.default_rng([22, number]), []
    for weights in draw_weights(design, draws, number):
        times = random.multinomial(len(runs), np.full(len(runs), 1 / len(runs)), size=len(weights))
        product = weights[:, rows] * times[:, seed].astype(np.float32)
        drawn.append(weighted_scores.scores(product[:, order], design.labels[rows][order], terms[order], n_classes))
    return np.concatenate(drawn)


def _t(seeds: np.ndarray, ratio: float, level: float) -> np.ndarray:
    each = [corrected_t(column[np.isfinite(column)], ratio, level) for column in seeds.T]
    return np.array([[one.low for one in each], [one.high for one in each]])


def _runs(design: Design, scores: dict[tuple[str, str, str], Scores]) -> pd.DataFrame:
    place = design.names.index(MAIN)
    return pd.DataFrame(
        [
            {"backbone": key[0], "loss": key[1], "decoder": key[2], "seed": seed, MAIN: value}
            for key, each in scores.items()
            for seed, value in zip(design.seeds, each.seeds[:, place], strict=True)
        ]
    )


def _p_values(
    design: Design, table: pd.DataFrame, mixed: pd.DataFrame, contrast: Contrast, scores: Scores
) -> dict[str, np.ndarray]:
    rows = table[table["contrast"] == contrast.name].set_index("metric")
    alone = np.full(len(design.names), np.nan)
    alone[design.names.index(MAIN)] = mixed.set_index("contrast").loc[contrast.name, "mixed_p_value"]
    return {
        "crossed": rows["p_value"].to_numpy(),
        "seeds": rows["seeds_p_value"].to_numpy(),
        "mixed model": alone,
        "McNemar": rows["mcnemar_mid"].to_numpy(),
        "t": np.array([corrected_t(column[np.isfinite(column)], 0.0, LEVEL).p_value for column in scores.seeds.T]),
    }


def coverage_lines(measured: Measured) -> list[str]:
    """Write the coverage of each score's intervals for recipe a, and their mean width for macro accuracy."""
    lines = [_line("coverage, recipe a", "truth", INTERVALS)]
    shown = [*weighted_scores.SCORES, *(name for name in measured.names if name.startswith("recall"))]
    share = {name: measured.coverage(name) for name in INTERVALS}
    for name in shown:
        index = measured.names.index(name)
        values = [
            _marked(share[method][index], COVERAGE_GOAL, measured.intervals[method][:, 0, index])
            for method in INTERVALS
        ]
        lines.append(_line(name, f"{measured.truth[:, index].mean():.3f}", values))
    index = measured.names.index(MAIN)
    widths = [np.diff(measured.intervals[method][:, :, index], axis=1).mean() for method in INTERVALS]
    return [*lines, _line(f"width, {MAIN}", "", [f"{width:.3f} " for width in widths])]


def error_lines(measured: Measured) -> list[str]:
    """Write the type-I errors for a − b, coverage and power for a − c, and the errors of the equivalence tests."""
    lines = [_line("type-I error, a − b", "", TESTS)]
    for name in weighted_scores.SCORES:
        index = measured.names.index(name)
        p_values = [measured.p_values[method][:, index] for method in TESTS]
        lines.append(_line(name, "", [_marked(np.mean(p < ALPHA), (0.0, ALPHA), p) for p in p_values]))
    lines += ["", _line("coverage, a − c", "truth", tuple(measured.limits))]
    for name in weighted_scores.SCORES:
        index = measured.names.index(name)
        truth = measured.difference[:, index]
        values = []
        for low, high in (each[:, :, index].T for each in measured.limits.values()):
            values.append(_marked(np.mean((low <= truth) & (truth <= high)), COVERAGE_GOAL, low))
        lines.append(_line(name, f"{truth.mean():.3f}", values))
    lines += ["", _line("power, a − c", "", TESTS)]
    for name in weighted_scores.SCORES:
        p_values = [measured.difference_p[method][:, measured.names.index(name)] for method in TESTS]
        lines.append(_line(name, "", [_marked(np.mean(p < ALPHA), (0.0, 1.0), p) for p in p_values]))
    index = measured.names.index(MAIN)
    margin = np.abs(measured.difference[:, index])
    for method, wide in measured.wide.items():
        inside = np.mean((np.abs(wide[:, :, index]) < margin[:, None]).all(axis=1))
        lines.append(f"equivalence in {MAIN} shown where the true difference is the margin, {method}: {inside:.3f}")
    size = float(measured.difference[:, index].mean())
    predicted = np.mean([power.power(each, size, ALPHA) for each in measured.spreads])
    return [*lines, f"power in {MAIN} as predicted from the spreads of each study, on average: {predicted:.3f}"]


def _line(name: str, truth: str, values: Sequence[str]) -> str:
    return f"{name:<24}{truth:>8}" + "".join(f"{value:>12}" for value in values)


def _marked(share: float, goal: tuple[float, float], values: np.ndarray) -> str:
    """Return a share, marked with `!` if it lies outside its goal; empty if the method gives no values."""
    if not np.isfinite(values).any():
        return ""
    return f"{share:.3f}" + (" " if goal[0] <= share <= goal[1] else "!")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--worlds", nargs="+", choices=[world.name for world in WORLDS], default=None)
    arguments = parser.parse_args()
    for world in WORLDS:
        if arguments.worlds is None or world.name in arguments.worlds:
            measured = measure(world, arguments.studies, arguments.draws)
            print(f"\n== {world.name}: {world}, {arguments.studies} studies, {arguments.draws} draws")
            print("\n".join([*coverage_lines(measured), "", *error_lines(measured)]), flush=True)


if __name__ == "__main__":
    main()
