"""Rule train_run: train decoder and head of one backbone × loss × decoder × seed on a frozen backbone."""

from functools import partial
from pathlib import Path

from execution.jobs.job import job
from execution.jobs.run import execute_run
from terralucas.training.frozen import FrozenLearner

with job(snakemake):
    source = snakemake.input
    learner = partial(FrozenLearner, features=Path(source.features), record=Path(source.features_record))
    execute_run(snakemake, learner)
