"""Execute a run; shared by the rules for frozen and tuned backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from terralucas.training.run import Inputs, MakeLearner, RunSettings, execute


def execute_run(snakemake: Any, make_learner: MakeLearner) -> None:
    """Execute the run of a job with the learner that `make_learner` returns."""
    source, names, params = snakemake.input, snakemake.wildcards, snakemake.params
    execute(
        RunSettings(
            backbone=names.backbone,
            loss=names.loss,
            decoder=names.decoder,
            seed=int(names.seed),
            loss_setting=params.loss,
            decoder_setting=params.decoder,
            training=params.training,
            n_classes=params.n_classes,
        ),
        Inputs(Path(source.chips), Path(source.split), params.code, params.class_names),
        make_learner,
        {name: Path(path) for name, path in snakemake.output.items()},
        bookkeeping=params.bookkeeping,
    )
