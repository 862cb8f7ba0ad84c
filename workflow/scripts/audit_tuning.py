"""Rule audit_tuning: how backbones are tuned, with the options of the study, beside other tunings and none."""

import os
from pathlib import Path

import torch

from _job import job
from terralucas.audit.treatments import audit
from terralucas.files import write_json

# As in tune_run.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["LIGHTLY_DID_VERSION_CHECK"] = "True"
torch.set_num_threads(1)

with job(snakemake):
    # TerraTorch reads the environment when it is imported.
    from terralucas.audit.tunings import of_tunings

    params, tuning = snakemake.params, snakemake.wildcards.tuning
    treatments = of_tunings(params.study["tunings"], params.study["training"], params.bands)
    found = audit(tuning, treatments, params.study["written"])
    write_json(Path(snakemake.output[0]), {"schema_version": 1, "setting": params.training, **found})
