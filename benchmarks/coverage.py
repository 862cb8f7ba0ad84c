"""Measure the coverage of the report's intervals and the error rates of its tests, on studies with a known truth.

    make coverage
    PYTHONPATH=workflow/scripts python -m benchmarks.coverage --studies 2000 --worlds middle blocks

The methods are those of the report (crossed, bca, seeds, wilson) and three that the report does not use: `chips`
resamples only chips, `naive` resamples seeds and chips, and `t` is the t interval over seeds without the correction for
overlapping training sets. Coverage is also printed among the cases in which the variance between seeds is smaller than
test chips explain (s² ≤ f), so that a recipe alone tells nothing about its training.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.simulated_studies import DEMO, HALF, Study, World, simulate, true_scores
from terralucas.statistics import comparison, power, weighted_scores
from terralucas.statistics.contrasts import Contrast, contrasts_table, contrasts_training, simple_contrasts
from terralucas.statistics.crossed_interval import crossed, limits
from terralucas.statistics.intervals import corrected_t
from terralucas.statistics.mixed_model import mixed_model_table
from terralucas.statistics.recipe_scores import scores_table
from terralucas.statistics.resampling import Design, Scores, combine, draw_weights, make_design, score_recipes
from terralucas.statistics.training_variance import SeedScores, training_variances

LEVEL, ALPHA = 0.95, 0.05
COVERAGE_GOAL, CONDITIONAL_GOAL = (0.93, 0.97), (0.92, 1.0)
# Recalls from 0.15 to 0.7, wrong labels, heavy tails: worlds unlike those for which the methods were made.
_HARD: dict[str, Any] = {
    "learner": "softmax",
    "tails": 3.0,
    "label_noise": 0.15,
    "unequal": 4.0,
}
WORLDS = (
    World("calm", units=200),
    World("middle", units=64),
    World("wild", units=24),
    World("ten seeds", units=64, seeds=10),
    World("holdout", units=64, holdout=True),
    World("blocks", units=64, blocks=150),
    World("LUCAS", **_HARD),
    World("half", HALF, **_HARD),
    World("demo", DEMO, **_HARD),
    World("demo, 3 seeds", DEMO, folds=3, seeds=3, **_HARD),
    World("demo, 10 seeds", DEMO, seeds=10, **_HARD),
    World("6 km", HALF, range_km=6.0, **_HARD),
    World("60 km", HALF, range_km=60.0, **_HARD),
    World("60 km, elsewhere", HALF, range_km=60.0, elsewhere=True, **_HARD),
    World("60 km, blocks of 50 km", HALF, range_km=60.0, block_km=50.0, **_HARD),
    World("60 km, blocks of 150 km", HALF, range_km=60.0, block_km=150.0, **_HARD),
)
INTERVALS = ("crossed", "bca", "seeds", "wilson", "chips", "naive", "t")
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
        all_intervals: (n, R, 2, M) crossed intervals of all recipes.
        all_truths: (n, R, M) true scores of all recipes.
        untold: (n, R, M) whether s² ≤ f.
        p_values: method → (n, M) p values of a − b.
        untold_null: (n, M) whether s² ≤ f for a − b.
        difference_p: method → (n, M) p values of a − c.
        wide: method → (n, 2, M) intervals of a − c at level 1 − 2 alpha, which decide equivalence.
        difference: (n, M) true differences a − c.
        limits: method → (n, 2, M) intervals of a − c at level 1 − alpha.
        untold_difference: (n, M) whether s² ≤ f for a − c.
        spreads: spreads of a − c in macro accuracy, for each study.
    """

    names: tuple[str, ...]
    intervals: dict[str, np.ndarray]
    truth: np.ndarray
    all_intervals: np.ndarray
    all_truths: np.ndarray
    untold: np.ndarray
    p_values: dict[str, np.ndarray]
    untold_null: np.ndarray
    difference_p: dict[str, np.ndarray]
    wide: dict[str, np.ndarray]
    difference: np.ndarray
    limits: dict[str, np.ndarray]
    untold_difference: np.ndarray
    spreads: list[power.Spreads]

    def coverage(self, method: str) -> np.ndarray:
        """Return the (M,) share of studies whose interval contains the truth; a missing interval does not."""
        return _held(self.intervals[method], self.truth).mean(axis=0)


def measure(world: World, studies: int, draws: int) -> Measured:
    """Simulate studies of a world, and apply every method to each study."""
    gathered = [_one(world, number, draws) for number in range(studies)]
    truths = {name: np.array([each["population"][name] for each in gathered]) for name in world.recipes}
    if not world.holdout:
        # With k folds, the estimand is the mean over data sets, which is equal for all studies, and for a and b.
        truths = {name: np.broadcast_to(each.mean(axis=0), each.shape) for name, each in truths.items()}
        truths["a"] = truths["b"] = (truths["a"] + truths["b"]) / 2.0
    scored = {name: np.array([true_scores(world, one) for one in each]) for name, each in truths.items()}

    def stacked(key: str) -> dict[str, np.ndarray]:
        return {method: np.array([each[key][method] for each in gathered]) for method in gathered[0][key]}

    def gather(key: str) -> np.ndarray:
        return np.array([each[key] for each in gathered])

    return Measured(
        names=weighted_scores.score_names(range(len(world.counts))),
        intervals=stacked("intervals"),
        truth=scored["a"],
        all_intervals=gather("all_intervals"),
        all_truths=np.stack(list(scored.values()), axis=1),
        untold=gather("untold"),
        p_values=stacked("p_values"),
        untold_null=gather("untold_null"),
        difference_p=stacked("difference_p"),
        wide=stacked("wide"),
        difference=scored["a"] - scored["c"],
        limits=stacked("limits"),
        untold_difference=gather("untold_difference"),
        spreads=[each["spreads"] for each in gathered],
    )


def _one(world: World, number: int, draws: int) -> dict[str, Any]:
    study = simulate(world, number)
    design = make_design(study.recipes["a"], len(world.counts), world.test_to_train, study.groups)
    names = [("x", name, "y") for name in study.recipes]
    scores = dict(zip(names, score_recipes(design, study.recipes.values(), draws, number), strict=True))
    training = training_variances([SeedScores.of(design, each) for each in scores.values()], design.test_to_train)
    tables = [scores_table(design, each, known, LEVEL) for each, known in zip(scores.values(), training, strict=True)]
    pairs = [("a", "b"), ("a", "c"), *zip(list(world.recipes)[3:], list(world.recipes)[4:], strict=False)]
    asked = [simple_contrasts(list(scores), ("loss", first, second))[0] for first, second in pairs]
    of_contrasts = contrasts_training(design, asked, scores.__getitem__)
    null, real = asked[:2]
    table = contrasts_table(design, asked, scores.__getitem__, of_contrasts, {}, LEVEL)
    mixed = mixed_model_table(_runs(design, scores), [null, real], table, MAIN, LEVEL)
    rows = table[table["contrast"] == real.name]
    difference = combine(real.coefficients, scores.__getitem__)
    spreads = comparison.observed_spreads(design, difference, of_contrasts[1], 1 if world.holdout else world.folds)
    return {
        "population": study.population,
        "intervals": _intervals(design, study, scores["x", "a", "y"], tables[0], draws, number),
        "all_intervals": np.array([each[["crossed_low", "crossed_high"]].to_numpy().T for each in tables]),
        "untold": np.array([known.alone <= 0 for known in training]),
        "p_values": _p_values(design, table, mixed, null, combine(null.coefficients, scores.__getitem__)),
        "untold_null": of_contrasts[0].alone <= 0,
        "difference_p": _p_values(design, table, mixed, real, difference),
        "wide": {
            "crossed": limits(crossed(design, difference, of_contrasts[1], "contrast"), 1 - 2 * ALPHA),
            "seeds": _t(difference.seeds, design.test_to_train, 1 - 2 * ALPHA),
        },
        "limits": {name: rows[[f"{name}_low", f"{name}_high"]].to_numpy().T for name in ("crossed", "bca", "seeds")},
        "untold_difference": of_contrasts[1].alone <= 0,
        "spreads": spreads[design.names.index(MAIN)],
    }


def _intervals(
    design: Design, study: Study, scores: Scores, table: pd.DataFrame, draws: int, number: int
) -> dict[str, np.ndarray]:
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return {
        **{name: table[[f"{name}_low", f"{name}_high"]].to_numpy().T for name in INTERVALS[:4]},
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
    """Write the coverage of each score's intervals, and their mean width for macro accuracy.

    The columns `all` and `s² ≤ f` are over all recipes, the others over recipe a.
    """
    lines = [_line("coverage", "truth", ("all", "s² ≤ f", "(share)", *INTERVALS))]
    shown = [*weighted_scores.SCORES, *(name for name in measured.names if name.startswith("recall"))]
    held = _held(measured.all_intervals, measured.all_truths)
    for name in shown:
        index = measured.names.index(name)
        untold = measured.untold[:, :, index]
        values = [
            _marked(held[:, :, index].mean(), COVERAGE_GOAL, measured.truth),
            *_conditional(held[:, :, index], untold),
            *(
                _marked(measured.coverage(method)[index], COVERAGE_GOAL, measured.intervals[method][:, 0, index])
                for method in INTERVALS
            ),
        ]
        lines.append(_line(name, f"{measured.truth[:, index].mean():.3f}", values))
    index = measured.names.index(MAIN)
    widths = [np.diff(measured.intervals[method][:, :, index], axis=1).mean() for method in INTERVALS]
    return [*lines, _line(f"width, {MAIN}", "", ["", "", "", *(f"{width:.3f} " for width in widths)])]


def error_lines(measured: Measured) -> list[str]:
    """Write the type-I errors for a − b, coverage and power for a − c, and the errors of the equivalence tests."""
    lines = [_line("type-I error, a − b", "", ("s² ≤ f", "(share)", *TESTS))]
    for name in weighted_scores.SCORES:
        index = measured.names.index(name)
        p_values = [measured.p_values[method][:, index] for method in TESTS]
        wrong, untold = p_values[0] < ALPHA, measured.untold_null[:, index]
        conditional = _conditional(wrong, untold, goal=(0.0, 1.0 - CONDITIONAL_GOAL[0]))
        values = [*conditional, *(_marked(np.mean(p < ALPHA), (0.0, ALPHA), p) for p in p_values)]
        lines.append(_line(name, "", values))
    lines += ["", _line("coverage, a − c", "truth", ("s² ≤ f", "(share)", *measured.limits))]
    for name in weighted_scores.SCORES:
        index = measured.names.index(name)
        truth = measured.difference[:, index]
        held = {method: _held(each, measured.difference)[:, index] for method, each in measured.limits.items()}
        values = [
            *_conditional(held["crossed"], measured.untold_difference[:, index]),
            *(
                _marked(each.mean(), COVERAGE_GOAL, measured.limits[method][:, 0, index])
                for method, each in held.items()
            ),
        ]
        lines.append(_line(name, f"{truth.mean():.3f}", values))
    lines += ["", _line("power, a − c", "", TESTS)]
    for name in weighted_scores.SCORES:
        p_values = [measured.difference_p[method][:, measured.names.index(name)] for method in TESTS]
        lines.append(_line(name, "", [_marked(np.mean(p < ALPHA), (0.0, 1.0), p) for p in p_values]))
    for name in ("macro_accuracy", "micro_accuracy"):
        index = measured.names.index(name)
        margin = np.abs(measured.difference[:, index])
        for method, wide in measured.wide.items():
            inside = np.mean((np.abs(wide[:, :, index]) < margin[:, None]).all(axis=1))
            lines.append(f"equivalence in {name} shown where the true difference is the margin, {method}: {inside:.3f}")
    size = float(measured.difference[:, measured.names.index(MAIN)].mean())
    predicted = np.mean([power.power(each, size, ALPHA) for each in measured.spreads])
    return [*lines, f"power in {MAIN} as predicted from the spreads of each study, on average: {predicted:.3f}"]


def _held(limits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return (..., M) whether the (..., 2, M) limits contain the (..., M) truth."""
    return (limits[..., 0, :] <= truth) & (truth <= limits[..., 1, :])


def _conditional(happened: np.ndarray, untold: np.ndarray, goal: tuple[float, float] = CONDITIONAL_GOAL) -> list[str]:
    """Return the share among cases with s² ≤ f, and the share of such cases."""
    if not untold.any():
        return ["", "0.00 "]
    return [_marked(happened[untold].mean(), goal, happened), f"{untold.mean():.2f} "]


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
