"""Rule extract_features: pass all chips, or a part of them, through a frozen backbone."""

from functools import partial
from pathlib import Path

import numpy as np

from execution.jobs.job import job, progress
from execution.jobs.offline import stay_offline
from terralucas.backbones.encoder import build_backbone
from terralucas.backbones.features import ChipDataset, FeatureOptions, extract
from terralucas.backbones.joined_features import cut_part
from terralucas.backbones.shared_passes import is_passed, keep_record, kinds_to_share, take_over
from terralucas.data.chips.chip_files import read_indexed_chip
from terralucas.data.dataset import DatasetSpec
from terralucas.data.discovery.chips_root import chips_root
from terralucas.data.index_file import read_index_table
from terralucas.data.normalisation import normaliser_of_index
from terralucas.data.split_files import read_split
from terralucas.files import sha256_of_json, write_json
from terralucas.folder_locks import locked
from terralucas.parts import part_of
from terralucas.stored import read_json

stay_offline()

with job(snakemake):
    settings, source = snakemake.params.settings, snakemake.input
    weights = read_json(source.weights)
    retrieval = read_json(source.retrieval)
    chips = read_index_table(source.chips)
    point_ids = chips["point_id"].to_pylist()

    train = np.flatnonzero(read_split(Path(source.split), point_ids) == "train") if source.split else None
    normaliser, normalisation = normaliser_of_index(chips, settings["normalisation"], settings["bands"], train)

    part, parts = int(snakemake.wildcards.get("part", 0)), snakemake.params.shards
    rows = part_of(len(point_ids), settings["batch_size"], part, parts)
    files, checksums = (chips[name].to_pylist()[rows.start : rows.stop] for name in ("file", "sha256"))
    features, record = Path(snakemake.output.features), Path(snakemake.output.record)
    fingerprint = sha256_of_json([snakemake.params.code, settings, weights, normalisation, checksums])
    name = f"{snakemake.wildcards.backbone}: {snakemake.wildcards.kind} features of {len(rows)} chips"
    # Features are written at once, and two passes make the same.
    with locked(features.parent, "passes chips for", patience_s=300):
        # Their chips were retrieved or checked again, and are the same.
        is_kept = is_passed(features, record, fingerprint)
        done = None if is_kept else take_over(features, fingerprint)
        if not is_kept and done is None and parts > 1:
            joined = Path(snakemake.params.folder) / features.name
            done = cut_part(joined, part, parts, fingerprint, features)
            is_kept = done is not None
        if not is_kept and done is None:
            backbone = build_backbone(settings["model"], settings["bands"], weights)
            dataset = ChipDataset(
                chips_root(Path(source.retrieval)),
                files,
                checksums,
                partial(read_indexed_chip, spec=DatasetSpec.from_config(snakemake.params.dataset)),
                normaliser,
            )
            options = FeatureOptions(
                workers=snakemake.params.workers,
                **{k: settings[k] for k in ("batch_size", "threads", "precision", "device", "storage")},
            )
            others = kinds_to_share(features, snakemake.params.kinds, Path(snakemake.params.folder), fingerprint)
            records = extract(backbone, dataset, options, {snakemake.wildcards.kind: features, **others})
            done = records[snakemake.wildcards.kind]
            for kind, array in others.items():
                keep_record(array, records[kind], snakemake.wildcards.kind, fingerprint)
    if done is not None:
        write_json(
            record,
            {
                "schema_version": 2,
                "backbone": snakemake.wildcards.backbone,
                "model": settings["model"],
                "weights": weights,
                "bands": list(settings["bands"]),
                "normalisation": {
                    "kind": normalisation["kind"],
                    "scope": snakemake.wildcards.normalised_by,
                    **normalisation,
                },
                "code": snakemake.params.code,
                "fingerprint": fingerprint,
                **done,
            },
        )
    if is_kept:
        progress.info(f"{name} are there, of the same chips, weights, settings and code; they are kept")
    elif done is not None:
        progress.info(f"{name}, {done['chips_per_second']} chips/s on {done['device']}")
