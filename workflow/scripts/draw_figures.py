"""Rule draw_figures: draw the figures of the report."""

from pathlib import Path

import geopandas as gpd

from _job import job
from terralucas.report.figures import evidence, results
from terralucas.report.figures.shown import keep_shown, shown_recipes
from terralucas.tables.tidy_csv import read_table

with job(snakemake):
    path = {name: Path(value) for name, value in snakemake.output.items()}
    summary = read_table(snakemake.input.summary)
    recipes = shown_recipes(summary, snakemake.params.primary)
    read = lambda name: keep_shown(read_table(snakemake.input[name]), recipes)  # noqa: E731
    results.answer_figure(read_table(snakemake.input.contrasts), float(summary["level"].iloc[0]), path["answer"])
    results.accuracy_figure(keep_shown(summary, recipes), path["accuracy"])
    results.per_class_figure(read("per_class"), path["per_class"])
    results.confusion_figure(read("confusion"), path["confusion"])
    results.curves_figure(read("curves"), path["curves"])
    evidence.fronts_figure(read("fronts"), read("fronts_runs"), path["fronts"])
    evidence.reliability_figure(read("reliability"), path["reliability"])
    evidence.distance_figure(read("distance"), path["distance"])
    evidence.map_figure(gpd.read_parquet(snakemake.input.points), path["map"])
