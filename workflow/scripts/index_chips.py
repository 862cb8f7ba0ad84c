"""Rule index_chips: open and check every chip, and write the index that all later rules read."""

import json
from pathlib import Path

from _job import job, progress
from terralucas.data.dataset import DatasetSpec
from terralucas.data.index import index_chips, write_index

with job(snakemake):
    retrieval = json.loads(Path(snakemake.input.retrieval).read_text(encoding="utf-8"))
    table, report = index_chips(
        Path(retrieval["root"]),
        DatasetSpec.from_config(snakemake.params.dataset),
        min_chips_per_class=snakemake.params.min_chips_per_class,
        threads=snakemake.threads,
        progress=True,
    )
    if report["n_dropped"]:
        progress.info(f"Dropped {report['n_dropped']} of {report['n_found']} chips: see {snakemake.output.report}")
    write_index(table, report, Path(snakemake.output.chips), Path(snakemake.output.report))
