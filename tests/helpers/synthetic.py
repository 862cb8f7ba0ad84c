"""Tables, map and figures of a synthetic study: real tables of the core, from simulated predictions."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

from helpers.chips import BANDS
from terralucas.data.discovery.lucas import italy_grid_points
from terralucas.data.splits import spatial_blocks
from terralucas.evidence import calibration, fronts, leakage, maps, spatial_correlation
from terralucas.report.build import FIGURES
from terralucas.report.figures.study import draw_figures
from terralucas.report.sections.other_studies import other_studies_table
from terralucas.statistics.comparison import Question, compare
from terralucas.statistics.run_predictions import Part, RunPredictions
from terralucas.statistics.run_scores import evaluate
from terralucas.statistics.seed_means import SeedDesign
from terralucas.tables.vocabulary import RECIPE, SCHEMA_VERSION

LUCAS = {
    "Arable lands": 511,
    "Permanent crops": 178,
    "Grass": 205,
    "Wooded areas": 704,
    "Shrubs": 126,
    "Bare surface, low or rare vegetation": 57,
    "Artificial, constructions and sealed areas": 125,
    "Inland water": 43,
    "Transitional and coastal waters": 20,
    "Impossible to photo-interpret": 25,
}
LEVEL, MARGIN = 0.95, 0.02
CONTROLS = [("none", "control", "majority"), ("tiny", "control", "knn")]


@dataclass(frozen=True)
class Study:
    """The tables by name, the points of the map and the folder of the map files."""

    tables: dict[str, pd.DataFrame]
    points: gpd.GeoDataFrame
    geojson: Path


def make_study(
    folder: Path,
    backbones=("tiny",),
    losses=("weighted_ce", "focal"),
    decoders=("identity", "mlp"),
    seeds=5,
    classes=None,
    epochs=3,
    excluded=(),
    contrasts=True,
    controls=True,
    draws=500,
) -> Study:
    """Every table of a k-fold study whose recipes know the labels about as well as each other."""
    classes = classes or dict(list(LUCAS.items())[:3])
    entries = [{"code": str(code), "name": name} for code, name in enumerate(classes, 1)]
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.repeat(np.arange(len(classes)), list(classes.values()))
    split = _splits(labels, seeds)
    recipes = list(itertools.product(backbones, losses, decoders))
    runs = {recipe: _runs(number, recipe, labels, split) for number, recipe in enumerate(recipes)}
    others = CONTROLS if controls else []
    runs |= {recipe: _runs(100 + number, recipe, labels, split) for number, recipe in enumerate(others)}

    factors = {"loss": losses, "decoder": decoders, "backbone": backbones}
    asked = [(factor, names[1], names[0]) for factor, names in factors.items() if len(names) > 1 and contrasts]
    pairs = [(asked[0], asked[1])] if len(asked) > 1 else []
    margins = {"macro_accuracy": MARGIN, "micro_accuracy": MARGIN}
    question = Question(entries, tuple(excluded), asked, pairs, margins, max(seeds, 2), LEVEL, draws, 0)
    load = lambda recipe: {run.names["seed"]: run.test for run in runs[recipe]}  # noqa: E731
    chips = _chips(labels)
    places = chips[["easting_m", "northing_m"]].to_numpy()
    blocks = {50.0: spatial_blocks(places[:, 0], places[:, 1], 50.0)}
    tables = compare(recipes, others, load, 0.3 if seeds > 1 else 0.25, None, question, folder, blocks)

    every = [run for recipe in recipes for run in runs[recipe]]
    tables |= _evidence(every, labels, split, asked)
    tables |= _records(every, entries, epochs)
    tables["classes"] = _table(
        {"class_code": entry["code"], "class_name": entry["name"], "n": n, "share": n / len(labels)}
        for entry, n in zip(entries, classes.values(), strict=True)
    )
    parts = {seed: split[seed] for seed in range(seeds)}
    tables["correlation"] = spatial_correlation.correlation_table(every, places, LEVEL, 0)
    tables["overlap"] = leakage.overlap_table(places, parts, 6720.0)
    tables["distance"] = leakage.distance_table(every, places, parts, 6720.0, LEVEL)
    tables["beside"] = other_studies_table({"synthetic": tables["summary"]})
    points = maps.correctness_table(every, chips, entries)
    maps.write_maps(points, folder / "points.parquet", folder / "points.geojson")
    return Study(tables, points, folder / "points.geojson")


def draw_all(study: Study, folder: Path) -> dict[str, Path]:
    """The figures of a study, by name."""
    paths = {name: folder / f"{name}.svg" for name in FIGURES}
    draw_figures(study.tables.__getitem__, study.points, _spectra(study), BANDS, "macro_accuracy", paths)
    return paths


def _spectra(study: Study) -> pd.DataFrame:
    """What the figure of reflectance needs of three chips of each class."""
    classes = study.tables["classes"][["class_code", "class_name"]]
    chips = classes.assign(label=range(len(classes))).loc[np.repeat(classes.index, 3)]
    random = np.random.default_rng(0)
    return chips.assign(band_mean=list(random.uniform(0.02, 0.4, (len(chips), len(BANDS)))))


def _splits(labels, seeds):
    """Seed → part of each chip: seed s tests fold s of as many folds, or a fifth with one seed."""
    fold = np.arange(len(labels)) % max(seeds, 5)
    parts = {}
    for seed in range(seeds):
        part = np.full(len(labels), "train", dtype=object)
        part[fold == (seed + 1) % max(seeds, 5)] = "validation"
        part[fold == seed] = "test"
        parts[seed] = part
    return parts


def _runs(number, recipe, labels, split):
    prior = np.log(np.bincount(labels) / len(labels))
    found = []
    for seed, part in split.items():
        random = np.random.default_rng([number, seed])
        skill = 1.2 + 0.2 * (number % 3) + 0.1 * random.normal()
        sides = []
        for name in ("test", "validation"):
            chips = np.flatnonzero(part == name)
            logits = random.normal(size=(len(chips), len(prior))) + prior
            logits[np.arange(len(chips)), labels[chips]] += skill
            sides.append(Part(chips, labels[chips], logits.astype(np.float32)))
        found.append(RunPredictions(dict(zip((*RECIPE, "seed"), (*recipe, seed), strict=True)), *sides))
    return found


def _evidence(runs, labels, split, asked):
    design = SeedDesign(0.3, LEVEL)
    prior = np.bincount(labels) / len(labels)
    traced = fronts.trace(runs, dict.fromkeys(split, prior), "macro_accuracy")
    temperatures = calibration.temperature_table(runs, 0)
    named = [{"factor": factor, "a": a, "b": b} for factor, a, b in asked]
    return {
        "fronts": fronts.points_table(traced, design),
        "fronts_runs": fronts.front_runs_table(traced),
        "fronts_summary": fronts.summary_table(traced, design),
        "fronts_contrasts": fronts.contrasts_table(traced, named, design),
        "calibration_runs": temperatures,
        "calibration": calibration.summary_table(temperatures, design),
        "reliability": calibration.reliability_table(runs, calibration.scale_runs(runs)[0]),
    }


def _records(runs, entries, epochs):
    """What the runs' records say: scores, confusion, curves and cost."""
    rows, confusion, curves, costs = [], {}, [], []
    for number, run in enumerate(runs):
        scores = evaluate(run.test.labels, run.test.logits)
        recipe = tuple(run.names[name] for name in RECIPE)
        counts = np.array(scores.pop("confusion"))
        confusion[recipe] = confusion.get(recipe, 0) + counts
        name = "/".join([*recipe, f"seed-{run.names['seed']}"])
        sizes = {"n_train": 3 * len(run.test.labels), "n_validation": len(run.validation.labels)}
        best = {"n_test": len(run.test.labels), "epochs": epochs, "best_epoch": max(1, epochs - number % 2)}
        macro = scores["macro_accuracy"]
        state = {"status": "finished", "reason": ""}
        rows.append({"run": name, **run.names, **state, **sizes, **best, "validation_macro_accuracy": macro} | scores)
        costs.append({"run": name, "seconds": 20.0 + number, "seconds_to_first_step": 1.5, "peak_memory_mib": 812.4,
                      "device": "cpu", "threads": 2, "resumed": number == 0, "libraries": "torch 2"})  # fmt: skip
        if run.names["seed"] == 0:
            for epoch in range(1, epochs + 1):
                level = macro * (1 - np.exp(-epoch / 6))
                ends = {"mean": level, "min": level - 0.03, "max": level + 0.03}
                curve = {f"validation_macro_accuracy_{end}": value for end, value in ends.items()}
                names = dict(zip(RECIPE, recipe, strict=True))
                curves.append(
                    {**names, "epoch": epoch, "train_loss_mean": 2 / epoch, "validation_nll_mean": 1.0} | curve
                )
    cells = [
        dict(zip(RECIPE, recipe, strict=True))
        | {"true_code": true["code"], "true_name": true["name"]}
        | {"predicted_code": other["code"], "predicted_name": other["name"], "count": int(counts[i, j])}
        for recipe, counts in confusion.items()
        for (i, true), (j, other) in itertools.product(enumerate(entries), repeat=2)
    ]
    tables = {"runs": rows, "confusion": cells, "curves": curves, "durations": costs}
    return {name: _table(content) for name, content in tables.items()}


def _chips(labels):
    places = 1000.0 * italy_grid_points().astype(float)
    chosen = places[np.linspace(0, len(places) - 1, len(labels)).astype(int)]
    ids = np.arange(len(labels)).astype(str)
    return pd.DataFrame({"point_id": ids, "label": labels, "easting_m": chosen[:, 0], "northing_m": chosen[:, 1]})


def _table(rows):
    table = pd.DataFrame(list(rows))
    table.insert(0, "schema_version", SCHEMA_VERSION)
    return table
