"""Rule build_report: write the self-contained HTML report."""

from pathlib import Path

import pandas as pd

from execution.jobs.job import job, progress
from terralucas.report.build import build_report
from terralucas.report.context import report_context
from terralucas.report.sections.other_studies import other_studies_table
from terralucas.stored import read_json
from terralucas.study.registration import read_registrations
from terralucas.tables.tidy_csv import read_table, write_table

with job(snakemake):
    source, params, output = snakemake.input, snakemake.params, snakemake.output
    tables = {name: read_table(source[f"table_{name}"]) for name in params.tables}
    durations = read_table(source.durations)
    read = read_json
    context = report_context(
        params.config,
        read(source.retrieval),
        read(source.data_report),
        [read(path) for path in source.features],
        {Path(path).stem: read(path) for path in source.tuned},
        durations,
        read_registrations(Path(params.registration)),
        read(source.gallery),
    )
    tables["durations"] = durations
    # The path is results/<study>/tables/summary.csv.
    others = {Path(path).parts[-3]: read_table(path) for path in source.beside}
    classes = {Path(path).parts[-3]: read_table(path) for path in source.classes_beside}
    for name in sorted(set(params.config["report"]["beside"]) - others.keys()):
        progress.warning(f"The study {name!r} of report.beside has no tables in results/, and is left out")
    tables["beside"] = other_studies_table(
        {context.study: tables["summary"], **others}, {context.study: tables["classes"], **classes}
    )
    write_table(tables["beside"], Path(output.beside))
    figures = {name: Path(source[f"figure_{name}"]) for name in params.figures}
    # Not from the GeoJSON file, which takes much memory where there are thousands of recipes.
    shares = pd.read_parquet(source.points, columns=["share_right"])["share_right"]
    build_report(tables, figures, shares, Path(source.geojson), context, Path(output.page))
