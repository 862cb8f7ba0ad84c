"""Rule pack_chips: write all chips to one array, for tuned runs."""

import json
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from _job import job
from terralucas.data.chip_files import read_indexed_chip
from terralucas.data.dataset import DatasetSpec
from terralucas.data.packed_chips import pack_chips
from terralucas.files import write_json

with job(snakemake):
    retrieval = json.loads(Path(snakemake.input.retrieval).read_text(encoding="utf-8"))
    index = pq.read_table(snakemake.input.chips, columns=["file", "sha256"])
    record = pack_chips(
        Path(retrieval["root"]),
        index["file"].to_pylist(),
        index["sha256"].to_pylist(),
        partial(read_indexed_chip, spec=DatasetSpec.from_config(snakemake.params.dataset)),
        snakemake.threads,
        Path(snakemake.output.packed),
    )
    write_json(Path(snakemake.output.record), record)
