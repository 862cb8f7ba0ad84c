"""Rule draw_figures: draw the figures of the report."""

from pathlib import Path

import geopandas as gpd

from _job import job
from terralucas.report.figures.study import draw_figures
from terralucas.tables.tidy_csv import read_table

with job(snakemake):
    source = snakemake.input
    draw_figures(
        lambda name: read_table(source[name]),
        gpd.read_parquet(source.points),
        snakemake.params.primary,
        {name: Path(value) for name, value in snakemake.output.items()},
    )
