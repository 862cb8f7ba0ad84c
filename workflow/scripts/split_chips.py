"""Rule split_chips: split the chips into training, validation and test parts for one seed."""

from pathlib import Path

import numpy as np

from execution.jobs.job import job
from terralucas.data.index_file import read_index_table
from terralucas.data.split_files import write_split
from terralucas.data.splits import make_split, require_splits, spatial_blocks
from terralucas.geography import ground_places

with job(snakemake):
    params = snakemake.params
    split = params.split
    columns = ["point_id", "label", "easting_m", "northing_m"]
    chips = read_index_table(snakemake.input.chips, columns=columns).to_pydict()
    groups = None
    if split["block_km"] is not None:
        places = np.array([chips["easting_m"], chips["northing_m"]], dtype=float).T
        groups = spatial_blocks(*ground_places(places).T, split["block_km"])
    labels = np.array(chips["label"])
    require_splits(labels, groups, split, params.seeds, params.min_chips_per_class, params.classes)
    parts = make_split(labels, groups, split, int(snakemake.wildcards.seed), params.classes)
    write_split(Path(snakemake.output[0]), chips["point_id"], parts)
