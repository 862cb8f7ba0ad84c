"""The model card: a README.md with YAML front matter, as Hugging Face shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined

from terralucas.export import examples
from terralucas.export.terratorch_model import TerraTorchModel
from terralucas.tables.scores import PERCENT, PERCENT_SIGN, SCORES
from terralucas.tables.vocabulary import ALL_CLASSES, RECIPE

_TEMPLATE = Path(__file__).with_name("model_card.md")
LICENCE = "apache-2.0"
_CLASS_SCORES = ("recall", "precision", "f1")
_RANDOM = (
    "> **The backbone has random weights.** It was never pre-trained: the model shows that the files work, and is of no "
    "use for maps.\n"
)
_SIMULATED = "> **The chips are simulated.** The model says nothing about real land cover.\n"


@dataclass(frozen=True)
class StudyTables:
    """Tables of a study: scores of recipes (summary.csv), of classes (per_class.csv), and chips of each class
    (classes.csv)."""

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
    scores, per_class = _scores(record, tables.summary), _per_class(record, tables.per_class)
    is_random, is_simulated = record["weights"]["source"] == "random", record["chips"]["simulated"]
    warnings = (_RANDOM if is_random else "") + (">\n" if is_random and is_simulated else "")
    warnings += _SIMULATED if is_simulated else ""
    text = Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True).from_string(  # noqa: S701
        _TEMPLATE.read_text(encoding="utf-8")
    )
    counts = dict(zip(tables.classes["class_code"].astype(str), tables.classes["n"], strict=True))
    body = text.render(
        title=f"Land cover of the study {record['study']}",
        warnings=warnings and f"{warnings}\n",
        side=description["side_px"],
        n_models=len(record["models"]),
        recipe=" × ".join(record["recipe"].values()) + " (backbone × loss × decoder)",
        backbone=_backbone(record["weights"], description),
        tuning=_TUNINGS[tuning],
        bands=description["bands"],
        unit=description["unit_in_words"],
        missing=description["missing_pixels"],
        classes=[entry | {"n": counts.get(entry["code"], 0)} for entry in description["classes"]],
        onnx=examples.ONNX,
        torch_export=examples.TORCH_EXPORT,
        terratorch=terratorch.configuration and examples.TERRATORCH,
        no_terratorch=terratorch.reason,
        data=_data(record),
        meaning=record["scores"]["meaning"],
        scores=[
            {
                "label": SCORES[row["metric"]].label,
                "value": SCORES[row["metric"]].text(row["pooled"]) + _unit(SCORES[row["metric"]].percent),
                "interval": SCORES[row["metric"]].interval(row["crossed_low"], row["crossed_high"]) or "—",
            }
            for row in scores.to_dict("records")
        ],
        per_class=per_class,
        reason=record["reason"],
        limits=_limits(record),
        licence=_licence(record["weights"]),
    )
    return f"---\n{_front_matter(record, scores)}\n---\n{body}"


_TUNINGS = {
    "frozen": "The backbone is frozen; only the decoder and its head were trained.",
    "full": "All weights of the backbone were trained too.",
    "lora": "The backbone was trained with LoRA adapters, which are merged into its weights here.",
}


def _front_matter(record: Mapping[str, Any], scores: pd.DataFrame) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    weights = record["weights"]
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type="terralucas-study",
            dataset_name=str(record["dataset"]["name"]),
            metric_type=row["metric"],
            metric_name=SCORES[row["metric"]].label,
            metric_value=round(float(row["pooled"]), 6),
        )
        for row in scores.to_dict("records")
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


def _scores(record: Mapping[str, Any], summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the recipe over all classes, in the order of the registry, where there is a value."""
    rows = summary[_is_recipe(record, summary)].set_index("metric", drop=False)
    return rows.loc[[metric for metric in SCORES if metric in rows.index and pd.notna(rows.loc[metric, "pooled"])]]


def _per_class(record: Mapping[str, Any], table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = table[_is_recipe(record, table)]
    result = []
    for code, of_class in rows.groupby("class_code", sort=False):
        values = of_class.set_index("metric")
        texts = {}
        for metric in _CLASS_SCORES:
            row = values.loc[metric]
            interval = PERCENT.interval(row["crossed_low"], row["crossed_high"])
            texts[metric] = f"{PERCENT.text(row['pooled'])} {interval}".strip()
        result.append(
            {"code": str(code), "name": of_class["class_name"].iloc[0], "n": int(of_class["n"].iloc[0]), **texts}
        )
    return result


def _is_recipe(record: Mapping[str, Any], table: pd.DataFrame) -> pd.Series:
    return (table[RECIPE] == list(record["recipe"].values())).all(axis=1) & (table["classes"] == ALL_CLASSES)


def _unit(is_percent: bool) -> str:
    return PERCENT_SIGN if is_percent else ""


def _backbone(weights: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    name = f"The backbone is {description['backbone']}"
    if weights["source"] == "random":
        return f"{name} with random weights (seed {weights['seed']})."
    origin = f"{weights['repo']}, commit {weights['commit']}" if weights["source"] == "huggingface" else "a file"
    return f"{name} with the pre-trained weights of {origin} (sha256 {weights['sha256']})."


def _data(record: Mapping[str, Any]) -> str:
    dataset, chips = record["dataset"], record["chips"]
    kind = "simulated chips" if chips["simulated"] else "chips"
    return (
        f"{dataset['name']}: {chips['number']} {kind}. Each model was trained on one part of them, stopped or chosen on a "
        "second, and scored on a third."
    )


def _limits(record: Mapping[str, Any]) -> list[str]:
    if record["dataset"]["point_ids"] == "lucas":
        labels = [
            "A label is that of the LUCAS point in the centre of the chip. It is no label of a pixel, parcel or area, and "
            "the rest of the chip may have other covers.",
            "LUCAS has points that were visited and points that were photo-interpreted; the study does not tell them "
            "apart, and errors of the second kind of label count as errors of the model.",
        ]
    else:
        labels = [
            "A label is that of a chip as the dataset has it. It is no label of a pixel, and says nothing about shares of "
            "area.",
        ]
    return [
        *labels,
        "The chips are no probability sample of a region with known weights: the scores are those of the chips of this "
        "study, and no estimates of the accuracy of a map or of areas.",
        "The scores are of single models; the ensemble has no held-out chips of its own.",
        "Probabilities are not calibrated. The sets of classes and the area of applicability of the study are not part of "
        "these files.",
        "Chips of another landscape, season or processing can be classified much worse, and nothing in the output says so.",
    ]


def _licence(weights: Mapping[str, Any]) -> str:
    own = "The files are under the Apache License 2.0, as the code that trained them"
    if weights["source"] == "random":
        return f"{own}. The licence of the chips is a matter of their source."
    return (
        f"{own} and IBM's and ESA's weights of TerraMind; if the backbone's weights are others, their licence holds. The "
        "licence of the chips is a matter of their source."
    )
