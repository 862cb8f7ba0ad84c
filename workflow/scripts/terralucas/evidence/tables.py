"""The tables of evidence of a study, computed from the files of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from terralucas.data.split_files import class_shares
from terralucas.evidence import calibration, fronts, leakage, spatial_correlation
from terralucas.geography import earth_points, ground_places
from terralucas.statistics.run_predictions import Part, RunPredictions, read_run_predictions
from terralucas.statistics.run_status import ComparableRuns, RunStatus, comparable_runs
from terralucas.statistics.seed_means import SeedDesign, mean_test_to_train


@dataclass(frozen=True)
class EvidenceInputs:
    """The inputs of the evidence of a study.

    Attributes:
        statuses: status of each run of the grid.
        parts: seed → (n,) part of each chip.
        index: all columns of chips.parquet.
    """

    statuses: Sequence[RunStatus]
    parts: Mapping[int, np.ndarray]
    index: pd.DataFrame

    @cached_property
    def chosen(self) -> ComparableRuns:
        """The recipes and seeds whose runs are used."""
        return comparable_runs(self.statuses)

    def read_runs(self) -> list[RunPredictions]:
        """Read the predictions of the runs that are used."""
        rows = {point_id: row for row, point_id in enumerate(self.index["point_id"])}
        known: dict[tuple[int, str], Part] = {}
        return [
            _share_chips(read_run_predictions(status.folder / "predictions.parquet", status.names, rows), known)
            for status in self.statuses
            if self.chosen.includes(status)
        ]


def _share_chips(run: RunPredictions, known: dict[tuple[int, str], Part]) -> RunPredictions:
    """Let a run have the arrays of chips and labels of the first run of its seed, which are equal: they are in memory
    once and not for each recipe.
    """

    def shared(name: str, part: Part) -> Part:
        first = known.setdefault((run.names["seed"], name), part)
        if not np.array_equal(first.chips, part.chips) or not np.array_equal(first.labels, part.labels):
            return part
        return Part(first.chips, first.labels, part.logits)

    validation = None if run.validation is None else shared("validation", run.validation)
    return RunPredictions(run.names, shared("test", run.test), validation)


def evidence_tables(
    inputs: EvidenceInputs,
    runs: Sequence[RunPredictions],
    n_classes: int,
    contrasts: Sequence[Mapping[str, str]],
    monitor: str,
    is_holdout: bool,
    level: float,
    pixel_size_m: float,
    seed: int,
    processes: int = 1,
) -> dict[str, pd.DataFrame]:
    """Compute the tables of fronts, calibration, overlap of chips and spatial correlation.

    Args:
        inputs: the inputs of the study.
        runs: the result of `inputs.read_runs`.
        n_classes: number of classes K.
        contrasts: factor, a and b of each contrast.
        monitor: score by which a shift of the prior is chosen.
        is_holdout: whether all seeds share one split.
        level: confidence level of the intervals.
        pixel_size_m: side of a pixel on the ground in metres.
        seed: seed of random permutations and draws.
        processes: number of processes that compute.

    Returns:
        Tables by the names of their files.
    """
    parts = {seed: inputs.parts[seed] for seed in inputs.chosen.seeds}
    n_test, n_train = (np.array([np.sum(split == part) for split in parts.values()]) for part in ("test", "train"))
    design = SeedDesign(0.0 if is_holdout else mean_test_to_train(n_test, n_train), level)
    labels = inputs.index["label"].to_numpy()
    priors = {seed: class_shares(labels[split == "train"], n_classes) for seed, split in parts.items()}
    traced = fronts.trace(runs, priors, monitor, processes)
    temperatures = calibration.temperature_table(runs, seed, processes)
    indexed = inputs.index[["easting_m", "northing_m"]].to_numpy(dtype=np.float64)
    places = ground_places(indexed)
    on_earth = earth_points(indexed)
    side_m = float(inputs.index["height"].iloc[0]) * pixel_size_m
    return {
        "fronts": fronts.points_table(traced, design),
        "fronts_runs": fronts.front_runs_table(traced),
        "fronts_summary": fronts.summary_table(traced, design),
        "fronts_contrasts": fronts.contrasts_table(traced, contrasts, design),
        "calibration_runs": temperatures,
        "calibration": calibration.summary_table(temperatures, design),
        "reliability": calibration.reliability_table(runs, temperatures["temperature"].to_numpy()),
        "overlap": leakage.overlap_table(places, parts, side_m, on_earth),
        "correlation": spatial_correlation.correlation_table(runs, places, level, seed),
        "distance": leakage.distance_table(runs, places, parts, side_m, level, on_earth),
    }
