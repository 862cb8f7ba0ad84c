"""Rule make_gallery: choose chips that show what the best recipe does, and make small pictures of them."""

from functools import partial
from pathlib import Path

from execution.jobs.job import job
from terralucas.data.chips.chip_files import read_indexed_chip
from terralucas.data.dataset import DatasetSpec
from terralucas.data.discovery.chips_root import chips_root
from terralucas.data.index_file import read_index_table
from terralucas.evidence.gallery import make_gallery, mean_predictions
from terralucas.files import write_json
from terralucas.predictions import FINISHED
from terralucas.statistics.run_predictions import read_run_predictions
from terralucas.statistics.run_status import read_run_status
from terralucas.tables.scores import SCORES
from terralucas.tables.tidy_csv import read_table
from terralucas.tables.vocabulary import ALL_CLASSES, RECIPE

with job(snakemake):
    params, source = snakemake.params, snakemake.input
    summary = read_table(Path(source.summary))
    scores = summary[(summary["metric"] == params.metric) & (summary["classes"] == ALL_CLASSES)].dropna(subset="pooled")
    ascending = not SCORES[params.metric].higher_is_better
    recipe = tuple(scores.sort_values("pooled", ascending=ascending, kind="stable").iloc[0][RECIPE])
    statuses = read_run_status(Path(params.folders["runs"]), Path(params.folders["logs"]), params.recipes, params.seeds)
    index = read_index_table(source.chips)
    point_ids = index["point_id"].to_pylist()
    rows = {point_id: row for row, point_id in enumerate(point_ids)}
    parts = [
        read_run_predictions(status.folder / "predictions.parquet", {}, rows).test
        for status in statuses
        if status.recipe == recipe and status.status == FINISHED
    ]
    root = chips_root(Path(source.retrieval))
    files, checksums = index["file"].to_pylist(), index["sha256"].to_pylist()
    read = partial(read_indexed_chip, spec=DatasetSpec.from_config(params.dataset))
    n_classes = len(params.dataset["classes"])
    gallery = make_gallery(
        mean_predictions(parts, n_classes),
        point_ids,
        lambda row: read(root / files[row], checksums[row]),
        params.dataset["bands"],
        n_classes,
        recipe,
    )
    write_json(Path(snakemake.output[0]), gallery)
