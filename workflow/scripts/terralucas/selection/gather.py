"""Gather the models of the selected recipe, and compute from held-out chips how sure their predictions are."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from terralucas.data.chips.chip_checks import measure_darkest
from terralucas.errors import StudyError
from terralucas.files import atomic_path
from terralucas.predict.applicability import Reference, held_out_dissimilarity, threshold
from terralucas.predict.batches import read_batches
from terralucas.predict.conformal import Calibration, expected_coverage, held_out_p_values, in_sets, softmax
from terralucas.predict.ensemble import Ensemble
from terralucas.predict.likeness import TrainingPixels, is_bright
from terralucas.predict.selected import HeldOut
from terralucas.predictions import read_predictions
from terralucas.selection.choice import Cost
from terralucas.statistics.intervals import wilson
from terralucas.training.trained_run import read_record, require_own_model

logger = logging.getLogger(__name__)

# Saved models may differ from the predictions of the study by rounding, and on a GPU by its precision; then few classes
# change. More means that they are not the models that were evaluated.
_MOST_CHANGED = 0.01
_TIMED_BATCHES = 3
# Level of the intervals of shares of bright and of dark chips in a class.
_PIXELS_LEVEL = 0.95
# Parts for the held-out coverage where all seeds test the same chips, or one seed tests.
_PARTS = 5


@dataclass(frozen=True)
class StudyChips:
    """The chips of a study.

    Attributes:
        point_ids: (n,) ids in the order of the index.
        labels: (n,) class indices.
        parts: seed → (n,) train, validation or test.
        read: reads the reflectance (bands, side, side) of the chip in a row of the index.
    """

    point_ids: Sequence[str]
    labels: np.ndarray
    parts: Mapping[int, np.ndarray]
    read: Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Examination:
    """What the chips of a study say about its selected models.

    Attributes:
        held_out: what chips that were not trained on say about predictions.
        coverage: coverage of the sets of held-out chips, one row for all classes and one for each.
        comparison: how far the models predict what the study recorded for them; None for a model of all chips.
        pixels: what the pixels of the chips look like.
    """

    held_out: HeldOut
    coverage: pd.DataFrame
    comparison: dict[str, Any] | None
    pixels: TrainingPixels


def measure_cost(folder: Path, chips: np.ndarray, make: Callable[[Sequence[Path]], Ensemble]) -> Cost:
    """Count the parameters of a run's model, and measure the time of a prediction.

    Args:
        folder: folder of the run.
        chips: (n, bands, side, side) reflectance.
        make: makes an ensemble from the folders of runs.
    """
    ensemble = make([folder])
    parameters = sum(value.numel() for value in ensemble.runs[0].model.parameters())
    ensemble.predict(chips)
    seconds = []
    for _ in range(_TIMED_BATCHES):
        started = time.perf_counter()
        ensemble.predict(chips)
        seconds.append((time.perf_counter() - started) / len(chips))
    return Cost(parameters, min(seconds))


def copy_models(runs: Mapping[int, Path], target: Path) -> list[str]:
    """Copy run.yaml and model.ckpt of each seed's run; return the name of each copy's folder, in the order of seeds.

    Raises:
        StudyError: a model is not that of its run.
    """
    names = []
    for seed, folder in sorted(runs.items()):
        name = f"seed-{seed}"
        # Here, where the folder of the run is known, and before the logits of a copy are divided.
        require_own_model(folder, read_record(folder))
        for file in ("run.yaml", "model.ckpt"):
            with atomic_path(target / name / file) as temporary:
                shutil.copyfile(folder / file, temporary)
        names.append(name)
    return names


def examine(
    ensemble: Ensemble,
    runs: Mapping[int, Path],
    chips: StudyChips,
    batch_size: int,
    threads: int,
    same_test_chips: bool,
    coverage: float,
    temperatures: Mapping[int, float],
    are_copies: bool = True,
    judges: Ensemble | None = None,
) -> Examination:
    """Pass all chips of a study through the selected models, and compare with the predictions of the study.

    Held-out predictions are those of the runs. The models are copies of the runs, or one model that was trained on all
    chips: nothing was held out from it, so that it is not compared, and the runs speak for it (CV+; Barber et al. 2021,
    Annals of Statistics 49, uses the models of the folds themselves).

    Args:
        ensemble: the models in the order of the seeds, or the one model of all chips.
        runs: seed → folder of its run.
        chips: the chips of the study.
        batch_size: chips in a forward pass.
        threads: chips that are read at the same time.
        same_test_chips: whether all seeds test the same chips.
        coverage: share of chips whose set should contain the true class.
        temperatures: seed → number by which the logits of its run are divided.
        are_copies: whether the models are copies of the runs.
        judges: the models of the runs, where the one model of all chips has an encoder of its own: no chip is held out
            from that, so that the threshold of applicability comes from the encoders of the runs. None otherwise.

    Raises:
        StudyError: the models do not predict what the study recorded for them.
    """
    logits, features, pixels = _pass_all(ensemble, chips, batch_size, threads)
    rows = {point_id: row for row, point_id in enumerate(chips.point_ids)}
    tested, folds, differences, changed = [], [], [], {}
    for number, (seed, folder) in enumerate(sorted(runs.items())):
        table = read_predictions(folder / "predictions.parquet")
        is_test = table.parts == "test"
        test = np.array([rows[point_id] for point_id in np.array(table.point_ids)[is_test]])
        stored = table.logits[is_test] / temperatures[seed]
        if are_copies:
            again = logits[number, test]
            differences.append(float(np.abs(stored - again).max()))
            changed[folder] = stored.argmax(axis=1) != again.argmax(axis=1)
        tested.append((test, softmax(stored)))
        folds.append((np.flatnonzero(chips.parts[seed] != "test"), test))
    n_tested = sum(len(test) for test, _ in tested)
    require_recorded_classes(changed, max(differences, default=0.0))
    # From which run a row is; the one model of all chips is compared with the rows of all runs.
    source = np.repeat(np.arange(len(tested)), [len(test) for test, _ in tested])
    member = source if are_copies else np.zeros_like(source)
    chip = np.concatenate([test for test, _ in tested])
    probabilities = np.concatenate([each for _, each in tested])
    label = chips.labels[chip]
    score = 1.0 - probabilities[np.arange(len(label)), label]
    calibration = Calibration(member, chip, label, score, ensemble.n_classes)
    # With folds, the seeds of one repetition test each chip once; the parts are the folds of the first repetition.
    part = chip % _PARTS if same_test_chips or len(tested) < 2 else _first_part(source, chip)
    in_set = in_sets(held_out_p_values(calibration, probabilities, part), coverage)
    references = [Reference.of(pooled) for pooled in features]
    if judges is None:
        groups = [group.members if are_copies else range(len(folds)) for group in ensemble.groups]
        of_groups = references
    else:
        groups = [group.members for group in judges.groups]
        of_groups = [Reference.of(pooled) for pooled in _pass_all(judges, chips, batch_size, threads)[1]]
    values = [
        held_out_dissimilarity(reference, [folds[number] for number in members])
        for reference, members in zip(of_groups, groups, strict=True)
    ]
    held_out = HeldOut(calibration, references, threshold(np.concatenate(values)))
    comparison = {
        "test_chips": n_tested,
        "other_classes": sum(int(chips.sum()) for chips in changed.values()),
        "largest_logit_difference": max(differences, default=0),
    }
    table_of_coverage = _coverage_table(label, chip, in_set, coverage)
    return Examination(held_out, table_of_coverage, comparison if are_copies else None, pixels)


def require_recorded_classes(changed: Mapping[Path, np.ndarray], difference: float) -> None:
    """Check that the models of runs predict what the runs recorded.

    Args:
        changed: folder of a run → (n,) whether its model predicts another class for a test chip than the run recorded.
        difference: the largest difference of a logit.

    Raises:
        StudyError: the models of some runs predict other classes than rounding explains.
    """
    wrong = {folder: chips for folder, chips in changed.items() if chips.sum() > max(1, _MOST_CHANGED * len(chips))}
    if wrong:
        of_runs = ", ".join(f"{chips.sum()} of {len(chips)} in {folder}" for folder, chips in wrong.items())
        raise StudyError(
            "The saved models do not predict what the study recorded for them.",
            found=f"another class for test chips: {of_runs}; logits that differ by up to {difference:.2g}",
            expected=f"the same class for at least {1 - _MOST_CHANGED:.0%} of each run's test chips, or all but one",
            remedy="delete the folders of these runs, and start the study again",
        )


def _pass_all(
    ensemble: Ensemble, chips: StudyChips, batch_size: int, threads: int
) -> tuple[np.ndarray, list[np.ndarray], TrainingPixels]:
    """Return the logits (J, n, K) of all chips, the features (n, D) of each encoder, and what the chips look like."""
    logits: list[np.ndarray] = []
    features: list[list[np.ndarray]] = [[] for _ in ensemble.groups]
    darkest, means = list[float](), list[np.ndarray]()
    n = len(chips.point_ids)
    with tqdm(total=n, unit="chip", desc="Examining the selected models") as bar:
        for batch in read_batches(chips.read, range(n), batch_size, threads):
            of_batch, pooled = ensemble.predict(np.stack(batch))
            logits.append(of_batch)
            for gathered, each in zip(features, pooled, strict=True):
                gathered.append(each)
            darkest += [measure_darkest(values) for values in batch]
            means += [np.asarray(np.nanmean(values, axis=(1, 2), dtype=np.float64)) for values in batch]
            bar.update(len(batch))
    pixels = describe_pixels(np.array(darkest), np.array(means), chips.labels)
    return np.concatenate(logits, axis=1), [np.concatenate(each) for each in features], pixels


def describe_pixels(darkest: np.ndarray, means: np.ndarray, labels: np.ndarray) -> TrainingPixels:
    """Describe the pixels of the training chips.

    Args:
        darkest: (n,) reflectance of the darkest pixels of each chip, by
            `terralucas.data.chips.chip_checks.measure_darkest`.
        means: (n, bands) mean reflectance of each chip.
        labels: (n,) class indices.
    """
    bright = is_bright(darkest)
    counts = [(int(bright[labels == label].sum()), int((labels == label).sum())) for label in np.unique(labels)]
    low, high = np.quantile(darkest, [0.01, 0.99])
    return TrainingPixels(
        chips=len(labels),
        bright=int(bright.sum()),
        bright_in_a_class=max(wilson(k, n, _PIXELS_LEVEL)[1] for k, n in counts),
        dark_in_a_class=max(wilson(n - k, n, _PIXELS_LEVEL)[1] for k, n in counts),
        darkest=(float(low), float(high)),
        # A band of a chip may have no pixel.
        band_mean=tuple(np.nanmedian(means, axis=0).tolist()),
    )


def _first_part(member: np.ndarray, chip: np.ndarray) -> np.ndarray:
    """Return for each row the first model that tests its chip."""
    first: dict[int, int] = {}
    for number, row in zip(member.tolist(), chip.tolist(), strict=True):
        first.setdefault(row, number)
    return np.array([first[row] for row in chip.tolist()])


def _coverage_table(label: np.ndarray, chip: np.ndarray, in_set: np.ndarray, coverage: float) -> pd.DataFrame:
    """Return the held-out coverage of the sets, of all chips (class −1) and of each class.

    The columns `expected_low` and `expected_high` have the range of the coverage of new chips (`expected_coverage`).
    Held-out chips are ranked among each other, so that their own coverage is near the goal wherever folds are alike;
    its distance from the goal shows how much folds differ, and not how far the coverage of new chips may be from it.
    """
    hit = in_set[np.arange(len(label)), label]
    size = in_set.sum(axis=1)
    numbers = range(in_set.shape[1])
    counts = np.array([len(np.unique(chip[label == number])) for number in numbers])
    rows = []
    for number in [-1, *numbers]:
        chosen = np.full(len(label), True) if number < 0 else label == number
        own = counts if number < 0 else counts[[number]]
        low, high = expected_coverage(own, coverage) if own.sum() else (np.nan, np.nan)
        rows.append(
            {
                "class_index": number,
                "chips": int(own.sum()),
                "goal": coverage,
                "coverage": float(hit[chosen].mean()) if own.sum() else np.nan,
                "expected_low": low,
                "expected_high": high,
                "mean_set_size": float(size[chosen].mean()) if own.sum() else np.nan,
            }
        )
    return pd.DataFrame(rows)
