"""Rule draw_figures: the figures of the report."""

from pathlib import Path

import geopandas as gpd

from _job import job
from terralucas import evidence_figures, figures
from terralucas.tidy import read_table

with job(snakemake):
    read = lambda name: read_table(snakemake.input[name])  # noqa: E731
    path = {name: Path(value) for name, value in snakemake.output.items()}
    summary = read("summary")
    figures.answer_figure(read("contrasts"), float(summary["level"].iloc[0]), path["answer"])
    figures.accuracy_figure(summary, path["accuracy"])
    figures.per_class_figure(read("per_class"), path["per_class"])
    figures.confusion_figure(read("confusion"), path["confusion"])
    figures.curves_figure(read("curves"), path["curves"])
    evidence_figures.fronts_figure(read("fronts"), read("fronts_runs"), path["fronts"])
    evidence_figures.reliability_figure(read("reliability"), path["reliability"])
    evidence_figures.distance_figure(read("distance"), path["distance"])
    evidence_figures.map_figure(gpd.read_parquet(snakemake.input.points), path["map"])
