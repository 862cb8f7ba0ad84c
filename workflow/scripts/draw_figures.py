"""Rule draw_figures: the figures of the report."""

from pathlib import Path

from _job import job
from terralucas import figures
from terralucas.tidy import read_table

with job(snakemake):
    draw = {
        "accuracy": (figures.accuracy_figure, "summary"),
        "per_class": (figures.per_class_figure, "per_class"),
        "confusion": (figures.confusion_figure, "confusion"),
        "curves": (figures.curves_figure, "curves"),
    }
    for name, (function, table) in draw.items():
        function(read_table(snakemake.input[table]), Path(snakemake.output[name]))
