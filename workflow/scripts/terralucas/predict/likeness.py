"""Compare the pixels of new chips, or of windows of a scene, with those of the training chips of a study.

A wrong scale, or the offset of Sentinel-2's processing baseline 04.00 in only one of the two, changes every prediction
and no single chip shows it for certain. Many chips do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import bdtrc

from terralucas.data.band_order import NEAR_INFRARED, VISIBLE
from terralucas.data.chip_checks import measure_darkest
from terralucas.data.dataset import DN_PER_REFLECTANCE, DatasetSpec
from terralucas.data.group_checks import (
    ALMOST_ALL,
    MIN_CHIPS_OF_CLASS,
    MOST,
    NEGATIVE_REFLECTANCE,
    OFFSET_REFLECTANCE,
)
from terralucas.data.normalisation import LARGEST_MEAN, PRETRAINING_STATISTICS_DN
from terralucas.errors import StudyError

# Since processing baseline 04.00, Sentinel-2's products hold DN + 1,000.
_OFFSET = 0.1
# Probability of so many bright (or dark) chips in the class that has most of them, below which it is said, and below
# which it is certain.
_UNLIKELY, _IMPOSSIBLE = 0.05, 1e-4
# Median over the chips of the ratio to the median training chip, in their brightest and in their dimmest band, beyond
# which it is said, and from how many chips on. Between any two classes of 100 real chips (EuroSAT), the first is at
# least 0.62 and the second at most 1.63; chips of a third of their values have 0.39, and of three times 2.36.
_DIM, _BRIGHT, _MIN_CHIPS = 0.5, 2.0, 10
# Largest ratio of the brightest to the dimmest band, both relative to the training chips, of one factor for all bands.
_UNEQUAL = 3.0
# No vegetation reflects more in the near infrared, and snow and clouds are about as bright in the visible bands.
_BRIGHTEST_VEGETATION, _FLAT = 0.75, 1.5
# How far outside those of the training chips the darkest pixels may be, in reflectance.
_SLACK = 0.02


@dataclass(frozen=True)
class TrainingPixels:
    """What the pixels of the training chips look like.

    A chip is bright if almost no pixel of it is below the offset of baseline 04.00 in any band
    (`terralucas.data.chip_checks.measure_darkest`), and otherwise dark.

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
    chips: Sequence[np.ndarray], training: TrainingPixels, spec: DatasetSpec, allow_offset: bool, what: str
) -> list[str]:
    """Check that the scale and the offset of new pixels can be those of the training chips.

    Args:
        chips: (bands, height, width) reflectance of each chip or window that was looked at; NaN for missing pixels.
        training: the training chips.
        spec: description of the study's dataset.
        allow_offset: whether the pixels may be brighter or darker than those of the training chips by the offset.
        what: `chips` or `windows of the scene`.

    Returns:
        What may be wrong and is not certain.

    Raises:
        StudyError: the pixels have another scale or offset.
    """
    means = np.array([np.nanmean(values, axis=(1, 2), dtype=np.float64) for values in chips])
    _refuse_impossible_means(means, spec, what)
    _refuse_impossible_vegetation(means, spec, what)
    return [*_check_brightness(means, training, spec, what), *_check_offset(chips, training, spec, allow_offset, what)]


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
    if not usable.any():
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
    chips: Sequence[np.ndarray], training: TrainingPixels, spec: DatasetSpec, allow_offset: bool, what: str
) -> list[str]:
    """Compare how many chips have dark pixels, as `terralucas.data.group_checks.check_class_offsets` does."""
    darkest = np.array([measure_darkest(values) for values in chips])
    negative = _check_negative(darkest, training, spec, allow_offset, what)
    if negative or "RED" not in spec.bands:
        return negative
    bright = is_bright(darkest)
    for is_added, chosen, share in (
        (True, bright, training.bright_in_a_class),
        (False, ~bright, training.dark_in_a_class),
    ):
        count = int(chosen.sum())
        # The probability of at least so many such chips, if each is one with the probability `share`.
        chance = float(bdtrc(count - 1, len(chips), share)) if count else 1.0
        if chance > _UNLIKELY:
            continue
        # With the offset corrected, they must look like training chips: clouds and deserts are bright otherwise.
        corrected = float(np.median(darkest[chosen])) + (-_OFFSET if is_added else _OFFSET)
        low, high = training.darkest
        if low - _SLACK <= corrected <= high + _SLACK:
            is_certain = chance < _IMPOSSIBLE and count >= (ALMOST_ALL if is_added else MOST) * len(chips)
            return [_report_offset(bright, training, spec, what, is_added, is_certain and not allow_offset)]
    return []


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
        remedy=f"add {_OFFSET * scale:g} {unit} if the offset of processing baseline 04.00 was subtracted from older "
        "products, or correct the offset tag; set allow_offset: true (--allow-offset) if the values are right",
    )


def _report_offset(
    bright: np.ndarray, training: TrainingPixels, spec: DatasetSpec, what: str, is_added: bool, is_error: bool
) -> str:
    """Return the text of a warning about an offset of the new chips (`is_added`) or of the training chips.

    Raises:
        StudyError: it is an error.
    """
    scale, unit = (DN_PER_REFLECTANCE, "DN") if spec.unit == "dn" else (1, "reflectance")
    dark_pixels = f"pixel below {OFFSET_REFLECTANCE * scale:g} {unit} in any band"
    tally = f"{bright.sum()} of {len(bright)} {what} that were looked at have no {dark_pixels}"
    of_training = f"{training.bright} of {training.chips} training chips without such a pixel"
    verb, sign, land = ("subtract", "-", "bright") if is_added else ("add", "", "dark")
    remedy = (
        f"{verb} the offset of Sentinel-2's processing baseline 04.00, {_OFFSET * scale:g} {unit}, or give the files "
        f"the offset tag {sign}{_OFFSET * scale:g} with the scale tag 1; set allow_offset: true (--allow-offset) if "
        f"the land is really that {land}"
    )
    if is_error:
        having, lacking = (what, "training chips") if is_added else ("training chips", what)
        raise StudyError(
            f"The {having} have an offset that the {lacking} do not have.",
            found=tally,
            expected=f"as in training: {of_training}",
            remedy=remedy,
        )
    return f"{tally}, and {of_training}: one of them may have an offset that the other does not have. To do: {remedy}."


def _unit_text(spec: DatasetSpec) -> str:
    return f"DN (reflectance x {DN_PER_REFLECTANCE:,})" if spec.unit == "dn" else "reflectance (0..1)"
