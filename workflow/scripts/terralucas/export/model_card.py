"""The model card: a README.md with YAML front matter, as Hugging Face shows it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined

from terralucas.contents import are_random_weights
from terralucas.export import examples
from terralucas.export.terratorch_model import TerraTorchModel
from terralucas.tables.scores import CLASS_SCORES, PERCENT, PERCENT_SIGN, SCORES
from terralucas.tables.vocabulary import ALL_CLASSES, CALIBRATION_SCORES, CROSSED_MEANING, RECIPE, crossed_kind

_TEMPLATE = Path(__file__).with_name("model_card.md")
# Characters that begin code, emphasis, links, HTML, cells, entities, formulas and the end of a heading in Markdown.
_MARKUP = re.compile(r"[\\`*_\[\]<>|~&$#]")
LICENCE = "apache-2.0"
_TUNINGS = {
    "frozen": "It is frozen; only the decoder and its head were trained.",
    "full": "All its weights were trained too.",
    "lora": "It was trained with LoRA adapters, which are merged into its weights here.",
}


@dataclass(frozen=True)
class StudyTables:
    """Tables of a study: summary.csv, per_class.csv and classes.csv."""

    summary: pd.DataFrame
    per_class: pd.DataFrame
    classes: pd.DataFrame


def make_card(
    record: Mapping[str, Any],
    description: Mapping[str, Any],
    tuning: str,
    tables: StudyTables,
    terratorch: TerraTorchModel,
) -> str:
    """Write the card.

    Args:
        record: content of selection.yaml.
        description: bands, unit, classes and the like, as in each config.json.
        tuning: `frozen`, `full` or `lora`.
        tables: tables of the study.
        terratorch: TerraTorch's configuration, or why there is none.

    Returns:
        Markdown with YAML front matter.
    """
    scores = _scores(record, tables.summary, CALIBRATION_SCORES if record.get("temperatures") else ())
    per_class = tables.per_class[_is_recipe(record, tables.per_class)]
    counts = dict(zip(tables.classes["class_code"], tables.classes["n"], strict=True))
    # Jinja escapes for HTML alone; the template applies the filter `plain` to names that a user chose.
    environment = Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    environment.filters["plain"] = _plain
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    body = template.render(
        {
            **description,
            "record": record,
            "is_random": are_random_weights(record["weights"]),
            "n_models": len(record["models"]),
            "temperatures": ", ".join(f"{value:.2f}" for value in record.get("temperatures") or []),
            "backbone": _backbone(record["weights"], description),
            "tuning": _TUNINGS[tuning],
            "classes": [{**entry, "n": counts.get(entry["code"], 0)} for entry in description["classes"]],
            "onnx": examples.ONNX,
            "torch_export": examples.TORCH_EXPORT,
            "terratorch": examples.terratorch(record["models"][0]),
            "no_terratorch": terratorch.reason,
            "scores": scores,
            "per_class": _per_class(per_class),
            "per_class_meaning": _meaning(per_class.iloc[0]),
            "level": f"{100 * tables.summary['level'].iloc[0]:g}",
        }
    )
    return f"---\n{_front_matter(record, scores)}\n---\n{body}"


def _front_matter(record: Mapping[str, Any], scores: Sequence[Mapping[str, Any]]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    weights = record["weights"]
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type="terralucas-study",
            dataset_name=str(record["dataset"]["name"]),
            metric_type=score["name"],
            metric_name=score["label"],
            metric_value=round(score["number"], 6),
        )
        for score in scores
    ]
    data = ModelCardData(
        model_name=str(record["study"]),
        license=LICENCE,
        pipeline_tag="image-classification",
        library_name="terratorch",
        base_model=weights.get("repo"),
        tags=["land-cover", "sentinel-2", "earth-observation", "terramind", "onnx", "safetensors"],
        eval_results=results,
    )
    return str(data.to_yaml())


def _scores(record: Mapping[str, Any], summary: pd.DataFrame, scaled: Sequence[str]) -> list[dict[str, Any]]:
    """Return the scores of the recipe over all classes that have an interval, in the order of the registry.

    Those of `scaled` are in the record, after the logits were divided by temperatures.
    """
    rows = summary[_is_recipe(record, summary)].set_index("metric")
    result = []
    for name, score in SCORES.items():
        if name not in rows.index or score.recipe_interval == "none":
            continue
        row = rows.loc[name]
        # Pooling changes some scores: for these, the mean over the runs counts, with its interval for new seeds.
        value, kind = (row["mean"], "seeds") if score.recipe_interval == "seeds" else (row["pooled"], "crossed")
        low, high = row[f"{kind}_low"], row[f"{kind}_high"]
        if name in scaled:
            quoted, kind = record["scores"]["values"].get(name, {}), "seeds"
            value, low, high = (quoted.get(key, math.nan) for key in ("value", "low", "high"))
        if pd.isna(value):
            continue
        interval = score.interval(low, high)
        text = score.text(value) + (PERCENT_SIGN if score.percent else "")
        meaning = "new seeds" if kind == "seeds" else _meaning(row)
        words = f"{interval} ({meaning})" if interval else "none"
        result.append({"name": name, "label": score.label, "number": float(value), "value": text, "interval": words})
    return result


def _meaning(row: pd.Series) -> str:
    """Return what the crossed interval of a row is for: with one seed, for new chips alone."""
    return CROSSED_MEANING[crossed_kind(row["crossed_interval"])]


def _per_class(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return recall with Wilson's interval, and precision and F1 with crossed intervals, of each class in percent."""
    result = []
    for _, of_class in table.groupby("class_code", sort=False):
        values, texts = of_class.set_index("metric"), {}
        for metric in CLASS_SCORES:
            row, kind = values.loc[metric], "wilson" if metric == "recall" else "crossed"
            interval = PERCENT.interval(row[f"{kind}_low"], row[f"{kind}_high"])
            texts[metric] = f"{PERCENT.text(row['pooled'])} {interval}".strip()
        result.append({"name": of_class["class_name"].iloc[0], "n": int(of_class["n"].iloc[0]), **texts})
    return result


def _plain(text: object) -> str:
    """Return Markdown that shows a user's text as it is, also in a cell of a table, but not at the start of a line."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(str(text).splitlines()))


def _is_recipe(record: Mapping[str, Any], table: pd.DataFrame) -> pd.Series:
    return (table[RECIPE] == list(record["recipe"].values())).all(axis=1) & (table["classes"] == ALL_CLASSES)


def _backbone(weights: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    name = f"The backbone is {description['backbone']}"
    if weights["source"] == "random":
        return f"{name} with random weights (seed {weights['seed']})."
    repo = _plain(weights.get("repo"))
    kind = "random" if are_random_weights(weights) else "pre-trained"
    origin = f"{repo}, commit {weights['commit']}" if weights["source"] == "huggingface" else "a file"
    return f"{name} with the {kind} weights of {origin} (sha256 {weights['sha256']})."
