"""Calibration of the predicted probabilities: reliability, calibration errors and temperature scaling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

from terralucas.processes import compute_each
from terralucas.randomness import Stream, generator
from terralucas.statistics.run_predictions import RunPredictions
from terralucas.statistics.run_scores import sums_of_run
from terralucas.statistics.seed_means import SeedDesign
from terralucas.tables.score_formulas import CALIBRATION_BINS, Sums
from terralucas.tables.scores import SCORES
from terralucas.tables.tidy_csv import by_recipe, tidy_table
from terralucas.tables.vocabulary import CALIBRATION_ERRORS, CALIBRATION_SCORES, CALIBRATION_STAGES, RECIPE

# Bounds of the temperature. Outside them, the probabilities are practically equal or practically 0 and 1.
TEMPERATURES = (0.05, 20.0)
# The mean of so many draws is known to a few percent of a calibration error.
CALIBRATED_DRAWS = 50


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """Find the temperature T for which softmax(logits / T) has the smallest negative log-likelihood.

    Guo et al. (2017), On calibration of modern neural networks, §4.2. As a function of 1 / T the likelihood has one
    maximum, so that a bounded search over log T finds it. Where all chips are right, it has none: it grows with 1 / T
    for ever.

    Args:
        labels: (n,) class indices.
        logits: (n, K).

    Returns:
        T within the bounds `TEMPERATURES`; 1 where all chips are right.
    """
    logits = logits.astype(np.float64)
    true_logits = logits[np.arange(len(labels)), labels]
    if (true_logits >= logits.max(axis=1)).all():
        return 1.0

    def nll(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float((logsumexp(scale * logits, axis=1) - scale * true_logits).mean())

    return float(np.exp(minimize_scalar(nll, bounds=np.log(TEMPERATURES), method="bounded").x))


def scale_runs(runs: Sequence[RunPredictions]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Fit the temperature of each run on its validation chips, and divide its test logits by it.

    Returns:
        The (R,) temperatures and the scaled test logits of each run.
    """
    temperatures = np.array([fit_temperature(run.choosing.labels, run.choosing.logits) for run in runs])
    return temperatures, [run.test.logits / value for run, value in zip(runs, temperatures, strict=True)]


def calibration_scores(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Return the scores of `CALIBRATION_SCORES`."""
    sums = sums_of_run(labels, logits)
    return {name: float(SCORES[name].formula(sums)[0]) for name in CALIBRATION_SCORES}


def calibrated_scores(
    logits: np.ndarray, random: np.random.Generator, draws: int = CALIBRATED_DRAWS
) -> dict[str, float]:
    """Return the mean calibration errors that these probabilities would show if they were perfectly calibrated.

    Labels are drawn from the predicted probabilities. With few chips, the calibration errors of a perfect model are far
    above 0 (Bröcker & Smith 2007, Weather and Forecasting 22, consistency resampling).

    Args:
        logits: (n, K).
        random: generator of the labels.
        draws: number of draws of all labels.
    """
    n, n_classes = logits.shape
    probabilities = softmax(logits.astype(np.float64), axis=1)
    labels = (random.random((draws, n, 1)) > np.cumsum(probabilities, axis=1)[:, :-1]).sum(axis=2)
    winner, every = logits.argmax(axis=1), np.arange(n)
    # The first group has the predicted class of each chip, the others have a class each, as in `Sums.gaps`. Only the
    # hits differ between draws.
    groups = np.concatenate([np.zeros(n, int), 1 + np.tile(np.arange(n_classes), n)])
    values = np.concatenate([probabilities[every, winner], probabilities.ravel()])
    shape, size = (1 + n_classes, CALIBRATION_BINS), (1 + n_classes) * CALIBRATION_BINS
    expected = np.bincount(groups * CALIBRATION_BINS + _bins(values, CALIBRATION_BINS), values, size).reshape(shape)
    number = _bins(probabilities, CALIBRATION_BINS)
    gaps, confusion = np.empty((draws, *shape)), np.empty((draws, n_classes, n_classes))
    for draw, drawn in enumerate(labels):
        hit = drawn == winner
        hits = np.concatenate([number[every[hit], winner[hit]], (1 + drawn) * CALIBRATION_BINS + number[every, drawn]])
        gaps[draw] = expected - np.bincount(hits, minlength=size).reshape(shape)
        confusion[draw] = np.bincount(drawn * n_classes + winner, minlength=n_classes**2).reshape(n_classes, -1)
    unused = np.full(draws, np.nan)
    sums = Sums(confusion, unused, unused, gaps)
    return {name: float(SCORES[name].formula(sums).mean()) for name in CALIBRATION_ERRORS}


def temperature_table(runs: Sequence[RunPredictions], seed: int, processes: int = 1) -> pd.DataFrame:
    """Compute the temperature and the test scores before and after scaling, with one row for each run.

    The columns `…_calibrated` have the calibration errors that a perfectly calibrated model with the same unscaled
    probabilities would show (`calibrated_scores`); `seed` is that of its draws.
    """

    def row_of(run: RunPredictions) -> dict[str, Any]:
        (temperature,), (after,) = scale_runs([run])
        row = {name: run.names[name] for name in (*RECIPE, "seed")}
        row |= {"temperature": temperature, "chosen_on": run.chosen_on}
        for stage, logits in zip(CALIBRATION_STAGES, (run.test.logits, after), strict=True):
            scores = calibration_scores(run.test.labels, logits)
            row |= {f"{metric}_{stage}": value for metric, value in scores.items()}
        random = generator(seed, Stream.CALIBRATED, int(run.names["seed"]))
        perfect = calibrated_scores(run.test.logits, random)
        return row | {f"{metric}_calibrated": value for metric, value in perfect.items()}

    return tidy_table(compute_each(row_of, runs, processes))


def summary_table(table: pd.DataFrame, design: SeedDesign) -> pd.DataFrame:
    """Compute means over seeds with intervals, with one row for each recipe, score and stage.

    The stages are before, after and after_minus_before, and for calibration errors `calibrated`: what a perfectly
    calibrated model would show.

    Args:
        table: result of `temperature_table`.
        design: parameters of the intervals.
    """
    rows = []
    for names, group in by_recipe(table):
        rows.append(
            {**names, "metric": "temperature", "stage": "fitted", **_mean_columns(group["temperature"], design, 0.0)}
        )
        for metric in CALIBRATION_SCORES:
            before, after = (group[f"{metric}_{stage}"] for stage in CALIBRATION_STAGES)
            ends = (SCORES[metric].lowest, SCORES[metric].highest)
            for stage, values in (("before", before), ("after", after)):
                rows.append({**names, "metric": metric, "stage": stage, **_mean_columns(values, design, *ends)})
            if metric in CALIBRATION_ERRORS:
                perfect = _mean_columns(group[f"{metric}_calibrated"], design, *ends)
                rows.append({**names, "metric": metric, "stage": "calibrated", **perfect})
            change = _mean_columns(after - before, design, -SCORES[metric].span, SCORES[metric].span)
            rows.append({**names, "metric": metric, "stage": "after_minus_before", **change})
    return tidy_table(rows)


def reliability_table(runs: Sequence[RunPredictions], temperatures: np.ndarray) -> pd.DataFrame:
    """Compute the reliability of the test predictions of all seeds, with one row for each recipe, stage and bin.

    The confidence is the probability of the predicted class. A bin excludes its lower bound and includes its upper
    bound. `temperatures` (R,) are those of the runs, from `temperature_table`.
    """
    rows = []
    for names, group in by_recipe(pd.DataFrame([run.names for run in runs])):
        labels = np.concatenate([runs[i].test.labels for i in group.index])
        for stage, divisors in zip(CALIBRATION_STAGES, (np.ones_like(temperatures), temperatures), strict=True):
            logits = [runs[i].test.logits / divisors[i] for i in group.index]
            probabilities = softmax(np.concatenate(logits).astype(np.float64), axis=1)
            for row in reliability(labels, probabilities):
                rows.append({**names, "stage": stage, **row})
    return tidy_table(rows)


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = CALIBRATION_BINS) -> list[dict[str, float]]:
    """Compute the number of chips, mean confidence and accuracy in each bin of confidence; NaN where a bin is empty."""
    confidence = probabilities.max(axis=1)
    hit = probabilities.argmax(axis=1) == labels
    number = _bins(confidence, bins)
    n = np.bincount(number, minlength=bins)
    sums = (np.bincount(number, weights=values, minlength=bins) for values in (confidence, hit))
    means = [np.divide(each, n, out=np.full(bins, np.nan), where=n > 0) for each in sums]
    return [
        {
            "bin_low": index / bins,
            "bin_high": (index + 1) / bins,
            "n": int(n[index]),
            "confidence": means[0][index],
            "accuracy": means[1][index],
        }
        for index in range(bins)
    ]


def _bins(probabilities: np.ndarray, bins: int) -> np.ndarray:
    """Return the number of the bin of (0, 1] of each probability."""
    return np.clip(np.ceil(probabilities * bins).astype(int) - 1, 0, bins - 1)


def _mean_columns(
    values: pd.Series, design: SeedDesign, lowest: float = -np.inf, highest: float = np.inf
) -> dict[str, object]:
    """Return the columns of the mean over seeds with its interval, clipped to the range of the values."""
    return design.columns(design.interval(values.to_numpy()), lowest, highest)
