"""Permutation importance of bands: how much worse a model predicts if a band comes from another chip.

Breiman (2001), Random Forests, Machine Learning 45, section 10; Fisher, Rudin & Dominici (2019), All Models are Wrong,
but Many are Useful, Journal of Machine Learning Research 20(177), for a fitted model of any kind. A band is exchanged
between whole chips, so that it keeps its spatial pattern and its distribution over the chips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from terralucas.errors import StudyError
from terralucas.predict.batches import read_batches
from terralucas.randomness import Stream, generator
from terralucas.statistics.run_predictions import Part
from terralucas.statistics.weighted_scores import chip_terms, weighted_sums
from terralucas.tables.scores import SCORES
from terralucas.tables.vocabulary import BAND_GROUP, SINGLE_BAND

METRICS = ("macro_accuracy", "micro_accuracy", "nll")
# Parts of the spectrum of Sentinel-2's bands, in TerraMind's names.
GROUPS = {
    "visible": ("COASTAL_AEROSOL", "BLUE", "GREEN", "RED"),
    "red edge": ("RED_EDGE_1", "RED_EDGE_2", "RED_EDGE_3"),
    "near infrared": ("NIR_BROAD", "NIR_NARROW", "WATER_VAPOR"),
    "short-wave infrared": ("SWIR_1", "SWIR_2"),
}

Predict = Callable[[np.ndarray], np.ndarray]
Read = Callable[[int], np.ndarray]
Positions = tuple[int, ...]


@dataclass(frozen=True)
class Sampling:
    """How many chips and permutations an importance is computed from.

    Attributes:
        chips: most test chips of a model that are predicted.
        permutations: permutations of the test chips.
        batch_size: chips in a forward pass.
        threads: chips that are read at the same time.
    """

    chips: int
    permutations: int
    batch_size: int
    threads: int


@dataclass(frozen=True)
class BandSet:
    """Bands that are exchanged together.

    Attributes:
        kind: `group` or `band`.
        name: name of the group or band.
        bands: names of the bands.
        positions: their positions in a chip.
    """

    kind: str
    name: str
    bands: tuple[str, ...]
    positions: Positions


def band_sets(bands: Sequence[str]) -> list[BandSet]:
    """Return the groups of which a study has a band, then its single bands."""
    order = list(bands)
    groups = [(BAND_GROUP, name, tuple(band for band in order if band in members)) for name, members in GROUPS.items()]
    sets = [entry for entry in groups if entry[2]] + [(SINGLE_BAND, band, (band,)) for band in order]
    return [BandSet(kind, name, own, tuple(order.index(band) for band in own)) for kind, name, own in sets]


def count_passes(n_chips: int, bands: Sequence[str], permutations: int) -> int:
    """Return the number of chips that pass through a model: unchanged, and with each different set of bands."""
    return n_chips * (1 + permutations * len({each.positions for each in band_sets(bands)}))


def stratified_sample(labels: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
    """Draw chips with as equal numbers of each class as possible, so that rare classes are kept.

    Args:
        labels: (n,) class indices.
        most: largest number of chips.
        random: generator of the draw.

    Returns:
        Positions of the chips, ascending; all of them if there are at most `most`.
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    classes, sizes = np.unique(labels, return_counts=True)
    taken = np.zeros(len(classes), dtype=np.int64)
    # One chip after the other to the class with the fewest of those that have more; common classes first among equals.
    for _ in range(most):
        open_classes = np.flatnonzero(taken < sizes)
        taken[min(open_classes, key=lambda place: (taken[place], -sizes[place]))] += 1
    drawn = [
        random.permutation(np.flatnonzero(labels == label))[:count] for label, count in zip(classes, taken, strict=True)
    ]
    return np.sort(np.concatenate(drawn))


def partners(n_chips: int, random: np.random.Generator) -> np.ndarray:
    """Draw for each chip another one, so that each chip is the partner of one chip, and never its own.

    The chips stand in a circle in a random order, and the partner of each is its neighbour. In a random permutation,
    one chip on average is its own partner, whatever the number of chips, and nothing of it is exchanged.

    Args:
        n_chips: number of chips.
        random: generator of the draw.

    Returns:
        (n_chips,) position of each chip's partner.

    Raises:
        StudyError: there is one chip, or none.
    """
    if n_chips < 2:
        raise StudyError(
            "The importance of bands cannot be computed.",
            found=f"a model with {n_chips} test chip{'' if n_chips == 1 else 's'}",
            expected="at least two test chips, whose bands can be exchanged",
            remedy="give the test part of the study more chips",
        )
    order = random.permutation(n_chips)
    partner = np.empty_like(order)
    partner[order] = np.roll(order, 1)
    return partner


def permutation_importance(
    predict: Predict,
    read: Read,
    test: Part,
    bands: Sequence[str],
    seed: int,
    sampling: Sampling,
    advance: Callable[[int], object] = lambda chips: None,
) -> list[dict[str, Any]]:
    """Compute the loss of a model's scores on its test chips if bands come from another test chip.

    In a permutation, each predicted chip gets the bands of one other test chip (`partners`); all sets of bands get
    theirs from the same chip. If not all chips are predicted, a chip counts as often as its class has test chips for
    each predicted one, so that the scores are estimates of those of all test chips.

    Args:
        predict: maps chips (n, bands, side, side) to logits (n, K).
        read: reads the reflectance (bands, side, side) of the chip in a row of the index.
        test: the test chips of the model.
        bands: names of the bands.
        seed: seed of the model, from which the random streams are derived.
        sampling: number of chips and permutations.
        advance: is called with the number of chips after each forward pass.

    Returns:
        A row for each set of bands and score: kind, name, bands, seed, metric, score (unchanged chips), loss (mean over
        the permutations; positive if the permuted chips are predicted worse), sd_permutations, permutations, chips,
        test_chips.

    Raises:
        StudyError: the model has fewer than two test chips.
    """
    chosen = stratified_sample(test.labels, sampling.chips, generator(seed, Stream.IMPORTANCE))
    chosen = chosen[np.argsort(test.labels[chosen], kind="stable")]
    scores = partial(_weighted_scores, test.labels, chosen, test.logits.shape[1])
    unchanged = []
    for batch in read_batches(read, test.chips[chosen].tolist(), sampling.batch_size, sampling.threads):
        unchanged.append(predict(np.stack(batch)))
        advance(len(batch))
    baseline = scores(unchanged)
    sets = band_sets(bands)
    losses: dict[Positions, list[np.ndarray]] = {each.positions: [] for each in sets}
    signs = np.array([1.0 if SCORES[name].higher_is_better else -1.0 for name in METRICS])
    for permutation in range(sampling.permutations):
        partner = partners(len(test.chips), generator(seed, Stream.IMPORTANCE, 1 + permutation))
        pairs = list(zip(test.chips[chosen].tolist(), test.chips[partner[chosen]].tolist(), strict=True))
        for positions, logits in _permuted_logits(predict, read, pairs, list(losses), sampling, advance).items():
            losses[positions].append(signs * (baseline - scores(logits)))
    rows = []
    for each in sets:
        values = np.array(losses[each.positions])
        spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(len(METRICS), np.nan)
        for metric, score, loss, sd in zip(METRICS, baseline, values.mean(axis=0), spread, strict=True):
            rows.append(
                {"kind": each.kind, "name": each.name, "bands": " ".join(each.bands), "seed": seed, "metric": metric}
                | {"score": score, "loss": loss, "sd_permutations": sd, "permutations": sampling.permutations}
                | {"chips": len(chosen), "test_chips": len(test.chips)}
            )
    return rows


def _permuted_logits(
    predict: Predict,
    read: Read,
    pairs: Sequence[tuple[int, int]],
    positions: Sequence[Positions],
    sampling: Sampling,
    advance: Callable[[int], object],
) -> dict[Positions, list[np.ndarray]]:
    """Return the logits of chips, in batches, whose bands at some positions come from the other chip of a pair."""
    logits: dict[Positions, list[np.ndarray]] = {each: [] for each in positions}
    read_pair = lambda pair: (read(pair[0]), read(pair[1]))  # noqa: E731
    for batch in read_batches(read_pair, pairs, sampling.batch_size, sampling.threads):
        chips, others = (np.stack(side) for side in zip(*batch, strict=True))
        for each, gathered in logits.items():
            permuted = chips.copy()
            permuted[:, each] = others[:, each]
            gathered.append(predict(permuted))
            advance(len(chips))
    return logits


def _weighted_scores(
    labels: np.ndarray, chosen: np.ndarray, n_classes: int, logits: Sequence[np.ndarray]
) -> np.ndarray:
    """Return the scores `METRICS` of chosen chips, each class with the weight of all its chips.

    Args:
        labels: (n,) class indices of all test chips.
        chosen: positions of the chosen chips, in the order of their classes.
        n_classes: number of classes K.
        logits: batches of the logits of the chosen chips.
    """
    own = labels[chosen]
    weights = np.bincount(labels, minlength=n_classes) / np.maximum(np.bincount(own, minlength=n_classes), 1)
    sums = weighted_sums(weights[own][None], own, chip_terms(own, np.concatenate(logits)), n_classes)
    return np.array([SCORES[name].formula(sums)[0] for name in METRICS])


def summarise(by_seed: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of the losses over the seeds, and their spread, for each set of bands and score.

    Args:
        by_seed: rows of `permutation_importance` of all seeds.

    Returns:
        Columns kind, name, bands, metric; score and loss (means over seeds); sd_seeds, lowest, highest (of the losses
        of the seeds; the standard deviation is missing with one seed); se_permutations (standard error of the loss
        because of the number of permutations); n_seeds, permutations; chips, test_chips (sums over seeds).
    """
    rows = []
    for names, group in by_seed.groupby(["kind", "name", "bands", "metric"], sort=False):
        loss, n_seeds = group["loss"], len(group)
        variance = (group["sd_permutations"] ** 2 / group["permutations"]).mean()
        rows.append(
            dict(zip(("kind", "name", "bands", "metric"), names, strict=True))
            | {
                "score": group["score"].mean(),
                "loss": loss.mean(),
                "sd_seeds": loss.std(ddof=1),
                "lowest": loss.min(),
                "highest": loss.max(),
                "se_permutations": np.sqrt(variance / n_seeds),
                "n_seeds": n_seeds,
                "permutations": int(group["permutations"].iloc[0]),
                "chips": int(group["chips"].sum()),
                "test_chips": int(group["test_chips"].sum()),
            }
        )
    return pd.DataFrame(rows)
