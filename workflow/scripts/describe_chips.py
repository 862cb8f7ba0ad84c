"""Rule describe_chips: compute band statistics and centre pixel of every chip."""

import json
from pathlib import Path

from _job import job
from terralucas.controls.descriptions import describe_chips, write_descriptions
from terralucas.data.dataset import DatasetSpec
from terralucas.data.index import read_index

with job(snakemake):
    retrieval = json.loads(Path(snakemake.input.retrieval).read_text(encoding="utf-8"))
    spec = DatasetSpec.from_config(snakemake.params.dataset)
    table = describe_chips(Path(retrieval["root"]), read_index(snakemake.input.chips), spec, snakemake.threads)
    write_descriptions(table, Path(snakemake.output[0]))
