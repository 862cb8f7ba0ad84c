"""Rule train_run: one backbone × loss × decoder × seed."""

from pathlib import Path

from _job import job
from terralucas.codebase import fingerprint
from terralucas.runs import Inputs, Recipe, execute

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
        Inputs(
            chips=Path(source.chips),
            split=Path(source.split),
            features=Path(source.features),
            features_record=Path(source.features_record),
            code=fingerprint(source.code),
        ),
        {name: Path(path) for name, path in snakemake.output.items()},
        bookkeeping=params.bookkeeping,
    )
