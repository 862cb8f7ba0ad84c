"""Maps of the share of right test predictions at every point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from terralucas.files import atomic_path
from terralucas.geography import EPSG
from terralucas.statistics.run_predictions import RunPredictions
from terralucas.tables.vocabulary import RECIPE

WGS84 = 4326
# Six decimals of a degree are about 0.1 m.
_DECIMALS = 6


def correctness_table(
    runs: Sequence[RunPredictions], chips: pd.DataFrame, classes: Sequence[Mapping[str, Any]]
) -> gpd.GeoDataFrame:
    """Compute the share of right test predictions of each tested chip.

    Args:
        runs: predictions of the runs.
        chips: the study's index: point_id, label, easting_m and northing_m (EPSG:3035).
        classes: code and name of each class.

    Returns:
        One row for each chip with coordinates that was tested. Columns: point_id, class_code, class_name,
        n_predictions, share_right (over all recipes and seeds), commonest_prediction (class name; the first class if
        several are equally common), the share of right seeds for each recipe (named backbone/loss/decoder), and the
        point in EPSG:3035.
    """
    tests = pd.concat(
        pd.DataFrame(
            {
                "recipe": "/".join(run.names[name] for name in RECIPE),
                "chip": run.test.chips,
                "prediction": run.test.logits.argmax(axis=1),
                "right": run.test.logits.argmax(axis=1) == run.test.labels,
            }
        )
        for run in runs
    )
    tests = tests[np.isfinite(chips[["easting_m", "northing_m"]].to_numpy()).all(axis=1)[tests["chip"]]]
    by_recipe = tests.groupby(["chip", "recipe"], sort=False)["right"].mean().unstack().sort_index()
    votes = np.zeros((len(chips), len(classes)), dtype=np.int64)
    np.add.at(votes, (tests["chip"].to_numpy(), tests["prediction"].to_numpy()), 1)
    tested = chips.iloc[by_recipe.index]
    names = np.array([entry["name"] for entry in classes])
    codes = [str(entry["code"]) for entry in classes]
    counts = tests.groupby("chip")["right"].agg(["size", "mean"])
    table = pd.DataFrame(
        {
            "point_id": tested["point_id"],
            "class_code": [codes[label] for label in tested["label"]],
            "class_name": names[tested["label"]],
            "n_predictions": counts["size"],
            "share_right": counts["mean"],
            "commonest_prediction": names[votes[by_recipe.index].argmax(axis=1)],
        }
    )
    points = gpd.points_from_xy(tested["easting_m"], tested["northing_m"])
    recipes = list(dict.fromkeys(tests["recipe"]))
    joined = pd.concat([table, by_recipe.reindex(columns=recipes)], axis=1).reset_index(drop=True)
    return gpd.GeoDataFrame(joined, geometry=points, crs=EPSG)


def write_maps(table: gpd.GeoDataFrame, geoparquet: Path, geojson: Path) -> None:
    """Write the points as GeoParquet in EPSG:3035 and as GeoJSON in WGS 84 (RFC 7946)."""
    with atomic_path(geoparquet) as temporary:
        table.to_parquet(temporary, index=False)
    with atomic_path(geojson) as temporary:
        table.to_crs(WGS84).to_file(
            temporary,
            driver="GeoJSON",
            layer=geojson.stem,
            engine="pyogrio",
            RFC7946="YES",
            COORDINATE_PRECISION=_DECIMALS,
        )
