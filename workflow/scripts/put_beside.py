"""Rule put_beside: scores of other studies beside this study's."""

from pathlib import Path

from _job import job
from terralucas.beside import beside_table
from terralucas.tidy import read_table, write_table

with job(snakemake):
    source = snakemake.input
    # results/<study>/tables/summary.csv
    summaries = {Path(path).parts[-3]: read_table(path) for path in (source.own, *source.others)}
    write_table(beside_table(summaries), Path(snakemake.output.beside))
