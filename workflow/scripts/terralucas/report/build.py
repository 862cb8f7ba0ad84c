"""The self-contained HTML report of a study: every sentence and cell is generated from the tidy tables.

The same tables, figures and context give the same bytes; the file loads nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from terralucas.errors import StudyError
from terralucas.files import write_text
from terralucas.report import alt_texts
from terralucas.report.figures.style import palette
from terralucas.report.page_tables import ALL_CLASSES
from terralucas.report.sections import claims, recipes
from terralucas.report.sections import contrasts as answers
from terralucas.report.wording import METRICS, PERCENT, PERCENT_SIGN, breakable, counted, duration, listed, pairs, plain
from terralucas.tables.tidy_csv import CONTROL, RECIPE

TEMPLATES = Path(__file__).parent / "templates"
TABLES = (
    *("summary", "contrasts", "per_class", "controls", "mixed_model", "power", "variance", "confusion", "curves"),
    *("runs", "classes", "fronts", "fronts_runs", "fronts_summary", "fronts_contrasts"),
    *("calibration_runs", "calibration", "reliability", "overlap", "distance", "durations", "claims", "beside"),
)
FIGURES = ("answer", "accuracy", "per_class", "fronts", "reliability", "distance", "map", "confusion", "curves")
# A map of more bytes than this is named by its path and not embedded.
MOST_MAP_BYTES = 1_000_000


@dataclass(frozen=True)
class ReportContext:
    """What a report tells beyond its tables.

    `notices` are shown first; `durations` holds records of `stage`, `seconds` and `jobs`; `chance_macro_accuracy` is
    the macro accuracy of guessing, a fraction. `git_commit` is None outside version control. `registrations` are the
    entries of the study's record and `plan_changes` what a reader must know of them.
    """

    study: str
    title: str
    question: str
    notices: list[str]
    dataset: dict[str, Any]
    splits: dict[str, Any]
    training: dict[str, Any]
    losses: dict[str, Any]
    decoders: dict[str, Any]
    config_yaml: str
    versions: dict[str, str]
    git_commit: str | None
    git_dirty: bool
    durations: list[dict[str, Any]]
    chance_macro_accuracy: float
    registrations: list[dict[str, Any]]
    plan_changes: list[str]


def build_report(
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Path],
    geojson: Path,
    context: ReportContext,
    path: Path,
) -> None:
    """Write the report of a study as one HTML file that needs no other file and no network.

    Args:
        tables: the tidy tables named in `TABLES`; accuracies and shares are fractions in 0..1.
        figures: SVG files of the figures named in `FIGURES`.
        geojson: the points of `maps.write_maps`.
        context: what the tables do not say.
        path: HTML file to write.

    Raises:
        StudyError: a table or figure is missing.
    """
    _require("table", TABLES, tables)
    _require("figure", FIGURES, figures)
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    html = (
        _environment()
        .get_template("page.html.j2")
        .render(
            context=context,
            script=Markup(script),
            script_hash=f"sha256-{digest}",
            next_table=itertools.count(1).__next__,
            next_figure=itertools.count(1).__next__,
            figures={name: _data_uri(figures[name].read_bytes(), "image/svg+xml") for name in FIGURES},
            downloads=[_download(context.study, name, tables[name]) for name in TABLES],
            map_file=_map_file(context.study, geojson),
            **_sections(tables, _shares_right(geojson), context),
        )
    )
    write_text(path, html)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"pairs": pairs, "plain": plain, "duration": duration, "breakable": breakable}
    environment.filters["percent"] = PERCENT.text
    return environment


def _sections(tables: Mapping[str, pd.DataFrame], shares: pd.Series, context: ReportContext) -> dict[str, Any]:
    """What the template shows, by section."""
    summary, contrasts, power = tables["summary"], tables["contrasts"], tables["power"]
    basis = _basis(summary, tables["runs"], tables["fronts_runs"]["seed"])
    level = basis["level"]
    found = answers.answers(contrasts, power, level)
    runs = tables["runs"].merge(tables["durations"].drop(columns="schema_version"), on="run", how="left")
    return {
        "basis": basis,
        "colours": palette(summary["loss"]) | {CONTROL: "#9AA3AD"},
        "answers": found,
        "claims": claims.claim_items(tables["claims"], level),
        "beside_table": claims.beside_page_table(tables["beside"]),
        "leaders": recipes.leader_cards(summary),
        "leader_sentences": alt_texts.leader_sentences(summary, tables["classes"], context.chance_macro_accuracy),
        "recipe_tables": _recipe_tables(pd.concat([summary, tables["controls"]], ignore_index=True)),
        "verdicts": [text for name in answers.MAIN if (text := answers.verdict_counts(contrasts, name))],
        "contrast_tables": _contrast_tables(contrasts, level),
        "mcnemar": answers.mcnemar_sentence(contrasts, level),
        "mixed": answers.mixed_model_sentences(tables["mixed_model"]),
        "power_table": answers.power_table(power, contrasts),
        "power_sentences": answers.power_sentences(power, basis["most"]),
        "front_sentences": alt_texts.front_sentences(tables["fronts_contrasts"], contrasts),
        "front_table": recipes.hypervolume_table(tables["fronts_summary"], tables["fronts_runs"]),
        "class_table": recipes.class_table(tables["classes"]),
        "class_groups": recipes.class_groups(tables["per_class"]),
        "class_sentences": [*alt_texts.never_predicted(tables["confusion"])],
        "rarest": alt_texts.rarest(tables["per_class"]),
        "ladder": recipes.ladder(tables["controls"], summary),
        "control_sentences": alt_texts.control_sentences(tables["controls"], summary),
        "calibration_table": recipes.calibration_table(tables["calibration"]),
        "calibration_sentences": alt_texts.calibration_sentences(tables["calibration"]),
        "overlap_table": recipes.overlap_page_table(tables["overlap"]),
        "leakage_sentences": alt_texts.leakage_sentences(tables["overlap"]),
        "map_sentences": alt_texts.map_sentences(shares),
        "variance_table": recipes.variance_page_table(tables["variance"]),
        "variance_sentences": alt_texts.variance_sentences(tables["variance"]),
        "run_table": recipes.run_table(runs),
        "n_runs": len(runs),
        "lost_runs": alt_texts.lost_runs(tables["runs"], tables["fronts_runs"]),
        "run_sentences": alt_texts.run_sentences(tables["runs"]),
        "alternatives": alt_texts.alternatives(tables, found)
        | {"map": f"Map of the share of right test predictions at each point. {alt_texts.map_sentences(shares)[0]}"},
    }


def _recipe_tables(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """For each set of classes the two tables of scores of recipes and controls; only the first is open."""
    found = []
    for classes, table in summary.groupby("classes", sort=False):
        which = "of all classes" if classes == ALL_CLASSES else f"{classes} (class code)"
        star = " ★ marks the best of a column, which is not a tested difference." if len(
            table[RECIPE].drop_duplicates()) > 1 else ""  # fmt: skip
        star += " Controls are grey." if (table["loss"] == CONTROL).any() else ""
        captions = [f"{kind}, {which}. {recipes.interval_words(table)}.{star}" for kind in
                    ("How often recipes are right", "Agreement and probabilities")]  # fmt: skip
        parts = [
            recipes.score_table(table, names, caption)
            for names, caption in zip((recipes.HITS, recipes.QUALITY), captions, strict=True)
        ]
        found.append({"name": which, "tables": parts})
    return found


def _contrast_tables(contrasts: pd.DataFrame, level: float) -> list[dict[str, Any]]:
    """Tables of the contrasts: macro and micro accuracy open, other sets of classes and scores folded."""
    found: list[dict[str, Any]] = []
    sets = list(dict.fromkeys(contrasts["classes"]))
    for classes in sets:
        for name in answers.MAIN:
            table = answers.contrast_table(contrasts, name, classes, level)
            title = f"{METRICS[name].label}, {'all classes' if classes == ALL_CLASSES else classes}"
            found.append({"title": title, "open": classes == ALL_CLASSES, "table": table})
    for name in METRICS:
        if name not in answers.MAIN:
            table = answers.contrast_table(contrasts, name, ALL_CLASSES, level)
            found.append({"title": f"{METRICS[name].label}, all classes", "open": False, "table": table})
    return [each for each in found if each["table"] is not None]


def _require(kind: str, names: Iterable[str], given: Mapping[str, Any]) -> None:
    missing = [name for name in names if name not in given]
    if missing:
        raise StudyError(
            f"The report lacks the {kind} {', '.join(missing)}.",
            found=", ".join(given) or "none",
            expected=", ".join(names),
            remedy=f"pass every {kind} by these names",
        )


def _basis(summary: pd.DataFrame, runs: pd.DataFrame, seeds: pd.Series) -> dict[str, Any]:
    """Seeds, level and kinds of interval of the study."""
    numbers = sorted(seeds.unique())
    sizes = {name: summary[name].nunique() for name in RECIPE}
    plurals = {"backbone": "backbones", "loss": "losses", "decoder": "decoders"}
    level = float(summary["level"].iloc[0])
    return {
        "recipes": len(summary[RECIPE].drop_duplicates()),
        "factors": listed([counted(count, name, plurals[name]) for name, count in sizes.items()]),
        "seeds": counted(len(numbers), "seed"),
        "seed_numbers": ", ".join(map(str, numbers)),
        "level": level,
        "level_text": f"{100 * level:g}{PERCENT_SIGN}",
        "alpha": f"{1 - level:.2g}",
        "kinds": list(dict.fromkeys(summary["seeds_interval"])),
        "n_train": f"{runs['n_train'].median():,.0f}",
        "n_test": f"{runs['n_test'].median():,.0f}",
        "most": len(numbers),
    }


def _shares_right(geojson: Path) -> pd.Series:
    features: Sequence[Mapping[str, Any]] = json.loads(geojson.read_text(encoding="utf-8"))["features"]
    return pd.Series([feature["properties"]["share_right"] for feature in features], dtype=float)


def _map_file(study: str, geojson: Path) -> dict[str, Any]:
    """A link that holds the points where they are small, otherwise where they lie."""
    size = geojson.stat().st_size
    if size > MOST_MAP_BYTES:
        return {"href": "", "file": "/".join(geojson.parts[-2:]), "size": size}
    href = _data_uri(geojson.read_bytes(), "application/geo+json")
    return {"href": href, "file": f"{study}-{geojson.name}", "size": size}


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _download(study: str, name: str, table: pd.DataFrame) -> dict[str, Any]:
    content = table.to_csv(index=False, lineterminator="\n").encode()
    return {"file": f"{study}-{name}.csv", "href": _data_uri(content, "text/csv;charset=utf-8"), "rows": len(table)}
