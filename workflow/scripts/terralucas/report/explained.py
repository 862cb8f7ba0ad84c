"""The page about what mattered for the selected models: bands, and places in some chips."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from PIL import Image

from terralucas.contents import are_random_weights
from terralucas.files import write_text
from terralucas.report.html_page import render_page
from terralucas.report.page_tables import Column, PageTable, Row, TableCell, data_uri
from terralucas.report.sections.gallery import KINDS, chip_card, stretch_text
from terralucas.report.wording import count_text, list_text
from terralucas.tables.scores import PERCENT, PERCENT_SIGN, SCORES
from terralucas.tables.vocabulary import BAND_GROUP, RECIPE

# From purple (the probability rises) over white to orange (it falls), safe for colour-blind readers.
_COLOUR_MAP = "PuOr_r"
# Of the changes of all chips: stronger ones have the same colour, so that one chip does not make all others pale.
_STRONGEST = 98.0
_THIRDS = (("upper", "middle", "lower"), ("left", "centre", "right"))


def build_explained(
    record: Mapping[str, Any], importance: pd.DataFrame, occlusion: Mapping[str, Any], figure: Path, path: Path
) -> None:
    """Write the page as one HTML file that needs no other file and no network.

    Args:
        record: content of selection.yaml.
        importance: importance.csv.
        occlusion: content of occlusion.json.
        figure: SVG file of `importance_figure`.
        path: HTML file to write.
    """
    names = [str(entry["name"]) for entry in record["dataset"]["classes"]]
    strongest = _strongest(occlusion)
    lead, alternative = _sentences(record, importance)
    html = render_page(
        "explained.html.j2",
        study=str(record["study"]),
        title="What mattered",
        question=f"Which bands, and which places in a chip, the predictions of the selected models rest on: "
        f"{' × '.join(str(record['recipe'][name]) for name in RECIPE)}.",
        notices=_notices(record),
        lead=lead,
        figures={"importance": data_uri(figure.read_bytes(), "image/svg+xml")},
        alternatives={"importance": alternative},
        importance_table=_importance_table(importance),
        sampling=_sampling(importance),
        classes=_classes(occlusion, names, strongest),
        window_px=occlusion["window_px"],
        stretch=stretch_text(occlusion),
        filling=", ".join(f"{band} {value:.3f}" for band, value in occlusion["filling"].items()),
        scale=f"{100 * strongest:.0f}",
        gradient=", ".join(mpl.colors.to_hex(mpl.colormaps[_COLOUR_MAP](share)) for share in np.linspace(0, 1, 9)),
        colours={},
    )
    write_text(path, html)


def _notices(record: Mapping[str, Any]) -> list[str]:
    lines = []
    if record["chips"]["simulated"]:
        lines.append("The chips are simulated: nothing here is about real land cover.")
    if are_random_weights(record["weights"]):
        lines.append("The weights of the backbone are random, never pre-trained: nothing here is about TerraMind.")
    return lines


def _sentences(record: Mapping[str, Any], importance: pd.DataFrame) -> tuple[str, str]:
    """Return the sentence about the largest losses, and the alternative text of the figure."""
    known = list(dict.fromkeys(importance["metric"]))
    metric = record["metric"] if record["metric"] in known else known[0]
    score, rows = SCORES[metric], importance[importance["metric"] == metric]
    lines = []
    for is_group, noun in ((True, "groups"), (False, "single bands")):
        chosen = rows[(rows["kind"] == BAND_GROUP) == is_group].sort_values("loss", ascending=False, kind="stable")
        most = score.text(chosen["loss"].max())
        if chosen["loss"].max() <= 0 or most == score.text(0.0):
            lines.append(f"None of the {noun} costs {score.prose} when permuted, at the precision shown.")
            continue
        tied = chosen[chosen["loss"].map(score.text) == most]
        verb, each = ("costs", "") if len(tied) == 1 else ("cost", " each")
        span = f", from {score.text(tied['lowest'].min())} to {score.text(tied['highest'].max())} over the seeds"
        lines.append(
            f"Of the {noun}, {list_text(list(tied['name']))} {verb} most {score.prose} when permuted: {most}"
            f"{score.unit}{each}{span if tied['n_seeds'].max() > 1 else ''}."
        )
    every = "; ".join(f"{row['name']} {score.text(row['loss'])}" for _, row in rows.iterrows())
    return " ".join(lines), f"Dots with ranges. Mean loss of {score.prose}{score.unit and ', points'}: {every}."


def _importance_table(importance: pd.DataFrame) -> PageTable:
    metrics = list(dict.fromkeys(importance["metric"]))
    columns = [Column("Bands", is_text=True)]
    for name in metrics:
        score, unchanged = SCORES[name], importance.loc[importance["metric"] == name, "score"].iloc[0]
        unit, sign = ("points; ", PERCENT_SIGN) if score.percent else ("", "")
        columns.append(Column(f"Loss of {score.prose}", f"{unit}unchanged chips: {score.text(unchanged)}{sign}"))
    rows = []
    for (kind, name, bands), group in importance.groupby(["kind", "name", "bands"], sort=False):
        of_metric = group.set_index("metric")
        cells = [TableCell(bands if kind == BAND_GROUP else "")]
        cells += [_loss_cell(of_metric.loc[metric], metric) for metric in metrics]
        rows.append(Row((name,), cells))
    caption = (
        "Loss of the scores when bands come from another test chip, mean over seeds and permutations; negative means "
        "better. Below it: the lowest and highest seed, the standard deviation over the seeds, and the standard error "
        "that comes from the number of permutations."
    )
    return PageTable(caption, columns, rows, Column("Permuted", "groups, then single bands", is_text=True))


def _loss_cell(row: pd.Series, metric: str) -> TableCell:
    score = SCORES[metric]
    small = []
    if row["n_seeds"] > 1:
        small.append(
            f"seeds {score.text(row['lowest'])} to {score.text(row['highest'])}, sd {score.text(row['sd_seeds'])}"
        )
    if pd.notna(row["se_permutations"]):
        small.append(f"permutations ± {score.text(row['se_permutations'])}")
    return TableCell(score.text(row["loss"]), tuple(small), row["loss"])


def _sampling(importance: pd.DataFrame) -> str:
    row = importance.iloc[0]
    models = count_text(int(row["n_seeds"]), "model")
    text = f"{models}, each on its own test chips; {count_text(int(row['permutations']), 'permutation')}; "
    if row["chips"] == row["test_chips"]:
        return f"{text}all {row['test_chips']:,} test chips."
    return (
        f"{text}{row['chips']:,} of {row['test_chips']:,} test chips, of each class as equal a number as possible. "
        "In the scores, each class counts as often as it has test chips."
    )


def _strongest(occlusion: Mapping[str, Any]) -> float:
    values = [np.abs(np.array(chip["fall"])).ravel() for chip in occlusion["chips"].values()]
    return max(float(np.percentile(np.concatenate(values), _STRONGEST)), 0.005) if values else 0.005


def _classes(occlusion: Mapping[str, Any], names: Sequence[str], strongest: float) -> list[dict[str, Any]]:
    """Return the cards of the occluded chips of each class that has some."""
    classes = []
    for name, entry in zip(names, occlusion["classes"], strict=True):
        cards = [
            {"kind": title, **_card(occlusion["chips"][str(place)], names, strongest)}
            for kind, title in KINDS.items()
            for place in entry["kinds"][kind]
        ]
        if cards:
            classes.append({"name": name, "cards": cards})
    return classes


def _card(chip: Mapping[str, Any], names: Sequence[str], strongest: float) -> dict[str, Any]:
    fall = np.array(chip["fall"])
    thirds = 3 * np.argwhere(fall == fall.max()) // len(fall)
    places = dict.fromkeys(f"{_THIRDS[0][row]} {_THIRDS[1][column]}" for row, column in thirds.tolist())
    largest = PERCENT.text(fall.max())
    points, falls = f"{largest} points", fall.max() > 0 and largest != PERCENT.text(0.0)
    return {
        **chip_card(chip, names),
        "map": data_uri(_heat_map(fall, strongest), "image/png"),
        "largest": f"largest fall {points}" if falls else "falls nowhere",
        "map_alternative": f"Where hiding a square changes the probability of {names[chip['predicted']]}: "
        + (f"it falls most, by {points}, in the {list_text(list(places))}." if falls else "it falls nowhere."),
    }


def _heat_map(fall: np.ndarray, strongest: float) -> bytes:
    """Return a PNG with a pixel for each cell; white is no change."""
    shares = np.clip(0.5 + 0.5 * fall / strongest, 0.0, 1.0)
    pixels = np.round(255.0 * mpl.colormaps[_COLOUR_MAP](shares)[..., :3]).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()
