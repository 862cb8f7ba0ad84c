"""Rule pack_chips: write all chips to one array, for tuned runs."""

from functools import partial
from pathlib import Path

from execution.jobs.job import job
from terralucas.data.chips.chip_files import read_indexed_chip
from terralucas.data.dataset import DatasetSpec
from terralucas.data.discovery.chips_root import chips_root
from terralucas.data.index_file import read_index_table
from terralucas.data.packed_chips import pack_chips
from terralucas.files import write_json

with job(snakemake):
    index = read_index_table(snakemake.input.chips, columns=["file", "sha256"])
    record = pack_chips(
        chips_root(Path(snakemake.input.retrieval)),
        index["file"].to_pylist(),
        index["sha256"].to_pylist(),
        partial(read_indexed_chip, spec=DatasetSpec.from_config(snakemake.params.dataset)),
        snakemake.threads,
        Path(snakemake.output.packed),
    )
    write_json(Path(snakemake.output.record), record)
