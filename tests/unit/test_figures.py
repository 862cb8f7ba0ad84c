"""Figures: what a reader sees in them, for ordinary and degenerate studies."""

from __future__ import annotations

import itertools
import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from terralucas import figures
from terralucas.drawing import palette

METRICS = ("macro_accuracy", "micro_accuracy", "macro_f1", "mcc", "cohen_kappa", "nll", "brier", "ece")
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


def synthetic_tables(
    backbones=("tiny", "base"),
    losses=("weighted_ce", "weighted_focal", "ce", "focal"),
    decoders=("identity", "mlp"),
    seeds=5,
    classes=LUCAS,
    epochs=30,
):
    """Every table of a study, filled with plausible random numbers."""
    random = np.random.default_rng(7)
    recipes = list(itertools.product(backbones, losses, decoders))
    names, total = list(classes), sum(classes.values())
    kind = {"interval": "nadeau_bengio_t", "level": 0.95}

    def estimate(mean, sd):
        half = 1.7 * sd if seeds > 1 else np.nan
        spread = {"mean": mean, "sd": sd if seeds > 1 else np.nan, "n_seeds": seeds}
        return spread | {"ci_low": mean - half, "ci_high": mean + half} | kind

    rows = {name: [] for name in ("runs", "summary", "per_class", "contrasts", "confusion", "curves")}
    for number, recipe in enumerate(recipes):
        keys = dict(zip(("backbone", "loss", "decoder"), recipe, strict=True))
        centre = dict(zip(METRICS, random.uniform(0.3, 0.55, len(METRICS)), strict=True))
        centre["nll"] = random.uniform(1.2, 1.9)
        for metric in METRICS:
            rows["summary"].append(keys | {"metric": metric} | estimate(centre[metric], random.uniform(0.008, 0.03)))
        for seed in range(seeds):
            scores = {metric: centre[metric] + random.normal(0, 0.02) for metric in METRICS}
            sizes = {"n_train": round(0.64 * total), "n_validation": round(0.16 * total), "n_test": round(0.2 * total)}
            best = int(random.integers(epochs // 2, epochs + 1))
            run = {"run": "/".join([*recipe, f"seed-{seed}"])} | keys | {"seed": seed} | sizes
            run |= {
                "epochs": epochs,
                "best_epoch": best,
                "validation_macro_accuracy": scores["macro_accuracy"],
            } | scores
            run |= {"seconds": random.uniform(20, 90), "seconds_to_first_step": 1.5, "peak_memory_mib": 812.4}
            rows["runs"].append(run | {"device": "cpu", "threads": 2, "resumed": number == 0 and seed == 0})
        for (code, name), metric in itertools.product(enumerate(names, 1), ("recall", "precision", "f1")):
            score = estimate(random.uniform(0.02, 0.85), 0.05 + 0.6 / np.sqrt(classes[name]))
            label = {"class_code": code, "class_name": name, "metric": metric, "n_test": classes[name]}
            rows["per_class"].append(keys | label | score)
        for (true, name), (other, other_name) in itertools.product(enumerate(names, 1), repeat=2):
            count = int(random.poisson(classes[name] * (0.5 if true == other else 0.5 / len(names))))
            cell = {"true_code": true, "true_name": name, "predicted_code": other, "predicted_name": other_name}
            rows["confusion"].append(keys | cell | {"count": count})
        for epoch in range(1, epochs + 1):
            level = centre["macro_accuracy"] * (1 - np.exp(-epoch / 6)) + random.normal(0, 0.006)
            curve = {"epoch": epoch, "train_loss_mean": 2 / epoch, "validation_macro_accuracy_mean": level}
            curve |= {f"validation_macro_accuracy_{end}": level + gap for end, gap in (("min", -0.03), ("max", 0.03))}
            rows["curves"].append(keys | curve)
    factors = {"loss": losses, "decoder": decoders, "backbone": backbones}
    for factor, settings in factors.items():
        for (a, b), metric in itertools.product(itertools.combinations(settings, 2), METRICS):
            score = estimate(random.normal(0, 0.03), 0.01)
            score = {"difference": score.pop("mean"), "n_cells": len(recipes) // 2} | score
            p_value = math.erfc(abs(score["difference"]) / 0.017 * 1.96 / math.sqrt(2)) if seeds > 1 else np.nan
            pair = {"contrast": f"{a} − {b}", "factor": factor, "a": a, "b": b, "scope": "all", "metric": metric}
            rows["contrasts"].append(pair | score | {"p_value": p_value})
    tables = {name: pd.DataFrame(content) for name, content in rows.items()}
    cost = ["seconds", "seconds_to_first_step", "peak_memory_mib", "device", "threads", "resumed"]
    tables["durations"] = tables["runs"][["run", *cost]]
    tables["runs"] = tables["runs"].drop(columns=cost)
    if tables["contrasts"].empty:
        columns = "contrast factor a b scope metric difference sd n_seeds n_cells ci_low ci_high p_value interval level"
        tables["contrasts"] = pd.DataFrame(columns=columns.split())
    tables["classes"] = pd.DataFrame(
        {"class_code": code, "class_name": name, "n": n, "share": n / total}
        for code, (name, n) in enumerate(classes.items(), 1)
    )
    for table in tables.values():
        table.insert(0, "schema_version", 1)
    return tables


DRAW = {
    "accuracy": (figures.accuracy_figure, "summary"),
    "per_class": (figures.per_class_figure, "per_class"),
    "confusion": (figures.confusion_figure, "confusion"),
    "curves": (figures.curves_figure, "curves"),
}


def draw_all(tables, folder):
    paths = {}
    for name, (draw, table) in DRAW.items():
        paths[name] = folder / f"{name}.svg"
        draw(tables[table], paths[name])
    return paths


@pytest.fixture(scope="module")
def study():
    return synthetic_tables(
        losses=("weighted_ce", "focal"), decoders=("identity", "mlp"), classes=dict(list(LUCAS.items())[:4]), epochs=4
    )


@pytest.fixture(scope="module")
def drawn(study, tmp_path_factory):
    return draw_all(study, tmp_path_factory.mktemp("figures"))


def texts(path):
    root = ElementTree.parse(path).getroot()
    return ["".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_same_tables_give_the_same_bytes_whatever_the_order_of_drawing(study, drawn, tmp_path):
    for name, (draw, table) in reversed(DRAW.items()):
        draw(study[table], tmp_path / f"{name}.svg")
        assert (tmp_path / f"{name}.svg").read_bytes() == drawn[name].read_bytes()


def test_every_axis_names_its_quantity_and_unit(drawn):
    wanted = {
        "accuracy": ("Macro accuracy (%)", "Micro accuracy (%)", "95 % interval"),
        "per_class": ("Recall (%)", "95 % interval", "n = 704"),
        "confusion": ("Predicted class (code)", "True class", "percent of the true class"),
        "curves": ("Epoch", "Validation macro accuracy (%)", "Band: lowest to highest seed"),
    }
    for name, phrases in wanted.items():
        words = " ".join(texts(drawn[name]))
        for phrase in phrases:
            assert phrase in words, (name, phrase)


def test_classes_are_ordered_by_their_number_of_chips(drawn):
    words = texts(drawn["per_class"])
    counts = [int(word.removeprefix("n = ")) for word in words if word.startswith("n = ")]
    assert counts == sorted(counts, reverse=True)


def test_confusion_rows_show_percent_of_the_true_class(tmp_path):
    cells = [("Land", "Land", 30), ("Land", "Water", 10), ("Water", "Land", 0), ("Water", "Water", 8)]
    codes = {"Land": 1, "Water": 2}
    table = pd.DataFrame(
        {"backbone": "tiny", "loss": "ce", "decoder": "mlp", "true_code": codes[true], "true_name": true,
         "predicted_code": codes[other], "predicted_name": other, "count": count}
        for true, other, count in cells
    )  # fmt: skip
    figures.confusion_figure(table, tmp_path / "confusion.svg")
    words = texts(tmp_path / "confusion.svg")
    assert {"75", "25", "100"} <= set(words)
    assert "0" not in words


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_recipe_with_hostile_names_is_drawn(tmp_path, seeds):
    name = 'a <b> & "c" $x_1$ 水'
    tables = synthetic_tables(("_t",), ("_ce$",), ("i<&",), seeds=seeds, classes={name: 10, "_b": 5}, epochs=1)
    paths = draw_all(tables, tmp_path)
    assert any(name in word for word in texts(paths["confusion"]))
    assert "_ce$" in texts(paths["accuracy"])
    assert ("No intervals" in " ".join(texts(paths["accuracy"]))) == (seeds == 1)


def test_scores_that_could_not_be_computed_are_left_out(study, tmp_path):
    summary = study["summary"].copy()
    summary.loc[summary["metric"] == "macro_accuracy", ["mean", "ci_low", "ci_high"]] = np.nan
    figures.accuracy_figure(summary, tmp_path / "accuracy.svg")
    assert "Macro accuracy (%)" in " ".join(texts(tmp_path / "accuracy.svg"))


def test_a_loss_keeps_its_colour_in_every_figure(study, drawn):
    colours = palette(study["summary"]["loss"])
    assert list(colours) == ["weighted_ce", "focal"]
    for name in ("accuracy", "per_class", "curves"):
        content = drawn[name].read_text(encoding="utf-8").lower()
        assert all(colour.lower() in content for colour in colours.values()), name
    assert len(set(palette(f"loss {number}" for number in range(12)).values())) == 12


def test_figures_load_nothing_from_outside(drawn):
    for path in drawn.values():
        content = path.read_text(encoding="utf-8")
        assert not re.findall(r'(?:href|src)="(?!#|data:)[^"]*"', content)
        assert not re.findall(r"url\((?!#)", content)
        assert "@import" not in content
