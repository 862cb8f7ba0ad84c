"""Rule fetch_weights: get a backbone's weights onto the disk and check them."""

from pathlib import Path

from _job import job
from terralucas.files import write_json
from terralucas.weights import obtain

with job(snakemake):
    write_json(Path(snakemake.output[0]), obtain(snakemake.params.weights, Path(snakemake.params.cache)))
