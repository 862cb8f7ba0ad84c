"""Rule make_tables: the tidy tables of the study."""

from pathlib import Path

import pyarrow.parquet as pq

from _job import job
from terralucas import tables
from terralucas.tidy import write_table

with job(snakemake):
    params, output = snakemake.params, snakemake.output
    # Scores come from the predictions again, so that the tables depend on nothing else.
    runs = [tables.read_run(Path(record).parent) for record in snakemake.input.records]
    table = tables.runs_table(runs)
    design = (params.strategy, params.level)
    labels = pq.read_table(snakemake.input.chips, columns=["label"])["label"].to_numpy()
    write_table(table, Path(output.runs))
    write_table(tables.summary_table(table, *design), Path(output.summary))
    write_table(tables.per_class_table(runs, table, params.classes, *design), Path(output.per_class))
    write_table(tables.contrasts_table(table, params.contrasts, *design), Path(output.contrasts))
    write_table(tables.confusion_table(runs, table, params.classes), Path(output.confusion))
    write_table(tables.curves_table(runs, table), Path(output.curves))
    write_table(tables.classes_table(labels, params.classes), Path(output.classes))
    write_table(tables.durations_table(runs), Path(output.durations))
