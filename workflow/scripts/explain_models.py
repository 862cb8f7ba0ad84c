"""Rule explain_models: examine which bands, and which places in a chip, the selected models' predictions rest on."""

from functools import partial
from pathlib import Path

import numpy as np

from execution.jobs.job import job
from execution.jobs.offline import stay_offline
from terralucas.data.chips.chip_files import read_indexed_chip
from terralucas.data.discovery.chips_root import chips_root
from terralucas.data.index_file import read_index
from terralucas.data.normalisation import merge
from terralucas.explain.explain import explain, require_test_chips
from terralucas.explain.importance import Sampling
from terralucas.files import write_json
from terralucas.names import seed_of
from terralucas.predict.selected import load_selected
from terralucas.statistics.run_predictions import read_run_predictions
from terralucas.tables.tidy_csv import write_table
from terralucas.tables.vocabulary import RECIPE

stay_offline()

with job(snakemake):
    params, output = snakemake.params, snakemake.output
    selected = load_selected(Path(params.study))
    # A selection that was copied without Snakemake's records may have another method than the configuration.
    require_test_chips(selected.record["method"])
    index = read_index(Path(snakemake.input.chips))
    point_ids, files, checksums = (index[name].tolist() for name in ("point_id", "file", "sha256"))
    root = chips_root(Path(snakemake.input.retrieval))
    read = partial(read_indexed_chip, spec=selected.spec)
    folder = Path(params.study, "runs", *(selected.record["recipe"][name] for name in RECIPE))
    rows = {point_id: row for row, point_id in enumerate(point_ids)}
    options = {key: params.features[key] for key in ("batch_size", "threads")}
    found = explain(
        selected,
        {
            seed_of(model.name): read_run_predictions(folder / model.name / "predictions.parquet", {}, rows).test
            for model in selected.models
        },
        point_ids,
        lambda row: read(root / files[row], checksums[row]),
        merge(*(np.stack(index[name]) for name in ("valid_pixels", "band_mean", "band_m2"))).mean,
        Sampling(**params.explain, **options),
        params.features["precision"],
        params.features["device"],
    )
    write_table(found.by_seed, Path(output.by_seed))
    write_table(found.importance, Path(output.importance))
    write_json(Path(output.occlusion), found.occlusion)
