"""Rule audit_tuning: compare a tuning, with the options of the study, with other tunings and with `frozen`."""

from pathlib import Path

import torch

from execution.jobs.job import job
from execution.jobs.offline import stay_offline
from terralucas.audit.treatments import audit
from terralucas.files import write_json

stay_offline()
torch.set_num_threads(1)

with job(snakemake):
    # Import it here, because TerraTorch reads the environment when it is imported.
    from terralucas.audit.tunings import tuning_treatments

    params, tuning = snakemake.params, snakemake.wildcards.tuning
    treatments = tuning_treatments(params.study["tunings"], params.study["training"], params.bands)
    found = audit(tuning, treatments, params.study["written"])
    write_json(Path(snakemake.output[0]), {"schema_version": 1, "setting": params.training, **found})
