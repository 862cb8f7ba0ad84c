"""Rule train_run: one backbone × loss × decoder × seed, of a frozen backbone."""

from functools import partial
from pathlib import Path

from _job import job
from terralucas.codebase import fingerprint
from terralucas.training.frozen import FrozenLearner
from terralucas.training.run import Inputs, Recipe, execute

with job(snakemake):
    source, names, params = snakemake.input, snakemake.wildcards, snakemake.params
    execute(
        Recipe(
            backbone=names.backbone,
            loss=names.loss,
            decoder=names.decoder,
            seed=int(names.seed),
            loss_setting=params.loss,
            decoder_setting=params.decoder,
            training=params.training,
            n_classes=params.n_classes,
        ),
        Inputs(chips=Path(source.chips), split=Path(source.split), code=fingerprint(map(Path, source.code))),
        partial(FrozenLearner, features=Path(source.features), record=Path(source.features_record)),
        {name: Path(path) for name, path in snakemake.output.items()},
        bookkeeping=params.bookkeeping,
    )
