"""The comparison of a study's recipes: scores with both intervals, contrasts, spread and power, as tidy tables.

One recipe is in memory at a time; its resampled scores wait in a file for the contrasts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from terralucas.statistics import claims, contrasts
from terralucas.statistics.claims import Claim, with_claims
from terralucas.statistics.contrasts import Contrast, contrasts_table, interaction, simple_contrasts
from terralucas.statistics.crossed_interval import crossed, equivalence_p, exceeding_p
from terralucas.statistics.mixed_model import mixed_model_table
from terralucas.statistics.power import Spreads, chips_needed, seeds_needed, smallest_difference, with_seeds
from terralucas.statistics.recipe_scores import scores_table
from terralucas.statistics.resampling import Design, Scores, combine, make_design, score_recipe
from terralucas.statistics.run_predictions import Part
from terralucas.statistics.variance import seed_spread, variance_table
from terralucas.tables import vocabulary
from terralucas.tables.scores import MAIN_SCORES
from terralucas.tables.vocabulary import RECIPE, SCHEMA_VERSION, Difference, Recipe

TABLES = ("summary", "per_class", "controls", "contrasts", "mixed_model", "power", "claims", "variance")
POWER = 0.8
# Of tables that have no rows where a study names no contrasts.
COLUMNS = {
    "contrasts": ("classes", *contrasts.COLUMNS),
    "mixed_model": ("classes", "contrast", "scope", "metric", "difference", "crossed_low", "crossed_high",
                    "mixed_difference", "mixed_low", "mixed_high", "mixed_p_value", "converged", "discrepancy"),
    "power": ("classes", "contrast", "scope", "family", "metric", "power", "smallest_difference", "margin",
              "seeds_needed", "chips_factor_needed"),
    "claims": ("classes", *claims.COLUMNS),
}  # fmt: skip


@dataclass(frozen=True)
class Question:
    """What a study asks; named in its configuration before the runs.

    Attributes:
        classes: code and name of each class, in the order of the logits.
        excluded: indices of classes without which everything is computed a second time.
        contrasts: differences a − b of a factor.
        interactions: pairs of differences.
        margins: score → largest difference that would not matter.
        folds: K of the k folds; 1 for a holdout.
        level: of the intervals.
        draws, seed: of the bootstrap.
        claims: of an earlier study; their contrasts are among `contrasts`.
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

    @classmethod
    def from_config(cls, report: Mapping[str, Any], classes: Sequence[Mapping[str, Any]], folds: int) -> Question:
        """The question of a configuration's `report` section."""
        codes = [str(entry["code"]) for entry in classes]

        def difference(entry: Mapping[str, str]) -> Difference:
            return entry["factor"], entry["a"], entry["b"]

        claimed = [Claim.from_config(entry) for entry in report["claims"]]
        return cls(
            classes=classes,
            excluded=tuple(codes.index(str(code)) for code in report["excluded_classes"]),
            contrasts=with_claims([difference(entry) for entry in report["contrasts"]], claimed),
            interactions=[(difference(first), difference(second)) for first, second in report["interactions"]],
            margins=report["margins"],
            folds=folds,
            level=report["confidence_level"],
            draws=report["draws"],
            seed=report["seed"],
            claims=claimed,
        )

    @property
    def scopes(self) -> dict[str, tuple[int, ...]]:
        """Name of each set of classes → indices of those left out."""
        names: dict[str, tuple[int, ...]] = {"all": ()}
        if self.excluded:
            codes = ", ".join(str(self.classes[index]["code"]) for index in self.excluded)
            names[f"without {codes}"] = self.excluded
        return names

    def contrasts_of(self, recipes: Sequence[Recipe]) -> list[Contrast]:
        """The contrasts that a study with these recipes can answer."""
        places = {name: index for index, name in enumerate(RECIPE)}
        levels = {name: {recipe[place] for recipe in recipes} for name, place in places.items()}

        def is_there(difference: Difference) -> bool:
            return {difference[1], difference[2]} <= levels[difference[0]]

        simple = [each for given in self.contrasts if is_there(given) for each in simple_contrasts(recipes, given)]
        pairs = [pair for pair in self.interactions if all(map(is_there, pair))]
        return simple + [interaction(recipes, *pair) for pair in pairs]


def compare(
    recipes: Sequence[Recipe],
    controls: Sequence[Recipe],
    load: Callable[[Recipe], Mapping[int, Part]],
    test_to_train: float,
    groups: np.ndarray | None,
    question: Question,
    folder: Path,
) -> dict[str, pd.DataFrame]:
    """Every table of the comparison.

    Args:
        recipes: of the study.
        controls: names of its controls, in the form of recipes; scored alike, and in no contrast.
        load: gives the test predictions of a recipe or control by seed.
        test_to_train: n_test / n_train, or 0 where all seeds share one split.
        groups: block of each chip, or None.
        question: of the study.
        folder: for resampled scores; may be deleted afterwards.

    Returns:
        The tables named in `TABLES`.

    Raises:
        StudyError: the runs do not belong to one study.
    """
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    for scope, excluded in question.scopes.items():
        design, n_classes = None, len(question.classes)
        rows, runs = [], []
        for number, recipe in enumerate([*recipes, *controls]):
            predictions = load(recipe)
            if design is None:
                design = make_design(predictions, n_classes, test_to_train, groups, excluded)
            scores = score_recipe(design, predictions, question.draws, question.seed)
            scores.save(folder / f"{number}.npz")
            names = dict(zip(RECIPE, recipe, strict=True))
            rows.append(scores_table(design, scores, question.level, question.seed).assign(**names))
            if recipe in controls:
                continue
            variance = variance_table(design, scores, question.level)
            parts["variance"].append(_first(variance[variance["metric"].isin(MAIN_SCORES)], classes=scope, **names))
            runs.append(pd.DataFrame(scores.seeds, columns=design.names).assign(seed=design.seeds, **names))
        assert design is not None, "a study has recipes"
        load_scores = _loader(recipes, folder)
        table = _first(pd.concat(rows, ignore_index=True), classes=scope)
        of_class = table["metric"].str.contains(":")
        of_control = pd.Series(list(zip(*(table[name] for name in RECIPE), strict=True))).isin(list(controls))
        overall = table.drop(columns=["wilson_low", "wilson_high"])
        parts["summary"].append(overall[~of_class & ~of_control])
        parts["controls"].append(overall[~of_class & of_control])
        parts["per_class"].append(_by_class(table[of_class], question.classes))
        asked = question.contrasts_of(recipes)
        answers, power = (pd.DataFrame(columns=list(COLUMNS[name])) for name in ("contrasts", "power"))
        if asked:
            answers = contrasts_table(design, asked, load_scores, question.margins, question.level, question.seed)
            answers = answers[~answers["metric"].str.contains(":")]
            parts["contrasts"].append(_first(answers, classes=scope))
            for metric in MAIN_SCORES:
                mixed = mixed_model_table(pd.concat(runs), asked, answers, metric, question.level)
                parts["mixed_model"].append(_first(mixed, classes=scope))
            power = _power(design, asked, load_scores, question)
            parts["power"].append(_first(power, classes=scope))
        if question.claims:
            tests = _margin_tests(design, asked, load_scores, question)
            judged = claims.judge(question.claims, answers, power, tests, 1.0 - question.level)
            parts["claims"].append(_first(judged, classes=scope))
    return {name: _whole(tables, COLUMNS.get(name, ())) for name, tables in parts.items()}


def _power(
    design: Design, asked: Sequence[Contrast], load: Callable[[Recipe], Scores], question: Question
) -> pd.DataFrame:
    """What each contrast can show with the spread it turned out to have."""
    alpha, rows = 1.0 - question.level, []
    for contrast in asked:
        spreads = dict(zip(design.names, observed_spreads(design, combine(contrast.coefficients, load)), strict=True))
        for metric in MAIN_SCORES:
            margin = question.margins[metric]
            rows.append({
                "contrast": contrast.name, "scope": contrast.scope, "family": contrast.family, "metric": metric,
                "power": POWER, "smallest_difference": smallest_difference(spreads[metric], alpha, POWER),
                "margin": margin,
                **_needed(spreads[metric], margin, alpha, question.folds),
            })  # fmt: skip
    return pd.DataFrame(rows)


def _margin_tests(
    design: Design, asked: Sequence[Contrast], load: Callable[[Recipe], Scores], question: Question
) -> pd.DataFrame:
    """Tests of claims that two settings are equivalent, and what would decide their margins."""
    alpha, rows = 1.0 - question.level, []
    for claim in question.claims:
        contrast = next((each for each in asked if claim.is_about(each)), None)
        if contrast is None or claim.relation != vocabulary.RELATION_EQUIVALENT:
            continue
        scores, place = combine(contrast.coefficients, load), design.names.index(claim.metric)
        margin = question.margins[claim.metric] if claim.margin is None else claim.margin
        draws, bounds = crossed(design, scores, question.seed, "contrast"), np.full(len(design.names), margin)
        rows.append({
            "claim": claim.name,
            "p_equivalence": equivalence_p(draws, bounds)[place],
            "p_exceeding": exceeding_p(draws, bounds)[place],
            **_needed(observed_spreads(design, scores)[place], margin, alpha, question.folds),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=["claim", "p_equivalence", "p_exceeding", "seeds_needed", "chips_factor_needed"])


def _needed(spreads: Spreads, margin: float, alpha: float, folds: int) -> dict[str, float | None]:
    """Seeds, and the factor of chips, that would decide the margin; empty where nothing would or could tell."""
    if spreads.seeds < 2 or not spreads.chips > 0:
        return {"seeds_needed": None, "chips_factor_needed": None}
    return {
        "seeds_needed": seeds_needed(lambda seeds: with_seeds(spreads, seeds), margin, alpha, folds, POWER),
        "chips_factor_needed": chips_needed(spreads, margin, alpha, POWER),
    }


def _loader(recipes: Sequence[Recipe], folder: Path) -> Callable[[Recipe], Scores]:
    numbers = {recipe: number for number, recipe in enumerate(recipes)}
    return lambda recipe: Scores.load(folder / f"{numbers[recipe]}.npz")


def _by_class(table: pd.DataFrame, classes: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Scores such as `recall:3` with code and name of their class in columns of their own."""
    names = table["metric"].str.partition(":")
    entries = [classes[int(index)] for index in names[2]]
    table = table.assign(metric=names[0])
    return _first(table, class_code=[each["code"] for each in entries], class_name=[each["name"] for each in entries])


def _first(table: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    """The table with these columns, and those that name a recipe, in front."""
    table = table.assign(**columns)
    order = [name for name in (*RECIPE, "classes", "class_code", "class_name") if name in table]
    return table[[*order, *(name for name in table if name not in order)]]


def _whole(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(columns))
    table.insert(0, "schema_version", SCHEMA_VERSION)
    return table


def observed_spreads(design: Design, scores: Scores) -> list[Spreads]:
    """Spreads of a contrast after the run, for each score in the order of `design.names`."""
    spread = seed_spread(design, scores)
    chips = scores.drawn.var(axis=0, ddof=1, dtype=np.float64)
    return [
        Spreads(len(design.seeds), design.test_to_train, float(a), float(b), float(c))
        for a, b, c in zip(chips, spread.from_chips, spread.seeds, strict=True)
    ]
