"""Rule fit_control: one control × seed."""

from pathlib import Path

from _job import job
from terralucas.control_runs import ControlInputs, execute

with job(snakemake):
    source, names, params = snakemake.input, snakemake.wildcards, snakemake.params
    execute(
        names.control,
        int(names.seed),
        params.monitor,
        params.n_classes,
        ControlInputs(Path(source.chips), Path(source.split), tuple(map(Path, source.source))),
        Path(snakemake.output.predictions),
        Path(snakemake.output.record),
    )
