"""The comparison of a study's recipes: scores with both intervals, contrasts, spread and power, as tidy tables.

Only one recipe is in memory at a time. Its resampled scores are saved to a file, from which contrasts read them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from terralucas.processes import compute_each
from terralucas.statistics import best_pair, claims, contrasts
from terralucas.statistics.best_pair import best_pair_table
from terralucas.statistics.claims import Claim, add_claimed_differences
from terralucas.statistics.contrasts import (
    Contrast,
    contrasts_table,
    contrasts_training,
    interaction,
    simple_contrasts,
)
from terralucas.statistics.crossed_interval import crossed, equivalence_p, exceeding_p
from terralucas.statistics.mixed_model import mixed_model_table
from terralucas.statistics.power import (
    POWER,
    Spreads,
    chips_needed,
    effective_share,
    seeds_needed,
    smallest_difference,
    with_seeds,
)
from terralucas.statistics.recipe_scores import scores_table
from terralucas.statistics.resampling import Design, Scores, combine, make_design
from terralucas.statistics.run_predictions import Part
from terralucas.statistics.scored_recipes import score_to_files, scores_loader
from terralucas.statistics.spatial_intervals import spatial_table
from terralucas.statistics.training_variance import TrainingVariance, training_variances
from terralucas.statistics.variance import variance_table
from terralucas.tables import vocabulary
from terralucas.tables.scores import MAIN_SCORES, SCORES
from terralucas.tables.vocabulary import (
    AVERAGED,
    PRIMARY,
    RECIPE,
    SCHEMA_VERSION,
    SECONDARY,
    WITHOUT,
    Difference,
    Recipe,
)

TABLES = (
    *("summary", "per_class", "controls", "best_pair", "contrasts", "mixed_model", "power", "claims", "variance"),
    "spatial",
)
# The columns of tables that have no rows if a study names no contrasts.
COLUMNS = {
    "contrasts": ("classes", *contrasts.COLUMNS, "role"),
    "mixed_model": (
        *("classes", "contrast", "scope", "metric", "difference", "crossed_low", "crossed_high"),
        *("mixed_difference", "mixed_low", "mixed_high", "mixed_p_value", "discrepancy"),
    ),
    "power": (
        *("classes", "contrast", "scope", "family", "metric", "power", "smallest_difference", "margin"),
        *("seeds_needed", "chips_factor_needed"),
    ),
    "best_pair": ("classes", *best_pair.COLUMNS),
    "claims": ("classes", *claims.COLUMNS),
}


@dataclass(frozen=True)
class Question:
    """The question of a study, named in its configuration before the runs.

    Attributes:
        classes: code and name of each class, in the order of the logits.
        excluded: indices of classes; all tables are computed a second time without them.
        contrasts: differences a − b of a factor.
        interactions: pairs of differences.
        margins: score → largest difference that does not matter in practice.
        folds: number of folds K; 1 for a holdout.
        level: confidence level of the intervals.
        draws: number of bootstrap draws.
        seed: seed of the bootstrap.
        claims: claims of an earlier study; their contrasts are among `contrasts`.
        primary: the primary score, one of MAIN_SCORES; all others are secondary.
    """

    classes: Sequence[Mapping[str, Any]]
    excluded: tuple[int, ...]
    contrasts: Sequence[Difference]
    interactions: Sequence[tuple[Difference, Difference]]
    margins: Mapping[str, float]
    folds: int
    level: float
    draws: int
    seed: int
    claims: Sequence[Claim] = ()
    primary: str = MAIN_SCORES[0]

    @classmethod
    def from_config(cls, report: Mapping[str, Any], classes: Sequence[Mapping[str, Any]], folds: int) -> Question:
        """Make the question from the configuration's section `report`."""
        codes = [str(entry["code"]) for entry in classes]

        def difference(entry: Mapping[str, str]) -> Difference:
            return entry["factor"], entry["a"], entry["b"]

        claimed = [Claim.from_config(entry) for entry in report["claims"]]
        return cls(
            classes=classes,
            excluded=tuple(codes.index(str(code)) for code in report["excluded_classes"]),
            contrasts=add_claimed_differences([difference(entry) for entry in report["contrasts"]], claimed),
            interactions=[(difference(first), difference(second)) for first, second in report["interactions"]],
            margins=report["margins"],
            folds=folds,
            level=report["confidence_level"],
            draws=report["draws"],
            seed=report["seed"],
            claims=claimed,
            primary=report["primary"],
        )

    @property
    def class_sets(self) -> dict[str, tuple[int, ...]]:
        """Name of each set of classes → indices of the classes that are left out."""
        names: dict[str, tuple[int, ...]] = {"all": ()}
        if self.excluded:
            codes = ", ".join(str(self.classes[index]["code"]) for index in self.excluded)
            names[f"{WITHOUT}{codes}"] = self.excluded
        return names

    def contrasts_of(self, recipes: Sequence[Recipe]) -> list[Contrast]:
        """Return the contrasts that can be computed from these recipes."""
        simple = [contrast for difference in self.contrasts for contrast in simple_contrasts(recipes, difference)]
        interactions = [interaction(recipes, *pair) for pair in self.interactions]
        return simple + [contrast for contrast in interactions if contrast is not None]


def compare(
    recipes: Sequence[Recipe],
    controls: Sequence[Recipe],
    load: Callable[[Recipe], Mapping[int, Part]],
    test_to_train: float,
    groups: np.ndarray | None,
    question: Question,
    folder: Path,
    blocks: Mapping[float, np.ndarray] | None = None,
    processes: int = 1,
) -> dict[str, pd.DataFrame]:
    """Compute all tables of the comparison.

    Args:
        recipes: the recipes of the study.
        controls: names of the study's controls, in the form of recipes. Controls are scored like recipes, but take part
            in no contrast.
        load: returns the test predictions of a recipe or control, by seed.
        test_to_train: n_test / n_train, or 0 if all seeds share one split.
        groups: block of each chip, or None.
        question: the question of the study.
        folder: folder for the resampled scores; it can be deleted afterwards.
        blocks: side in km → block of each chip, for the spatial intervals; none without places.
        processes: number of processes that compute what recipes and contrasts have of their own.

    Returns:
        The tables named in `TABLES`.

    Raises:
        StudyError: the runs do not belong to one study.
    """
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    for class_set, excluded in question.class_sets.items():
        everything = [*recipes, *controls]
        design = make_design(load(recipes[0]), len(question.classes), test_to_train, groups, excluded)
        scored = score_to_files(design, everything, load, question.draws, question.seed, folder, processes)
        known, load_scores = dict(zip(everything, scored, strict=True)), scores_loader(everything, folder)
        # Controls inform each other alone: most of them do not vary with the seed.
        training = [
            *training_variances([known[recipe] for recipe in recipes], test_to_train),
            *training_variances([known[control] for control in controls], test_to_train),
        ]
        described = _describe_recipes(design, everything, training, load_scores, question.level, processes)
        of_recipes = described[: len(recipes)]
        variance = pd.concat([each.variance for each in of_recipes], ignore_index=True)
        parts["variance"].append(_put_names_first(variance, classes=class_set))
        table = _put_names_first(pd.concat([each.scores for each in described], ignore_index=True), classes=class_set)
        of_class = table["metric"].str.contains(":")
        of_control = pd.Series(list(zip(*(table[name] for name in RECIPE), strict=True))).isin(list(controls))
        overall = table.drop(columns=["wilson_low", "wilson_high"])
        parts["summary"].append(overall[~of_class & ~of_control])
        parts["controls"].append(overall[~of_class & of_control])
        parts["best_pair"].append(
            _put_names_first(best_pair_table(design, recipes, controls, load_scores, question.level), classes=class_set)
        )
        parts["per_class"].append(_by_class(table[of_class], question.classes))
        asked = question.contrasts_of(recipes)
        compared, power = (pd.DataFrame(columns=list(COLUMNS[name])) for name in ("contrasts", "power"))
        # Contrasts are of the scores over all classes.
        overall, load_overall = replace(design, only=tuple(SCORES)), scores_loader(everything, folder, overall=True)
        training = contrasts_training(overall, asked, load_overall, processes)
        if asked:
            compared = contrasts_table(
                overall, asked, load_overall, training, question.margins, question.level, processes
            )
            compared["role"] = np.where(compared["metric"] == question.primary, PRIMARY, SECONDARY)
            parts["contrasts"].append(_put_names_first(compared, classes=class_set))
            runs = pd.concat([each.runs for each in of_recipes])
            for metric in MAIN_SCORES:
                mixed = mixed_model_table(runs, asked, compared, metric, question.level)
                parts["mixed_model"].append(_put_names_first(mixed, classes=class_set))
            power = _power_table(overall, asked, load_overall, training, question, processes)
            parts["power"].append(_put_names_first(power, classes=class_set))
        if question.claims:
            tests = _margin_tests(overall, asked, load_overall, training, question)
            judged = claims.judge(question.claims, compared, power, tests, 1.0 - question.level)
            parts["claims"].append(_put_names_first(judged, classes=class_set))
    parts["spatial"] = [
        spatial_table(
            recipes,
            question.contrasts_of(recipes),
            load,
            test_to_train,
            blocks or {},
            len(question.classes),
            question.level,
            question.draws,
            question.seed,
            folder,
            processes,
        )
    ]
    return {name: _joined(tables, COLUMNS.get(name, ())) for name, tables in parts.items()}


@dataclass(frozen=True)
class _Described:
    """Tables of one recipe, with its names: scores, variance components of the main scores, and scores of its runs."""

    scores: pd.DataFrame
    variance: pd.DataFrame
    runs: pd.DataFrame


def _describe_recipes(
    design: Design,
    recipes: Sequence[Recipe],
    training: Sequence[TrainingVariance],
    load: Callable[[Recipe], Scores],
    level: float,
    processes: int,
) -> list[_Described]:
    def describe(pair: tuple[Recipe, TrainingVariance]) -> _Described:
        recipe, known = pair
        scores, names = load(recipe), dict(zip(RECIPE, recipe, strict=True))
        variance = variance_table(design, scores, level)
        return _Described(
            scores_table(design, scores, known, level).assign(**names),
            variance[variance["metric"].isin(MAIN_SCORES)].assign(**names),
            pd.DataFrame(scores.seeds, columns=design.names).assign(seed=design.seeds, **names),
        )

    return compute_each(describe, list(zip(recipes, training, strict=True)), processes)


def _power_table(
    design: Design,
    asked: Sequence[Contrast],
    load: Callable[[Recipe], Scores],
    training: Sequence[TrainingVariance],
    question: Question,
    processes: int,
) -> pd.DataFrame:
    """Compute from the observed spread what each contrast can show.

    Holm's first step tests the smallest of the m p values of a family at α/m. A difference that has to be shown
    whatever the other contrasts show needs that level.
    """
    sizes = Counter(contrast.family for contrast in asked)

    def rows_of(pair: tuple[Contrast, TrainingVariance]) -> list[dict[str, Any]]:
        contrast, known = pair
        spreads = dict(
            zip(
                design.names,
                observed_spreads(design, combine(contrast.coefficients, load), known, question.folds),
                strict=True,
            )
        )
        alpha = (1.0 - question.level) / sizes[contrast.family]
        return [
            {
                "contrast": contrast.name,
                "scope": contrast.scope,
                "family": contrast.family,
                "metric": metric,
                "power": POWER,
                "smallest_difference": smallest_difference(spreads[metric], alpha, POWER),
                "margin": question.margins[metric],
                **_needs(spreads[metric], question.margins[metric], alpha, question.folds),
            }
            for metric in MAIN_SCORES
        ]

    rows = compute_each(rows_of, zip(asked, training, strict=True), processes)
    return pd.DataFrame(list(itertools.chain.from_iterable(rows)))


def _margin_tests(
    design: Design,
    asked: Sequence[Contrast],
    load: Callable[[Recipe], Scores],
    training: Sequence[TrainingVariance],
    question: Question,
) -> pd.DataFrame:
    """Test the claims that two settings are equivalent, and compute how many seeds or chips would decide them.

    The level is that of the first step of Holm's adjustment (`claims.judge`): a claim with a margin of its own is one
    of the equivalence tests of the averaged contrasts and of such claims.
    """
    rows, averaged = [], sum(contrast.family == AVERAGED for contrast in asked)
    own = Counter(
        claim.metric
        for claim in question.claims
        if claim.margin is not None and any(claim.is_about(each) for each in asked)
    )
    for claim in question.claims:
        place = next((number for number, each in enumerate(asked) if claim.is_about(each)), None)
        if place is None or claim.relation != vocabulary.RELATION_EQUIVALENT:
            continue
        scores, column = combine(asked[place].coefficients, load), design.names.index(claim.metric)
        margin = question.margins[claim.metric] if claim.margin is None else claim.margin
        alpha = (1.0 - question.level) / (averaged + (0 if claim.margin is None else own[claim.metric]))
        draws, bounds = crossed(design, scores, training[place], "contrast"), np.full(len(design.names), margin)
        spreads = observed_spreads(design, scores, training[place], question.folds)[column]
        rows.append(
            {
                "claim": claim.name,
                "p_equivalence": equivalence_p(draws, bounds)[column],
                "p_exceeding": exceeding_p(draws, bounds)[column],
                **_needs(spreads, margin, alpha, question.folds),
            }
        )
    return pd.DataFrame(rows, columns=["claim", "p_equivalence", "p_exceeding", "seeds_needed", "chips_factor_needed"])


def _needs(spreads: Spreads, margin: float, alpha: float, folds: int) -> dict[str, float | None]:
    """Return the number of seeds, and the factor of chips, that would decide the margin; None if unknown or none."""
    if spreads.seeds < 2 or not spreads.chips > 0:
        return {"seeds_needed": None, "chips_factor_needed": None}
    return {
        "seeds_needed": seeds_needed(lambda seeds: with_seeds(spreads, seeds), margin, alpha, folds, POWER),
        "chips_factor_needed": chips_needed(spreads, margin, alpha, POWER),
    }


def _by_class(table: pd.DataFrame, classes: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Split the names of class scores, such as `recall:3`, into columns for score, class code and class name."""
    names = table["metric"].str.partition(":")
    entries = [classes[int(index)] for index in names[2]]
    table = table.assign(metric=names[0])
    return _put_names_first(
        table, class_code=[each["code"] for each in entries], class_name=[each["name"] for each in entries]
    )


def _put_names_first(table: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    """Add columns, and move the columns that name recipe and classes to the front."""
    table = table.assign(**columns)
    order = [name for name in (*RECIPE, "classes", "class_code", "class_name") if name in table]
    return table[[*order, *(name for name in table if name not in order)]]


def _joined(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Join tables and add the schema version; `columns` are those of a table without rows."""
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(columns))
    table.insert(0, "schema_version", SCHEMA_VERSION)
    return table


def observed_spreads(design: Design, scores: Scores, training: TrainingVariance, folds: int) -> list[Spreads]:
    """Return the observed spreads of a contrast, one entry for each score in the order of `design.names`.

    The variance over chips is NaN where draws do not show it.

    Args:
        design: the test chips of the seeds.
        scores: scores of the contrast.
        training: its variance between seeds.
        folds: number of folds K; 1 for a holdout.
    """
    chips = np.where(design.shows_spread, scores.drawn_variance, np.nan)
    added = np.nan_to_num(np.maximum(training.between - training.from_chips, 0.0))
    seeds, tests = len(design.seeds), np.concatenate(design.tests)
    tested = effective_share(np.bincount(tests), len(tests) / seeds * folds)
    return [
        Spreads(seeds, design.test_to_train, float(a), float(b), float(c), float(free), tested)
        for a, b, c, free in zip(chips, training.from_chips, added, training.free, strict=True)
    ]
