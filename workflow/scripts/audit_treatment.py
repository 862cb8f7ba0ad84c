"""Rule audit_treatment: a named loss or decoder beside the others of the study."""

from pathlib import Path

import numpy as np
from pyarrow.parquet import ParquetFile

from _job import job
from terralucas.audit import Probe, audit
from terralucas.files import write_json

with job(snakemake):
    params, names = snakemake.params, snakemake.wildcards
    chips = ParquetFile(snakemake.input.chips).read(columns=["label", "height"])
    probe = Probe(
        labels=np.array(chips["label"].to_pylist()),
        n_classes=params.study["n_classes"],
        side_px=chips["height"][0].as_py(),
        models=tuple(params.study["models"]),
        epochs=params.epochs,
    )
    settings = {**params.study["settings"], names.setting: params.setting}
    found = audit(names.section, names.setting, settings, params.study["written"], probe)
    write_json(Path(snakemake.output[0]), {"schema_version": 1, "setting": params.setting, **found})
