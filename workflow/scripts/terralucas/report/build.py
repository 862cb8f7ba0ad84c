"""The self-contained HTML report of a study. Every sentence and cell is generated from the tidy tables.

The same tables, figures and context give a file with the same bytes. The file loads no other file.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from terralucas.errors import StudyError
from terralucas.files import write_text
from terralucas.report import alt_texts
from terralucas.report.colours import palette
from terralucas.report.figures.shown import shown_sentence
from terralucas.report.html_page import render_page
from terralucas.report.page_tables import data_uri
from terralucas.report.sections import (
    calibration,
    claims,
    classes,
    contrasts,
    controls,
    fronts,
    gallery,
    leakage,
    other_studies,
    point_map,
    power,
    recipes,
    runs,
    space,
    variance,
)
from terralucas.report.sections.answer import answer_items, answer_table
from terralucas.report.sections.point_map import map_file
from terralucas.report.sections.trust import trust_items
from terralucas.report.wording import count_text, list_text
from terralucas.tables.scores import MAIN_SCORES, PERCENT_SIGN, SCORES
from terralucas.tables.vocabulary import CONTROL, RECIPE

TABLES = (
    *("summary", "contrasts", "per_class", "controls", "best_pair", "mixed_model", "power", "variance"),
    "spatial",
    *("confusion", "curves", "runs", "classes", "fronts", "fronts_runs", "fronts_summary", "fronts_contrasts"),
    *(
        "calibration_runs",
        "calibration",
        "reliability",
        "overlap",
        "correlation",
        "distance",
        "durations",
        "claims",
        "beside",
    ),
)
FIGURES_OF_RECIPES = ("accuracy", "per_class", "fronts", "reliability", "distance", "confusion", "curves")
FIGURES = ("answer", *FIGURES_OF_RECIPES, "map", "spectra")
# Of the archive of tables inside the page. A study of 1,000 runs has 5 MB.
MOST_DOWNLOAD_BYTES = 16_000_000


@dataclass(frozen=True)
class ReportContext:
    """The content of a report that is not in its tables.

    `notices` are shown first. `durations` has records of `stage`, `seconds` and `jobs`. `chance_macro_accuracy` is the
    macro accuracy of guessing, as a fraction. `primary` is the name of the primary score. `contrasts` and
    `interactions` have the names of those of the configuration, and `select` is its section `select`. `block_km` is the
    side of the blocks of the split, or None. `simulated` says whether the chips are, and `random_weights` names the
    backbones that were never pre-trained. `git_commit` is None outside version control. `registrations` are the entries
    of registration.json, and `plan_changes` describes which plans were made after results existed. `gallery` is the
    content of gallery.json, or None without pictures.
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
    primary: str
    contrasts: list[str]
    interactions: list[str]
    select: dict[str, Any]
    block_km: float | None
    simulated: bool
    random_weights: list[str]
    registrations: list[dict[str, Any]]
    plan_changes: list[str]
    gallery: dict[str, Any] | None = None


def build_report(
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Path],
    shares: pd.Series,
    geojson: Path,
    context: ReportContext,
    path: Path,
) -> None:
    """Write the report of a study as one HTML file that needs no other file and no network.

    Args:
        tables: the tidy tables named in `TABLES`; accuracies and shares are fractions in 0..1.
        figures: SVG files of the figures named in `FIGURES`.
        shares: share of right test predictions of each point, as in `maps.correctness_table`.
        geojson: GeoJSON file of `maps.write_maps`.
        context: the content that is not in the tables.
        path: HTML file to write.

    Raises:
        StudyError: a table or figure is missing.
    """
    _require("table", TABLES, tables)
    _require("figure", FIGURES, figures)
    html = render_page(
        "page.html.j2",
        study=context.study,
        title=context.title,
        question=context.question,
        context=context,
        figures={name: data_uri(figures[name].read_bytes(), "image/svg+xml") for name in FIGURES},
        downloads=_downloads(context.study, tables),
        map_file=map_file(context.study, geojson),
        **_sections(tables, shares, context),
    )
    write_text(path, html)


def _sections(tables: Mapping[str, pd.DataFrame], shares: pd.Series, context: ReportContext) -> dict[str, Any]:
    """Return the variables of the template, section by section."""
    summary, asked, needs = tables["summary"], tables["contrasts"], tables["power"]
    basis = _basis(summary, tables["runs"], tables["fronts_runs"]["seed"])
    level = basis["level"]
    answer = answer_items(asked, needs, level, context.primary)
    primary = context.primary
    names = dict(zip(tables["classes"]["class_code"], tables["classes"]["class_name"], strict=True))
    spatial = space.add_ratios(tables["spatial"], summary, asked)
    run_rows = tables["runs"].merge(tables["durations"].drop(columns="schema_version"), on="run", how="left")
    return {
        "basis": basis,
        "shown": shown_sentence(summary, context.primary),
        "figures_of_recipes": FIGURES_OF_RECIPES,
        "colours": palette(summary["loss"]) | {CONTROL: "#9AA3AD"},
        "answers": answer,
        "answer_table": answer_table(asked, needs, primary),
        "lead": controls.lead_sentence(tables["best_pair"], primary),
        "primary": SCORES[primary],
        "trust": trust_items(
            tables["per_class"],
            tables["variance"],
            tables["overlap"],
            spatial,
            tables["correlation"],
            tables["runs"],
            context.simulated,
            context.random_weights,
        ),
        "claims": claims.claim_items(tables["claims"], level),
        "other_studies_table": other_studies.other_studies_page_table(tables["beside"]),
        "other_class_sentences": other_studies.other_class_sentences(tables["beside"]),
        "leaders": recipes.leader_cards(summary),
        "leader_sentences": recipes.leader_sentences(summary, tables["classes"], context.chance_macro_accuracy),
        "selection": recipes.selection_sentence(summary, context.select, primary),
        "ranking": recipes.ranking_table(summary, tables["controls"], primary),
        "recipe_tables": recipes.recipe_tables(
            pd.concat([summary, tables["controls"]], ignore_index=True), names, primary
        ),
        "verdicts": [text for name in MAIN_SCORES if (text := contrasts.verdict_counts(asked, name))],
        "no_contrasts": contrasts.no_contrasts_sentence(context.contrasts),
        "contrast_tables": contrasts.contrast_tables(asked, level, names),
        "mcnemar": contrasts.mcnemar_sentence(asked, level),
        "mixed": contrasts.mixed_model_sentence(tables["mixed_model"]),
        "mixed_apart": contrasts.mixed_model_discrepancies(tables["mixed_model"], names),
        "power_table": power.power_table(needs, asked),
        "power_sentences": power.power_sentences(needs, basis["most"]),
        "front_sentences": fronts.front_sentences(tables["fronts_contrasts"], asked),
        "front_table": fronts.hypervolume_table(tables["fronts_summary"], tables["fronts_runs"]),
        "class_table": classes.class_table(tables["classes"]),
        "class_groups": classes.class_groups(tables["per_class"]),
        "class_sentences": classes.never_predicted_sentences(tables["confusion"]),
        "gallery": gallery.gallery_items(context.gallery, list(tables["classes"]["class_name"])),
        "gallery_is_tied": gallery.is_tied(tables["summary"], primary),
        "rarest": classes.rarest_class_sentence(tables["per_class"]),
        "balance": classes.balance_sentence(tables["per_class"]),
        "has_controls": not tables["controls"].empty,
        "control_sentences": controls.control_sentences(tables["best_pair"]),
        "calibration_table": calibration.calibration_table(tables["calibration"]),
        "calibration_sentences": calibration.calibration_sentences(tables["calibration"]),
        "overlap_table": leakage.overlap_page_table(tables["overlap"]),
        "leakage_sentences": leakage.leakage_sentences(tables["overlap"]),
        "space_sentences": space.space_sentences(spatial, tables["correlation"], context.block_km),
        "correlation_table": space.correlation_page_table(tables["correlation"]),
        "spatial_table": space.spatial_page_table(spatial),
        "map_sentences": point_map.map_sentences(shares),
        "variance_table": variance.variance_page_table(tables["variance"]),
        "variance_sentences": variance.variance_sentences(tables["variance"]),
        "run_table": runs.run_table(run_rows),
        "lost_runs": runs.lost_run_sentences(tables["runs"], tables["fronts_runs"])
        + contrasts.not_computed_sentences(asked, [*context.contrasts, *context.interactions]),
        "few_chips": classes.few_chips_sentences(summary, tables["per_class"]),
        "run_sentences": runs.run_sentences(tables["runs"]),
        "alternatives": alt_texts.alt_texts(tables, answer)
        | {
            "map": f"Map of the share of right test predictions at each point. {point_map.map_sentences(shares)[0]}",
            "spectra": f"Lines of mean reflectance by band, a panel for each class: {list_text([*names.values()])}.",
        },
    }


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
    """Describe the design of the study: recipes, seeds, level and kinds of interval, and numbers of chips."""
    numbers = sorted(seeds.unique())
    sizes = {name: summary[name].nunique() for name in RECIPE}
    plurals = {"backbone": "backbones", "loss": "losses", "decoder": "decoders"}
    level = float(summary["level"].iloc[0])
    return {
        "recipes": len(summary[RECIPE].drop_duplicates()),
        "factors": list_text([count_text(count, name, plurals[name]) for name, count in sizes.items()]),
        "seeds": count_text(len(numbers), "seed"),
        "seed_numbers": ", ".join(map(str, numbers)),
        "level": level,
        "level_text": f"{100 * level:g}{PERCENT_SIGN}",
        "alpha": f"{1 - level:.2g}",
        "kinds": list(dict.fromkeys(summary["seeds_interval"])),
        "n_train": f"{runs['n_train'].median():,.0f}",
        "n_test": f"{runs['n_test'].median():,.0f}",
        "most": len(numbers),
    }


def _downloads(study: str, tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Return a link that contains all tables as CSV files in one ZIP archive, a tenth of their size.

    There is no link if the archive is larger than `MOST_DOWNLOAD_BYTES`.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in TABLES:
            # Its default time is the earliest that ZIP can express; that of now would change the bytes of the page.
            entry = zipfile.ZipInfo(f"{study}-tables/{name}.csv")
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, tables[name].to_csv(index=False, lineterminator="\n"))
    size = len(content.getvalue())
    return {
        "file": f"{study}-tables.zip",
        "href": data_uri(content.getvalue(), "application/zip") if size <= MOST_DOWNLOAD_BYTES else "",
        "size": size,
        "tables": [{"name": name, "rows": len(tables[name])} for name in TABLES],
    }
