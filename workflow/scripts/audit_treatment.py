"""Rule audit_treatment: compare a loss or decoder with the others of the study, or the normalisation with all."""

from pathlib import Path

import torch

from execution.jobs.job import job
from terralucas.audit.losses_and_decoders import Probe, loss_or_decoder_treatments
from terralucas.audit.normalisations import normalisation_treatments
from terralucas.audit.treatments import audit
from terralucas.data.index_file import read_index_table
from terralucas.files import write_json

# With one thread, small computations are faster.
torch.set_num_threads(1)

with job(snakemake):
    source, params, names = snakemake.input, snakemake.params, snakemake.wildcards
    if names.section == "normalisation":
        moments = read_index_table(source.chips, columns=["valid_pixels", "band_mean", "band_m2"])
        treatments = normalisation_treatments(moments, params.study["bands"])
    else:
        chips = read_index_table(source.chips, columns=["label", "height"])
        probe = Probe(
            labels=chips["label"].to_numpy(),
            n_classes=params.study["n_classes"],
            side_px=chips["height"][0].as_py(),
            models=tuple(params.study["models"]),
            epochs=params.epochs,
            losses=tuple(params.study["losses"]),
        )
        settings = {**params.study["settings"], names.setting: params.setting}
        treatments = loss_or_decoder_treatments(names.section, names.setting, settings, probe)
    found = audit(names.setting, treatments, params.study["written"])
    write_json(Path(snakemake.output[0]), {"schema_version": 1, "setting": params.setting, **found})
