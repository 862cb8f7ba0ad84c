"""Rule explain: write the page about what mattered for the selected models."""

import json
from pathlib import Path

import yaml

from _job import job, progress
from terralucas.report.explained import build_explained
from terralucas.report.figures.importance import importance_figure
from terralucas.tables.tidy_csv import read_table

with job(snakemake):
    source, output = snakemake.input, snakemake.output
    importance_figure(read_table(source.by_seed), Path(output.figure))
    build_explained(
        yaml.safe_load(Path(source.record).read_text(encoding="utf-8")),
        read_table(source.importance),
        json.loads(Path(source.occlusion).read_text(encoding="utf-8")),
        Path(output.figure),
        Path(output.page),
    )
    progress.info("What mattered is at %s", Path(output.page).resolve())
