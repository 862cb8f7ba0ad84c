"""Rule draw_figures: the figures of the report."""

from pathlib import Path

import pandas as pd

from _job import job
from terralucas import figures

with job(snakemake):
    draw = {
        "accuracy": (figures.accuracy_figure, "summary"),
        "per_class": (figures.per_class_figure, "per_class"),
        "confusion": (figures.confusion_figure, "confusion"),
        "curves": (figures.curves_figure, "curves"),
    }
    for name, (function, table) in draw.items():
        function(pd.read_csv(snakemake.input[table]), Path(snakemake.output[name]))
