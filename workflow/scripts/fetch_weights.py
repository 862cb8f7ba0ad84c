"""Rule fetch_weights: get a backbone's weights onto the disk and check them."""

import os
from pathlib import Path

from _job import job
from terralucas.backbones.weights import obtain
from terralucas.files import write_json

# One of the libraries TerraTorch imports asks for its own version otherwise.
os.environ["LIGHTLY_DID_VERSION_CHECK"] = "True"

with job(snakemake):
    params, record = snakemake.params, Path(snakemake.output[0])
    write_json(record, obtain(params.weights, Path(params.cache)))
    if params.twins["records"]:
        # It loads PyTorch, which most studies need not wait for here.
        from terralucas.backbones.duplicates import refuse_duplicates

        others = {name: (Path(path), params.twins["weights"][name]) for name, path in params.twins["records"].items()}
        refuse_duplicates(snakemake.wildcards.backbone, record, others, params.twins["model"], params.twins["bands"])
