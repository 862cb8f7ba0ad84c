"""Rule draw_figures: draw the figures of the report."""

from pathlib import Path

import geopandas as gpd

from execution.jobs.job import job
from terralucas.data.index_file import read_index_table
from terralucas.report.figures.spectra import SPECTRA_COLUMNS
from terralucas.report.figures.study import draw_figures
from terralucas.tables.tidy_csv import read_table

with job(snakemake):
    source = snakemake.input
    draw_figures(
        lambda name: read_table(source[name]),
        gpd.read_parquet(source.points),
        read_index_table(source.chips, SPECTRA_COLUMNS).to_pandas(),
        snakemake.params.bands,
        snakemake.params.primary,
        {name: Path(value) for name, value in snakemake.output.items()},
    )
