"""Join the parts of a prediction, and write them as tables and as points on a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from terralucas.errors import StudyError
from terralucas.files import atomic_path, write_json
from terralucas.geojson import write_geojson
from terralucas.predict.plan import Plan, is_part_of
from terralucas.results_input import POINTS, PREDICTION_RECORD

PROBLEMS = ("id", "path", "problem_kind", "problem")


def _join(plan: Plan, parts: Sequence[Path]) -> pa.Table:
    """Return the rows of all parts, in the order of the parts."""
    for path in parts:
        if not is_part_of(path, plan):
            raise StudyError(
                f"A part of the predictions is missing: {path}.",
                found="nothing" if not path.exists() else "a part of another plan, as if two commands write there",
                expected=f"{len(parts)} parts of the plan {plan.fingerprint[:12]}",
                remedy="start the prediction again, alone; finished parts are kept",
            )
    return pa.concat_tables([pq.read_table(path).replace_schema_metadata() for path in parts]).combine_chunks()


def write_joined(plan: Plan, parts: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Write predictions.parquet, unread.csv, prediction.json and, where chips have places, predictions.geojson.

    With places, predictions.parquet is a GeoParquet file in WGS 84. Chips without a place have no geometry in it, and
    are left out of the GeoJSON file.

    Args:
        plan: the plan of the predictions.
        parts: files of the parts of the predictions, in order.
        folder: where the files go.

    Returns:
        The content of prediction.json.

    Raises:
        StudyError: a part is missing, or of another plan.
    """
    table = _join(plan, parts)
    is_read = pyarrow.compute.is_null(table["problem_kind"])
    predicted = table.filter(is_read).drop_columns(["problem_kind", "problem"])
    unread = table.filter(pyarrow.compute.invert(is_read)).select(PROBLEMS)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "unread.csv") as temporary:
        pa_csv.write_csv(unread, temporary)
    places = len(predicted) - predicted["longitude"].null_count
    (folder / POINTS).unlink(missing_ok=True)
    if places:
        _write_points(predicted, folder)
    else:
        with atomic_path(folder / "predictions.parquet") as temporary:
            pq.write_table(predicted, temporary)
    sets = [len(row) for row in predicted["conformal_set"].to_pylist()]
    content = {
        **plan.record,
        "chips": len(table),
        "predicted": len(predicted),
        "unread": len(unread),
        "with_place": places,
        "unlike_training": int(pyarrow.compute.sum(predicted["unlike_training"]).as_py() or 0),
        "mean_set_size": round(sum(sets) / len(sets), 3) if sets else None,
        "classes": {
            str(item["values"]): item["counts"]
            for item in pyarrow.compute.value_counts(predicted["class_name"]).to_pylist()
        },
    }
    write_json(folder / PREDICTION_RECORD, content)
    return content


def remove_parts(folder: Path, keep: Sequence[Path] = ()) -> None:
    """Delete the parts of a finished prediction, also those of another number of parts, and what killed processes left.

    Args:
        folder: of the parts. It is deleted if it is empty then.
        keep: parts that are left.
    """
    for path in [*folder.glob("*-of-*.parquet"), *folder.glob(".*-of-*.parquet.*.tmp")]:
        if path not in keep:
            path.unlink(missing_ok=True)
    with suppress(OSError):  # of other files in it, or because it is not there
        folder.rmdir()


def summary_text(content: Mapping[str, Any]) -> str:
    """Write in a sentence what was predicted, from the content of prediction.json."""
    classes = sorted(content["classes"].items(), key=lambda item: -item[1])
    counts = ", ".join(f"{name} {count}" for name, count in classes[:5]) + (", …" if len(classes) > 5 else "")
    unread = f"; {content['unread']} could not be used (unread.csv)" if content["unread"] else ""
    unlike = f"; {content['unlike_training']} are unlike all training chips" if content["unlike_training"] else ""
    return f"{content['predicted']} of {content['chips']} chips predicted: {counts}{unlike}{unread}"


def _write_points(table: pa.Table, folder: Path) -> None:
    import geopandas as gpd

    frame = table.to_pandas()
    points = gpd.points_from_xy(frame["longitude"], frame["latitude"], crs="EPSG:4326")
    points[frame["longitude"].isna().to_numpy()] = None
    located = gpd.GeoDataFrame(frame, geometry=points)
    with atomic_path(folder / "predictions.parquet") as temporary:
        located.to_parquet(temporary, index=False)
    shown = located[located.geometry.notna()]
    shown = shown.assign(conformal_set=shown["conformal_set"].map(";".join))
    write_geojson(shown, folder / POINTS, decimals=7)
