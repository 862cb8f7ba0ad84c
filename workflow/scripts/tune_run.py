"""Rule tune_run: tune the backbone of one backbone × loss × decoder × seed, with decoder and head."""

from functools import partial
from pathlib import Path

from execution.jobs.job import job
from execution.jobs.offline import stay_offline
from terralucas.stored import read_json

stay_offline()

with job(snakemake):
    # Import them here, because TerraTorch and Lightning read the environment when they are imported.
    from execution.jobs.run import execute_run
    from terralucas.training.tuned import TunedInputs, TunedLearner

    source, params = snakemake.input, snakemake.params
    inputs = TunedInputs(
        index=Path(source.chips),
        chips=Path(source.packed),
        chips_record=Path(source.packed_record),
        weights=read_json(source.weights),
        model=params.model,
        bands=params.bands,
        normalisation=params.normalisation,
    )
    execute_run(snakemake, partial(TunedLearner, inputs=inputs, **params.tuning_bookkeeping))
