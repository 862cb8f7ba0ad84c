"""Compare the pixels of new chips, or of windows of a scene, with those of the training chips of a study.

A wrong scale, or the offset of Sentinel-2's processing baseline 04.00 in only one of the two, changes every prediction
and no single chip shows it for certain. Many chips do.

A part of the chips can have the offset, as in a mosaic of products before and after this baseline. They are then two
groups whose darkest pixels differ by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import comb
from typing import Any, NoReturn

import numpy as np
from scipy.special import bdtrc

from terralucas.data.chips.chip_checks import measure_darkest
from terralucas.data.dataset import DN_PER_REFLECTANCE, OFFSET_DN, DatasetSpec
from terralucas.data.indexing.band_order import NEAR_INFRARED, VISIBLE
from terralucas.data.indexing.group_checks import (
    ALMOST_ALL,
    MIN_CHIPS_OF_CLASS,
    MOST,
    NEGATIVE_REFLECTANCE,
    OFFSET_REFLECTANCE,
    SUSPECT,
)
from terralucas.data.normalisation import LARGEST_MEAN, PRETRAINING_STATISTICS_DN
from terralucas.errors import StudyError

# Of Sentinel-2's processing baseline 04.00, as reflectance.
OFFSET = OFFSET_DN / DN_PER_REFLECTANCE
# Probability of so many bright (or dark) chips below which it is reported as a warning, and below which it is refused.
_UNLIKELY, _IMPOSSIBLE = 0.05, 1e-4
# Median over the chips of the ratio to the median training chip, in their brightest and in their dimmest band, beyond
# which it is reported, and from how many chips on. Between any two classes of 100 real chips (EuroSAT), the first is at
# least 0.62 and the second at most 1.63; chips of a third of their values have 0.39, and of three times 2.36.
_DIM, _BRIGHT, _MIN_CHIPS = 0.5, 2.0, 10
# Largest ratio of the brightest to the dimmest band, both relative to the training chips, of one factor for all bands.
_UNEQUAL = 3.0
# No vegetation reflects more in the near infrared, and snow and clouds are about as bright in the visible bands.
_BRIGHTEST_VEGETATION, _FLAT = 0.75, 1.5
# How far outside those of the training chips the darkest pixels may be, and how far from the offset the difference of
# two groups of chips, in reflectance.
_SLACK = 0.02


@dataclass(frozen=True)
class TrainingPixels:
    """What the pixels of the training chips look like.

    A chip is bright if almost no pixel of it is below the offset of baseline 04.00 in any band
    (`terralucas.data.chips.chip_checks.measure_darkest`), and otherwise dark.

    Attributes:
        chips: number of chips.
        bright: number of bright chips.
        bright_in_a_class: largest share of bright chips in a class, at the upper end of its interval.
        dark_in_a_class: the same of dark chips.
        darkest: 1 % and 99 % quantile over the chips of the reflectance of their darkest pixels.
        band_mean: of each band, the median over the chips of their mean reflectance.
    """

    chips: int
    bright: int
    bright_in_a_class: float
    dark_in_a_class: float
    darkest: tuple[float, float]
    band_mean: tuple[float, ...]

    def as_record(self) -> dict[str, Any]:
        """Return a mapping for YAML."""
        content = asdict(self)
        shares = {name: round(content[name], 6) for name in ("bright_in_a_class", "dark_in_a_class")}
        pixels = {name: [round(value, 6) for value in content[name]] for name in ("darkest", "band_mean")}
        return content | shares | pixels

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> TrainingPixels:
        """Build it from the mapping of `as_record`."""
        return cls(**{**record, "darkest": tuple(record["darkest"]), "band_mean": tuple(record["band_mean"])})


def is_bright(darkest: np.ndarray) -> np.ndarray:
    """Return which chips are bright, from the reflectance of their darkest pixels."""
    return darkest >= OFFSET_REFLECTANCE


def require_likeness(
    chips: Sequence[np.ndarray],
    training: TrainingPixels,
    spec: DatasetSpec,
    allow_offset: bool,
    what: str,
    refused: Sequence[np.ndarray] = (),
) -> list[str]:
    """Check that the scale and the offset of new pixels can be those of the training chips.

    Args:
        chips: (bands, height, width) reflectance of each chip or window that was looked at; NaN for missing pixels.
        training: the training chips.
        spec: description of the study's dataset.
        allow_offset: whether the pixels may be brighter or darker than those of the training chips by the offset.
        what: `chips` or `windows of the scene`.
        refused: the same of those in which a band seems to have another unit or scale. An offset that was subtracted
            twice shows in them first.

    Returns:
        What may be wrong and is not certain.

    Raises:
        StudyError: the pixels have another scale or offset.
    """
    means = np.array([np.nanmean(values, axis=(1, 2), dtype=np.float64) for values in chips])
    _refuse_impossible_means(means, spec, what)
    _refuse_impossible_vegetation(means, spec, what)
    warnings = _check_brightness(means, training, spec, what)
    warnings += _check_offset(chips, refused, training, spec, allow_offset, what)
    if refused:
        warnings.append(
            f"{len(refused)} of {len(chips) + len(refused)} {what} that were looked at have a band in another unit or "
            "scale than their other bands, and are left out. Others, whose land does not show it, may have it too."
        )
    return warnings


def describe_cut_off(cut_off: int, looked_at: int, what: str) -> list[str]:
    """Return a warning if some chips have values that are cut off: darker land shows it, and all may have the fault.

    Args:
        cut_off: how many of those that were looked at have such values.
        looked_at: how many were looked at.
        what: `chips` or `windows of the scene`.
    """
    if not cut_off:
        return []
    return [
        f"{cut_off} of {looked_at} {what} that were looked at have one value in many pixels of a band, where another "
        "band is bright, and are left out. If darker values were cut off there, as after an offset was subtracted "
        "twice, all others are too dark as well."
    ]


def _refuse_impossible_means(means: np.ndarray, spec: DatasetSpec, what: str) -> None:
    mean, std = np.array([PRETRAINING_STATISTICS_DN[band] for band in spec.bands]).T / DN_PER_REFLECTANCE
    high = np.flatnonzero(means.mean(axis=0) > mean + LARGEST_MEAN * std)
    if len(high):
        raise StudyError(
            f"The {what} that were looked at are brighter than clouds.",
            found="a mean reflectance of " + ", ".join(f"{spec.bands[i]} {means[:, i].mean():.3g}" for i in high),
            expected=f"{_unit_text(spec)}, as the training chips of the study",
            remedy="write them in the unit of the study",
        )


def _refuse_impossible_vegetation(means: np.ndarray, spec: DatasetSpec, what: str) -> None:
    """Refuse chips of which most are as bright in the near infrared as clouds, and dark in the visible bands."""
    near, visible = ([i for i, band in enumerate(spec.bands) if band in names] for names in (NEAR_INFRARED, VISIBLE))
    if not near or not visible:
        return
    infrared, light = means[:, near].min(axis=1), means[:, visible].max(axis=1)
    count = int(((infrared > _BRIGHTEST_VEGETATION) & (infrared > _FLAT * light)).sum())
    if 2 * count > len(means):
        raise StudyError(
            f"The {what} that were looked at are brighter than vegetation can be.",
            found=f"a mean reflectance above {_BRIGHTEST_VEGETATION:g} in the near infrared in {count} of {len(means)} "
            f"(median {np.median(infrared):.2g}), and less than 1/{_FLAT:g} of it in all visible bands, unlike clouds "
            "and snow",
            expected=f"{_unit_text(spec)}, as the training chips of the study",
            remedy="write them in the unit of the study; values of another scale need a scale tag that gives this unit",
        )


def _check_brightness(means: np.ndarray, training: TrainingPixels, spec: DatasetSpec, what: str) -> list[str]:
    """As the check of training chips, each is compared with the median training chip in its brightest band."""
    limit, reference = spec.checks.min_chip_brightness, np.array(training.band_mean)
    usable = reference > 0
    # Without a visible band, chips of water are as dark.
    if not usable.any() or set(spec.bands).isdisjoint(VISIBLE):
        return []
    ratios = means[:, usable] / reference[usable]
    ratio = ratios.max(axis=1)
    dim = int((ratio < limit).sum())
    found = (
        f"{dim} of {len(means)} {what} that were looked at have less than {limit:g} times the mean of the median "
        "training chip in their brightest band"
    )
    if 2 * dim > len(means):
        raise StudyError(
            f"The {what} are too dark to have the scale of the training chips.",
            found=f"{found} (median {np.median(ratio):.2g} times)",
            expected=f"{_unit_text(spec)}; water is dark in the infrared and not in blue",
            remedy="write them in the unit of the study; values of another scale need a scale tag that gives this unit",
        )
    warnings = [f"{found}: their values may have another scale."] if dim else []
    return warnings + _describe_scale(means[:, usable], ratios, spec, what) if limit > 0 else warnings


def _describe_scale(means: np.ndarray, ratios: np.ndarray, spec: DatasetSpec, what: str) -> list[str]:
    """Say if most chips are darker or brighter than the median training chip by about one factor in every band.

    Water is darker in the infrared alone, and clouds and snow are about as bright in all bands.

    Args:
        means: (n, bands) mean reflectance of the chips.
        ratios: (n, bands) the same relative to the median training chip.
        spec: description of the study's dataset.
        what: `chips` or `windows of the scene`.
    """
    brightest, dimmest = (float(np.median(each)) for each in (ratios.max(axis=1), ratios.min(axis=1)))
    is_dim = brightest < _DIM and brightest < _UNEQUAL * dimmest
    is_bright = dimmest > _BRIGHT and float(np.median(means.max(axis=1) / means.min(axis=1))) > _FLAT
    if len(means) < _MIN_CHIPS or not (is_dim or is_bright):
        return []
    times = f"at most {brightest:.2g}" if is_dim else f"at least {dimmest:.2g}"
    return [
        f"The median of {len(means)} {what} that were looked at has {times} times the mean of the median training chip "
        "in every band: their values may have another scale, and then all predictions are wrong. "
        f"Expected: {_unit_text(spec)}."
    ]


def _check_offset(
    chips: Sequence[np.ndarray],
    refused: Sequence[np.ndarray],
    training: TrainingPixels,
    spec: DatasetSpec,
    allow_offset: bool,
    what: str,
) -> list[str]:
    """Compare how many chips have dark pixels, as `terralucas.data.indexing.group_checks.check_class_offsets` does.

    More bright chips than in any class of the training chips are no land cover, so that this can be an error. More than
    among all training chips can be one bright class, or a part of the chips that has the offset: it is only reported.
    """
    darkest = np.array([measure_darkest(values) for values in chips])
    of_all = np.array([*darkest, *(measure_darkest(values) for values in refused)])
    negative = _check_negative(of_all, training, spec, allow_offset, what)
    if negative or "RED" not in spec.bands:
        return negative
    bright = is_bright(darkest)
    step = _measure_step(darkest, bright)
    is_part = step is not None and abs(step - OFFSET) <= _SLACK
    for is_added, chosen, share, of_training in (
        (True, bright, training.bright_in_a_class, training.bright),
        (False, ~bright, training.dark_in_a_class, training.chips - training.bright),
    ):
        count = int(chosen.sum())
        # The probability of at least so many such chips, if each is one with the probability `share`.
        chance = float(bdtrc(count - 1, len(chips), share)) if count else 1.0
        among_all = _chance_among_all(count, len(chips), of_training, training.chips)
        # Most classes are dark, so that chips of one class are often all dark, and some of a class bright.
        is_many = is_added and count >= SUSPECT * len(chips) and among_all < _IMPOSSIBLE
        if chance > _UNLIKELY and not is_many and not (is_part and among_all < _UNLIKELY):
            continue
        # With the offset corrected, they must look like training chips: clouds and deserts are bright otherwise.
        corrected = float(np.median(darkest[chosen])) + (-OFFSET if is_added else OFFSET)
        low, high = training.darkest
        if low - _SLACK <= corrected <= high + _SLACK:
            is_certain = chance < _IMPOSSIBLE and count >= (ALMOST_ALL if is_added else MOST) * len(chips)
            if is_certain and not allow_offset:
                _refuse_offset(bright, training, spec, what, is_added)
            return [_describe_offset(bright, step, training, spec, what, is_added)]
    return []


def _measure_step(darkest: np.ndarray, bright: np.ndarray) -> float | None:
    """Return how much brighter the darkest pixels of the bright chips are than those of the dark ones.

    Args:
        darkest: (n,) reflectance of the darkest pixels of each chip.
        bright: (n,) whether the chip is bright.

    Returns:
        The difference of the medians; None if one of the groups is so small that its median says little.
    """
    if min(bright.sum(), (~bright).sum()) < MIN_CHIPS_OF_CLASS:
        return None
    return float(np.median(darkest[bright]) - np.median(darkest[~bright]))


def _chance_among_all(count: int, number: int, of_training: int, n_training: int) -> float:
    """Return the probability of at least so many such new chips, if they are drawn like all training chips.

    It is Fisher's exact test, one-sided. It knows that few training chips say little about the share of such chips.

    Args:
        count: number of such chips among the new ones.
        number: number of new chips.
        of_training: number of such chips among the training chips.
        n_training: number of training chips.
    """
    such, others = count + of_training, number - count + n_training - of_training
    ways = sum(comb(such, k) * comb(others, number - k) for k in range(count, min(such, number) + 1))
    return ways / comb(such + others, number)


def _check_negative(
    darkest: np.ndarray, training: TrainingPixels, spec: DatasetSpec, allow_offset: bool, what: str
) -> list[str]:
    """Refuse chips of which most have pixels far below 0, unlike the training chips."""
    count = int((darkest < min(NEGATIVE_REFLECTANCE, training.darkest[0] + NEGATIVE_REFLECTANCE)).sum())
    if count < max(MIN_CHIPS_OF_CLASS, MOST * len(darkest)):
        return []
    scale, unit = (DN_PER_REFLECTANCE, "DN") if spec.unit == "dn" else (1, "reflectance")
    found = f"pixels far below 0 in {count} of {len(darkest)} {what} that were looked at"
    low = f"dark pixels as in training, at {training.darkest[0] * scale:.3g} {unit} or above"
    if allow_offset:
        return [f"{found[0].upper()}{found[1:]}, and {low}. It is allowed."]
    raise StudyError(
        f"The {what} have an offset that makes dark pixels negative.",
        found=f"{found} (median {np.median(darkest) * scale:.3g} {unit})",
        expected=low,
        remedy=f"add {OFFSET * scale:g} {unit} if the offset of processing baseline 04.00 was subtracted from older "
        "products, or correct the offset tag; set allow_offset: true (--allow-offset) if the values are right",
    )


def _refuse_offset(
    bright: np.ndarray, training: TrainingPixels, spec: DatasetSpec, what: str, is_added: bool
) -> NoReturn:
    """Raise a StudyError for an offset of the new chips (`is_added`) or of the training chips."""
    offset = _in_unit(OFFSET, spec)
    verb, sign, land = ("subtract", "-", "bright") if is_added else ("add", "", "dark")
    having, lacking = (what, "training chips") if is_added else ("training chips", what)
    raise StudyError(
        f"The {having} have an offset that the {lacking} do not have.",
        found=_tally(bright, spec, what),
        expected=f"as in training: {training.bright} of {training.chips} training chips without such a pixel",
        remedy=f"{verb} the offset of Sentinel-2's processing baseline 04.00, {offset}, or give the files the offset "
        f"tag {sign}{offset.split()[0]} with the scale tag 1; set allow_offset: true (--allow-offset) if the land is "
        f"really that {land}",
    )


def _describe_offset(
    bright: np.ndarray, step: float | None, training: TrainingPixels, spec: DatasetSpec, what: str, is_added: bool
) -> str:
    """Return a warning about an offset that only the training chips, or only some or all of the new chips, may have.

    Args:
        bright: (n,) whether the chip is bright.
        step: how much brighter the darkest pixels of the bright chips are than those of the dark ones, if known.
        training: the training chips.
        spec: description of the study's dataset.
        what: `chips` or `windows of the scene`.
        is_added: whether there are too many bright chips, and not too many dark ones.
    """
    offset, n_bright, n_dark = _in_unit(OFFSET, spec), int(bright.sum()), int((~bright).sum())
    if is_added:
        cause, land = f"These {n_bright} may have an offset that the training chips do not have", "bright"
        act = f"subtract {offset} where the offset is, or give those files the offset tag -{offset.split()[0]}"
    else:
        cause, land = f"The training chips may have an offset that the other {n_dark} do not have", "dark"
        act = f"add {offset} where the offset is not, or give those files the offset tag {offset.split()[0]}"
    groups = ""
    if step is not None:
        alike = "about" if abs(step - OFFSET) <= _SLACK else "unlike"
        groups = (
            f" The darkest pixels of these {n_bright} are {_in_unit(step, spec)} brighter than those of the other "
            f"{n_dark}, {alike} the offset of {offset} that Sentinel-2 has since processing baseline 04.00."
        )
    return (
        f"{_tally(bright, spec, what)}; of the training chips, {training.bright} of {training.chips} have none."
        f"{groups} {cause}, and then predictions are wrong; or the land is {land}er than that of most training chips, "
        "as a single class can be. To do: see which processing baseline the products have (N0400 or later in their "
        f"names), and {act} with the scale tag 1; nothing if the land is really so {land}."
    )


def _tally(bright: np.ndarray, spec: DatasetSpec, what: str) -> str:
    dark_pixel = f"pixel below {_in_unit(OFFSET_REFLECTANCE, spec)} in any band"
    return f"{bright.sum()} of {len(bright)} {what} that were looked at have no {dark_pixel}"


def _in_unit(reflectance: float, spec: DatasetSpec) -> str:
    """Return a reflectance in the unit of the study, with its name."""
    return f"{reflectance * DN_PER_REFLECTANCE:.0f} DN" if spec.unit == "dn" else f"{reflectance:.3g} reflectance"


def _unit_text(spec: DatasetSpec) -> str:
    return f"DN (reflectance x {DN_PER_REFLECTANCE:,})" if spec.unit == "dn" else "reflectance (0..1)"
