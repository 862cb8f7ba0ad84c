"""Rule make_evidence: what lies behind the scores, as tidy tables and a map."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from _job import job
from terralucas.data.splits import read_split
from terralucas.evidence import calibration, fronts, leakage, maps
from terralucas.predictions import class_shares, load_run
from terralucas.statistics.run_status import compared, take_roll
from terralucas.statistics.seed_means import SeedDesign
from terralucas.tables.tidy_csv import write_table

with job(snakemake):
    params, source, output = snakemake.params, snakemake.input, snakemake.output
    index = pq.read_table(source.chips).to_pandas()
    rows = {point_id: row for row, point_id in enumerate(index["point_id"])}
    labels = index["label"].to_numpy()
    parts = {int(Path(path).stem.removeprefix("seed-")): read_split(Path(path), list(rows)) for path in source.splits}

    entries = take_roll(Path(params.folders["runs"]), Path(params.folders["logs"]), params.recipes, params.seeds)
    chosen = compared(entries)
    runs = [
        load_run(entry.folder / "predictions.parquet", entry.names, rows) for entry in entries if chosen.includes(entry)
    ]
    parts = {seed: parts[seed] for seed in chosen.seeds}
    ratios = [np.sum(split == "test") / np.sum(split == "train") for split in parts.values()]
    design = SeedDesign(0.0 if params.strategy == "holdout" else float(np.mean(ratios)), params.level)

    priors = {seed: class_shares(labels[split == "train"], len(params.classes)) for seed, split in parts.items()}
    traced = fronts.trace(runs, priors, params.monitor)
    temperatures = calibration.runs_table(runs)
    places = index[["easting_m", "northing_m"]].to_numpy(dtype=np.float64)
    side = float(index["height"].iloc[0]) * params.pixel_size_m
    tables = {
        "fronts": fronts.points_table(traced, design),
        "fronts_runs": fronts.runs_table(traced),
        "fronts_summary": fronts.summary_table(traced, design),
        "fronts_contrasts": fronts.contrasts_table(traced, params.contrasts, design),
        "calibration_runs": temperatures,
        "calibration": calibration.summary_table(temperatures, design),
        "reliability": calibration.reliability_table(runs),
        "overlap": leakage.overlap_table(places, parts, side),
        "distance": leakage.distance_table(runs, places, parts, side, params.level),
    }
    for name, table in tables.items():
        write_table(table, Path(output[name]))
    points = maps.correctness_table(runs, index, params.classes)
    maps.write_maps(points, Path(output.points), Path(output.geojson))
