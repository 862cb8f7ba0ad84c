"""Rule make_tables: compute the tidy tables of the study."""

from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from execution.jobs.job import job
from terralucas.data.index_file import read_index_table, require_classes
from terralucas.data.split_files import read_split, split_fingerprint
from terralucas.data.splits import spatial_blocks
from terralucas.geography import ground_places
from terralucas.names import seed_of
from terralucas.statistics.comparison import Question
from terralucas.statistics.run_inputs import inputs_of_study
from terralucas.statistics.run_status import read_run_status
from terralucas.statistics.spatial_intervals import BLOCKS_KM
from terralucas.statistics.study_tables import study_tables
from terralucas.tables.tidy_csv import write_table
from terralucas.tables.vocabulary import control_as_recipe

with job(snakemake):
    params, source, output = snakemake.params, snakemake.input, snakemake.output
    columns = ["point_id", "label", "class_code", "easting_m", "northing_m"]
    index = read_index_table(source.chips, columns=columns).to_pandas()
    require_classes(index, params.classes, source.chips)
    statuses = read_run_status(Path(params.folders["runs"]), Path(params.folders["logs"]), params.recipes, params.seeds)
    point_ids, labels = index["point_id"].to_list(), index["label"].to_numpy()
    splits = {
        seed: split_fingerprint(point_ids, read_split(path, point_ids), labels)
        for seed, path in zip(params.seeds, source.splits, strict=True)
    }
    controls = {}
    for path in map(Path, source.controls):
        control = path.parent.relative_to(params.controls).parent.as_posix()
        controls.setdefault(control_as_recipe(control), {})[seed_of(path.parent.name)] = path
    split, groups = params.split, None
    places = ground_places(index[["easting_m", "northing_m"]].to_numpy())
    if split["block_km"] is not None:
        groups = spatial_blocks(*places.T, split["block_km"])
    blocks = {}
    if np.isfinite(places).all():
        # Smaller blocks than those of the split would tear its units apart.
        smallest = split["block_km"] or 0.0
        blocks = {km: spatial_blocks(*places.T, km) for km in BLOCKS_KM if km > smallest}
    is_holdout = split["strategy"] == "holdout"
    question = Question.from_config(params.report, params.classes, 1 if is_holdout else split["folds"])
    # The order in which threads add up numbers would change the tables.
    with threadpool_limits(1):
        tables = study_tables(
            statuses,
            controls,
            index,
            groups,
            question,
            is_holdout,
            blocks,
            processes=snakemake.threads,
            expected=params.settings_of_runs,
            splits=splits,
            inputs=inputs_of_study(source.features, source.packed, source.weights),
        )
    for name, table in tables.items():
        write_table(table, Path(output[name]))
