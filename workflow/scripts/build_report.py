"""Rule build_report: write the self-contained HTML report."""

from pathlib import Path

import pandas as pd

from _job import job
from terralucas.contents import require_unchanged
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
    summaries = {Path(path).parts[-3]: Path(path) for path in source.beside}
    of_classes = {name: path.with_name("classes.csv") for name, path in summaries.items()}
    figures = {name: Path(source[f"figure_{name}"]) for name in params.figures}
    # Not from the GeoJSON file, which takes much memory where there are thousands of recipes.
    shares = pd.read_parquet(source.points, columns=["share_right"])["share_right"]
    # Another start may write them meanwhile; what is there at the end counts as what was read.
    with require_unchanged(
        [*summaries.values(), *of_classes.values()],
        "The tables of another study (report.beside) changed while the report was made.",
        "start the study again when the other study is finished; only the report is made again",
    ):
        others = {name: read_table(path) for name, path in summaries.items()}
        classes = {name: read_table(path) for name, path in of_classes.items() if path.is_file()}
        tables["beside"] = other_studies_table(
            {context.study: tables["summary"], **others}, {context.study: tables["classes"], **classes}
        )
        write_table(tables["beside"], Path(output.beside))
        build_report(tables, figures, shares, Path(source.geojson), context, Path(output.page))
