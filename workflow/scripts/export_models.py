"""Rule export_models: write the selected models in formats that others can use without this project."""

from pathlib import Path

import numpy as np

from execution.jobs.job import job, progress
from execution.jobs.offline import stay_offline
from terralucas.data.chips.chip_files import read_indexed_chip
from terralucas.data.discovery.chips_root import chips_root
from terralucas.data.index_file import read_index_table
from terralucas.export.export import COMPARED_CHIPS, export_models
from terralucas.export.model_card import StudyTables
from terralucas.predict.selected import load_selected
from terralucas.stored import read_json
from terralucas.study.own_files import KEPT
from terralucas.tables.tidy_csv import read_table

stay_offline()

with job(snakemake):
    params, source = snakemake.params, snakemake.input
    selected = load_selected(Path(params.study))
    index = read_index_table(source.chips).to_pandas()
    root = chips_root(Path(source.retrieval))
    rows = index.iloc[np.unique(np.linspace(0, len(index) - 1, COMPARED_CHIPS).astype(int))]
    chips = np.stack([read_indexed_chip(root / row.file, row.sha256, selected.spec) for row in rows.itertuples()])
    tables = StudyTables(*(read_table(source[name]) for name in ("summary", "per_class", "classes")))
    places = index[["easting_m", "northing_m"]].dropna().to_numpy()
    target, scaling = Path(snakemake.output[0]), read_json(Path(source.data_report))["scaling"]
    has_tags = any((entry["scale"], entry["offset"]) != (1.0, 0.0) for entry in scaling)
    content = export_models(selected, tables, chips, places, snakemake.threads, target, has_tags=has_tags)
    progress.info("exported %d models to %s", content["models"], target)
    if (kept := target.with_name(KEPT)).is_dir():
        progress.info("What was changed or added by hand in earlier exports is kept in %s", kept)
