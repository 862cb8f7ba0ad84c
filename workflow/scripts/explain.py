"""Rule explain: write the page about what mattered for the selected models."""

from pathlib import Path

from execution.jobs.job import job, progress
from terralucas.report.explained import build_explained
from terralucas.report.figures.importance import importance_figure
from terralucas.stored import read_json, read_yaml
from terralucas.tables.tidy_csv import read_table

# The loss of score, not the name of a loss.
NUMBERS = {"loss"}

with job(snakemake):
    source, output = snakemake.input, snakemake.output
    importance_figure(read_table(source.by_seed, NUMBERS), Path(output.figure))
    build_explained(
        read_yaml(source.record),
        read_table(source.importance, NUMBERS),
        read_json(source.occlusion),
        Path(output.figure),
        Path(output.page),
    )
    progress.info("What mattered is at %s", Path(output.page).resolve())
