"""Rule power: compute the planned power of the study before the runs."""

from pathlib import Path

import numpy as np

from execution.jobs.job import job, progress
from terralucas.data.index_file import read_index_table
from terralucas.errors import StudyError
from terralucas.statistics.planned_power import Assumptions, Plan, planned_power, sentences
from terralucas.tables.tidy_csv import write_table

with job(snakemake):
    params = snakemake.params
    counts = params.planning["class_counts"]
    if counts is None:
        index = Path(params.index)
        if not index.is_file():
            raise StudyError(
                "The planned power needs the number of chips of each class.",
                found=f"no report.planning.class_counts and no {index}",
                expected="one of both",
                remedy=f"set report.planning.class_counts, or index the chips first: snakemake --cores 2 -- {index}",
            )
        labels = read_index_table(index, columns=["label"])["label"].to_numpy()
        counts = np.bincount(labels, minlength=params.n_classes).tolist()
    margin = params.margins["macro_accuracy"]
    plan = Plan.from_config(params.split, params.seeds, counts, margin, params.level, params.grid, params.contrasts)
    assumptions = Assumptions(**{key: params.planning[key] for key in Assumptions.__dataclass_fields__})
    table = planned_power(plan, assumptions)
    write_table(table, Path(snakemake.output[0]))
    for sentence in sentences(table, plan, assumptions):
        progress.info("%s", sentence)
