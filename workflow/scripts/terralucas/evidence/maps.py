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
from terralucas.geojson import write_geojson
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
    recipes = list(dict.fromkeys(_recipe_of(run) for run in runs))
    columns = {recipe: column for column, recipe in enumerate(recipes)}
    tests, right = (np.zeros((len(chips), len(recipes)), dtype=np.int32) for _ in range(2))
    votes = np.zeros((len(chips), len(classes)), dtype=np.int64)
    for run in runs:
        # No chip is twice in a test part.
        tested, column, predicted = run.test.chips, columns[_recipe_of(run)], run.test.logits.argmax(axis=1)
        tests[tested, column] += 1
        right[tested, column] += predicted == run.test.labels
        votes[tested, predicted] += 1
    has_place = np.isfinite(chips[["easting_m", "northing_m"]].to_numpy()).all(axis=1)
    rows = np.flatnonzero(has_place & tests.any(axis=1))
    tests, right, tested = tests[rows], right[rows], chips.iloc[rows].reset_index(drop=True)
    names = np.array([entry["name"] for entry in classes])
    codes = [str(entry["code"]) for entry in classes]
    table = pd.DataFrame(
        {
            "point_id": tested["point_id"],
            "class_code": [codes[label] for label in tested["label"]],
            "class_name": names[tested["label"]],
            "n_predictions": tests.sum(axis=1, dtype=np.int64),
            "share_right": right.sum(axis=1) / tests.sum(axis=1),
            "commonest_prediction": names[votes[rows].argmax(axis=1)],
        }
    )
    points = gpd.points_from_xy(tested["easting_m"], tested["northing_m"])
    by_recipe = np.divide(right, tests, out=np.full(tests.shape, np.nan), where=tests > 0)
    joined = pd.concat([table, pd.DataFrame(by_recipe, columns=recipes)], axis=1)
    return gpd.GeoDataFrame(joined, geometry=points, crs=EPSG)


def _recipe_of(run: RunPredictions) -> str:
    return "/".join(run.names[name] for name in RECIPE)


def write_maps(table: gpd.GeoDataFrame, geoparquet: Path, geojson: Path) -> None:
    """Write the points as GeoParquet in EPSG:3035 and as GeoJSON in WGS 84 (RFC 7946)."""
    with atomic_path(geoparquet) as temporary:
        table.to_parquet(temporary, index=False)
    write_geojson(table.to_crs(WGS84), geojson, _DECIMALS)
