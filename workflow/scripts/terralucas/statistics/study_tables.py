"""All tables of scores of a study, from the files of its runs and controls."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from terralucas.predictions import FINISHED
from terralucas.processes import compute_each
from terralucas.statistics import run_tables
from terralucas.statistics.comparison import Question, compare
from terralucas.statistics.run_inputs import RunInputs, require_inputs
from terralucas.statistics.run_predictions import Part, read_run_predictions
from terralucas.statistics.run_status import RunStatus, comparable_runs
from terralucas.statistics.seed_means import mean_test_to_train
from terralucas.tables.vocabulary import Recipe


def study_tables(
    statuses: Sequence[RunStatus],
    controls: Mapping[Recipe, Mapping[int, Path]],
    index: pd.DataFrame,
    groups: np.ndarray | None,
    question: Question,
    is_holdout: bool,
    blocks: Mapping[float, np.ndarray] | None = None,
    processes: int = 1,
    expected: Mapping[str, Mapping[str, Any]] | None = None,
    splits: Mapping[int, str] | None = None,
    inputs: Mapping[str, list[RunInputs]] | None = None,
) -> dict[str, pd.DataFrame]:
    """Compute the tables of runs, recipes, controls, contrasts and classes.

    Every score is computed from the predictions, so that the tables do not depend on scores that runs stored.

    Args:
        statuses: status of each run of the grid.
        controls: path of predictions.parquet of each control, by seed.
        index: point_id and label of all chips.
        groups: (n,) block of each chip, or None if chips are split one by one.
        question: the question of the study.
        is_holdout: whether all seeds share one split.
        blocks: side in km → (n,) block of each chip, for the spatial intervals; none without places.
        processes: number of processes that compute.
        expected: settings of runs by the configuration, for `run_tables.require_one_configuration`.
        splits: fingerprint of the split of each seed, for `run_tables.require_splits`.
        inputs: on what runs may be trained, for `run_inputs.require_inputs`.

    Returns:
        Tables by the names of their files.

    Raises:
        StudyError: the runs do not belong to one study, or too few of them are finished.
    """
    rows = {point_id: row for row, point_id in enumerate(index["point_id"])}
    finished = [status for status in statuses if status.status == FINISHED]
    read = compute_each(run_tables.read_run, [status.folder for status in finished], processes)
    results = {status.run: result for status, result in zip(finished, read, strict=True)}
    run_tables.require_one_configuration(results.values(), expected)
    run_tables.require_one_encoder(results.values())
    run_tables.require_different_treatments(results.values())
    if splits is not None:
        run_tables.require_splits(results.values(), splits)
    if inputs is not None:
        require_inputs((result.record for result in results.values()), inputs)
    chosen = comparable_runs(statuses)
    included = [status for status in statuses if chosen.includes(status)]
    files: dict[Recipe, dict[int, Path]] = {recipe: {} for recipe in chosen.recipes}
    for status in included:
        files[status.recipe][status.seed] = status.folder / "predictions.parquet"
    files |= {control: dict(by_seed) for control, by_seed in controls.items()}

    def load(recipe: Recipe) -> dict[int, Part]:
        return {seed: read_run_predictions(files[recipe][seed], {}, rows).test for seed in chosen.seeds}

    runs = [results[status.run] for status in included]
    sizes = np.array([[run.record["chips"][part] for part in ("test", "train")] for run in runs])
    with tempfile.TemporaryDirectory() as folder:
        tables = compare(
            chosen.recipes,
            list(controls),
            load,
            0.0 if is_holdout else mean_test_to_train(sizes[:, 0], sizes[:, 1]),
            groups,
            question,
            Path(folder),
            blocks,
            processes,
        )
    return tables | {
        "runs": run_tables.runs_table(statuses, results),
        "confusion": run_tables.confusion_table(runs, question.classes),
        "curves": run_tables.curves_table(runs),
        "classes": run_tables.classes_table(index["label"].to_numpy(), question.classes),
        "durations": run_tables.durations_table(list(results.values())),
    }
