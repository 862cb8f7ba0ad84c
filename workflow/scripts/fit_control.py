"""Rule fit_control: one control with every seed; a fit is so short that a job for each would be all start-up."""

from pathlib import Path

from _job import job
from terralucas.controls.run import ControlInputs, execute

with job(snakemake):
    source, params, output = snakemake.input, snakemake.params, snakemake.output
    for place, seed in enumerate(params.seeds):
        execute(
            snakemake.wildcards.control,
            seed,
            params.monitor,
            params.n_classes,
            ControlInputs(Path(source.chips), Path(source.splits[place]), tuple(map(Path, params.sources[place]))),
            Path(output.predictions[place]),
            Path(output.records[place]),
        )
