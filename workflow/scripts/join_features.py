"""Rule join_features: join the parts of a feature pass."""

from pathlib import Path

from execution.jobs.job import job, progress
from terralucas.backbones.joined_features import join_features
from terralucas.files import write_json

with job(snakemake):
    source = snakemake.input
    parts = list(zip(map(Path, source.features), map(Path, source.records), strict=True))
    record = join_features(parts, Path(snakemake.output.features))
    write_json(Path(snakemake.output.record), record)
    progress.info(
        f"{snakemake.wildcards.backbone}: {record['kind']} features of {record['shape'][0]} chips, joined from "
        f"{len(parts)} parts"
    )
