"""Rule describe_chips: compute band statistics and centre pixel of every chip."""

from pathlib import Path

from execution.jobs.job import job
from terralucas.controls.descriptions import describe_chips, write_descriptions
from terralucas.data.dataset import DatasetSpec
from terralucas.data.discovery.chips_root import chips_root
from terralucas.data.index_file import read_index

with job(snakemake):
    spec = DatasetSpec.from_config(snakemake.params.dataset)
    root = chips_root(Path(snakemake.input.retrieval))
    table = describe_chips(root, read_index(snakemake.input.chips), spec, snakemake.threads)
    write_descriptions(table, Path(snakemake.output[0]))
