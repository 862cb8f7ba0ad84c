"""Rule fit_control: fit one control with all seeds, because a single fit is shorter than the start of a job."""

from pathlib import Path

from execution.jobs.job import job
from terralucas.controls.run import ControlInputs, execute

with job(snakemake):
    source, params, output = snakemake.input, snakemake.params, snakemake.output
    for position, seed in enumerate(params.seeds):
        execute(
            snakemake.wildcards.control,
            seed,
            params.monitor,
            params.n_classes,
            ControlInputs(
                Path(source.chips), Path(source.splits[position]), tuple(map(Path, params.sources[position]))
            ),
            Path(output.predictions[position]),
            Path(output.records[position]),
        )
