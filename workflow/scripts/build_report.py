"""Rule build_report: the self-contained HTML report."""

import json
from pathlib import Path

from _job import job
from terralucas.provenance import report_context
from terralucas.registration import read_registrations
from terralucas.report import build_report
from terralucas.tidy import read_table

with job(snakemake):
    source, params, output = snakemake.input, snakemake.params, Path(snakemake.output[0])
    tables = {name: read_table(source[f"table_{name}"]) for name in params.tables}
    durations = read_table(source.durations)
    read = lambda path: json.loads(Path(path).read_text(encoding="utf-8"))  # noqa: E731
    context = report_context(
        params.config,
        read(source.retrieval),
        read(source.data_report),
        [read(path) for path in source.features],
        {Path(path).stem: read(path) for path in source.tuned},
        durations,
        read_registrations(Path(params.registration)),
    )
    tables["durations"] = durations
    figures = {name: Path(source[f"figure_{name}"]) for name in params.figures}
    build_report(tables, figures, Path(source.geojson), context, output)
