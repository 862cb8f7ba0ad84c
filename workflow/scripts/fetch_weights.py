"""Rule fetch_weights: get a backbone's weights onto the disk and check them."""

from pathlib import Path

from _job import job
from terralucas.files import write_json
from terralucas.twins import refuse_twins
from terralucas.weights import obtain

with job(snakemake):
    record, others = Path(snakemake.output[0]), snakemake.params.twins
    write_json(record, obtain(snakemake.params.weights, Path(snakemake.params.cache)))
    refuse_twins(snakemake.wildcards.backbone, record, {name: Path(path) for name, path in others.items()})
