"""Rule tune_run: one backbone × loss × decoder × seed, of a backbone that is tuned."""

import json
import os
from functools import partial
from pathlib import Path

from _job import job
from terralucas.codebase import fingerprint

# As in extract_features: weights were fetched on the head node, and no library shall ask for anything else.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["LIGHTLY_DID_VERSION_CHECK"] = "True"

with job(snakemake):
    # Lightning reads the environment when it is imported.
    from terralucas.training.run import Inputs, Recipe, execute
    from terralucas.training.tuned import TunedInputs, TunedLearner

    source, names, params = snakemake.input, snakemake.wildcards, snakemake.params
    inputs = TunedInputs(
        index=Path(source.chips),
        chips=Path(source.packed),
        chips_record=Path(source.packed_record),
        weights=json.loads(Path(source.weights).read_text(encoding="utf-8")),
        model=params.model,
        bands=params.bands,
        normalisation=params.normalisation,
    )
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
        partial(TunedLearner, inputs=inputs, **params.tuning_bookkeeping),
        {name: Path(path) for name, path in snakemake.output.items()},
        bookkeeping=params.bookkeeping,
    )
