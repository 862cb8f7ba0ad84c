"""Rule fetch_weights: fetch the weights of a backbone and check them."""

import os
from pathlib import Path

from execution.jobs.job import job, progress
from terralucas.backbones.weights import files_of_weights, link_weights, obtain
from terralucas.contents import read_record, states_of, write_record
from terralucas.files import write_json
from terralucas.folder_locks import locked

# Without this, a library that TerraTorch imports asks a server for its latest version.
os.environ["LIGHTLY_DID_VERSION_CHECK"] = "True"

with job(snakemake):
    params, record = snakemake.params, Path(snakemake.output[0])
    candidates = params.candidates
    files = files_of_weights(params.weights)
    states = states_of(files)
    # An earlier record is there until this job writes a new one.
    weights = obtain(params.weights, Path(params.cache), read_record(record))
    # A bad checkpoint is refused here, before jobs are queued that need it.
    if weights["path"]:
        # Import it here, because it imports PyTorch, which random weights do not need.
        from terralucas.backbones.encoder import check_weights

        if not check_weights(candidates["model"], weights):
            weights["untrained"] = True
            progress.warning("The weights of %s were never trained; the results say so.", snakemake.wildcards.backbone)
    if weights["source"] == "file":
        # After the checks, whose messages name the file itself.
        link = Path(params.link)
        link_weights(params.weights["path"], link)
        weights["path"] = str(link)
    # One after the other, so that of two backbones that are fetched at the same time one finds the record of the other.
    with locked(record.parent, "compares weights in"):
        if candidates["records"]:
            from terralucas.backbones.duplicates import refuse_duplicates

            others = {name: (Path(path), candidates["weights"][name]) for name, path in candidates["records"].items()}
            refuse_duplicates(snakemake.wildcards.backbone, weights, others, candidates["model"], candidates["bands"])
        # Not before: a job that is killed while it compares must not look finished.
        write_json(record, weights)
    # At the end: what failed a check has not been read.
    write_record(
        Path(params.record), params.contents, params.weights.get("path"), files, states, {"weights": weights["sha256"]}
    )
