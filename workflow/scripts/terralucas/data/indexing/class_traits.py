"""Find classes whose chips were processed in another way than those of the other classes.

Such chips give a class away, as other units and orders of bands do (`terralucas.data.indexing.group_checks`): models
tell it without any land cover. Each trait is measured in chips alone, and compared class by class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from terralucas.data.chips.sampling import find_quantiles, present_values, sample_pixels
from terralucas.data.dataset import DatasetSpec
from terralucas.data.normalisation import BandStatistics
from terralucas.errors import StudyError

# Those with pixels of 10 m, which COASTAL_AEROSOL has not.
_VISIBLE = ("BLUE", "GREEN", "RED")
# Classes of fewer chips, or beside fewer other chips, are not compared.
_MIN_CHIPS, _MIN_OTHERS = 5, 20
# A class is told by a trait if almost all of its chips have it, and few of the other classes.
_ALMOST_ALL, _FEW = 0.9, 0.4
# Neighbours in visible bands of chips that were interpolated from pixels of twice the size differ less than this. Of
# 64-px chips of Sentinel-2 (EuroSAT, 10 classes), 9 % are below it, and half of a class at most; of the same chips
# after bilinear interpolation by 2, all, and 7 in 10 of lakes.
_SMOOTH = 0.345
# Pixels on a side that are looked at, in the middle.
_MIDDLE_PX = 64
# Share of equal neighbours: 1/2 and more where pixels were repeated. Of the same chips as they are, at most 0.03.
_REPEATED = 0.3
# The atmosphere adds so much to the darkest pixels in blue, and little beyond the near infrared: 0.06 to 0.1 above
# Italy. Snow and clouds add more.
_HAZE, _SNOW, _LITTLE = 0.04, 0.15, 0.5
# Of chips that were scaled one by one, extremes or moments of all bands differ by at most this share of their range or
# spread: by rounding, and by what was added to a denominator. Clouds and shade whose values are cut off differ more.
_SAME_RANGE, _SAME_MOMENTS = 0.005, 0.02
# Pixels at which all bands are cut off, at least.
_CUT_OFF_PX = 5
# Bands of mere noise agree without any scaling.
_NOISE = 0.9
# Fewer bands than four, such as the visible ones, can be cut off at different pixels.
_MIN_BANDS, _MIN_STRETCHED, _HALF = 4, 3, 0.5


@dataclass(frozen=True)
class Traits:
    """What a chip shows of its processing.

    Attributes:
        darkest: (bands,) reflectance below which 1 % of the pixels of each band are.
        roughness: mean squared difference between direct neighbours, divided by that between pixels two steps apart, in
            the visible bands, or in all if none is visible; the mean of rows and columns. 1 is that of noise, 1/4 that
            of ground without any detail; NaN where all pixels are equal.
        repeated: share of the neighbours in rows and columns that are equal in every band: 1/2 where each pixel is
            repeated twice each way.
        is_stretched: whether all bands have the same smallest and largest value, or the same mean and spread.
    """

    darkest: np.ndarray
    roughness: float
    repeated: float
    is_stretched: bool


def measure_traits(values: np.ndarray, moments: BandStatistics, spec: DatasetSpec) -> Traits:
    """Measure the traits of a chip.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels; each band has a value.
        moments: moments of the bands.
        spec: description of the dataset.
    """
    sample = sample_pixels(values).reshape(len(values), -1)
    if np.isfinite(sample).all():
        darkest = find_quantiles(sample, [0.01])[0]
    else:
        bands = [
            some if (some := present_values(shown)).size else present_values(whole)
            for shown, whole in zip(sample, values, strict=True)
        ]
        darkest = np.array([find_quantiles(band, [0.01])[0] for band in bands])
    top, left = (max((side - _MIDDLE_PX) // 2, 0) for side in values.shape[1:])
    middle = values[:, top : top + _MIDDLE_PX, left : left + _MIDDLE_PX]
    roughness = _measure_roughness(middle, spec.bands)
    return Traits(darkest, roughness, _measure_repeated(middle), roughness < _NOISE and _is_stretched(values, moments))


def _measure_roughness(values: np.ndarray, bands: Sequence[str]) -> float:
    chosen = [number for number, band in enumerate(bands) if band in _VISIBLE] or list(range(len(bands)))
    shown = values[chosen]
    ratios = [_compare_neighbours(direction) for direction in (shown, shown.swapaxes(1, 2))]
    return float(np.mean([ratio for ratio in ratios if ratio is not None] or [np.nan]))


def _compare_neighbours(values: np.ndarray) -> float | None:
    """Return the mean squared difference between next rows, divided by that of rows two steps apart; None without."""
    near, far = values[:, 1:] - values[:, :-1], values[:, 2:] - values[:, :-2]
    near, far = present_values(near), present_values(far)
    if not near.size or not far.any():
        return None
    return float(np.square(near).mean(dtype=np.float64) / np.square(far).mean(dtype=np.float64))


def _measure_repeated(values: np.ndarray) -> float:
    rows, columns = values[:, 1:] == values[:, :-1], values[:, :, 1:] == values[:, :, :-1]
    return float(np.mean([each.all(axis=0).mean() for each in (rows, columns) if each.size] or [0.0]))


def _is_stretched(values: np.ndarray, moments: BandStatistics) -> bool:
    pixels = values.reshape(len(values), -1)
    lowest, highest = np.fmin.reduce(pixels, axis=1), np.fmax.reduce(pixels, axis=1)
    spread = np.sqrt(moments.m2 / moments.count)
    is_same_range = max(np.ptp(lowest), np.ptp(highest)) <= _SAME_RANGE * (highest - lowest).min()
    if is_same_range:
        is_same_range = not any(_is_cut_off(pixels == ends[:, None]) for ends in (lowest, highest))
    is_same_moments = max(np.ptp(moments.mean), np.ptp(spread)) <= _SAME_MOMENTS * spread.min()
    return bool(len(values) >= _MIN_BANDS and (is_same_range or is_same_moments))


def _is_cut_off(is_extreme: np.ndarray) -> bool:
    """Return whether the extremes (bands, pixels) of all bands are at the same pixels, as where clouds are cut off.

    A stretch of each band leaves its extremes where they were: at a single pixel, or mostly at other pixels than those
    of the other bands.
    """
    return bool(is_extreme.all(axis=0).sum() >= max(_CUT_OFF_PX, is_extreme.sum(axis=1).min() / 2))


def refuse_stretched_classes(traits: Mapping[str, Sequence[Traits]], spec: DatasetSpec) -> None:
    """Raise an error if the chips of a class were scaled one by one.

    Args:
        traits: class code → traits of its chips.
        spec: description of the dataset.

    Raises:
        StudyError: at least 3 chips of a class, and half of it, have the same extremes or moments in every band.
    """
    counts = {code: sum(chip.is_stretched for chip in own) for code, own in traits.items()}
    found = [code for code, n in counts.items() if n >= max(_MIN_STRETCHED, _HALF * len(traits[code]))]
    if not found or spec.checks.allow_stretched:
        return
    raise StudyError(
        f"Chips of {len(found)} class(es) of dataset {spec.name!r} were scaled one by one.",
        found="the same smallest and largest value, or the same mean and standard deviation, in every band: "
        + "; ".join(f"class {code}: {counts[code]} of {len(traits[code])} chips" for code in found),
        expected="reflectance, whose range differs from band to band and from chip to chip",
        remedy="write the chips again from the product without stretching or normalising them; set "
        "dataset.checks.allow_stretched: true if they are right",
    )


def describe_smooth_classes(traits: Mapping[str, Sequence[Traits]], spec: DatasetSpec) -> str | None:
    """Return a sentence about classes whose chips seem to be resampled from larger pixels; None without any.

    Args:
        traits: class code → traits of its chips.
        spec: description of the dataset. Without visible bands, all pixels may be resampled ones.
    """
    if set(_VISIBLE).isdisjoint(spec.bands):
        return None
    smooth = {
        code: [chip.roughness < _SMOOTH or chip.repeated > _REPEATED for chip in own] for code, own in traits.items()
    }
    found = _telling_classes(smooth)
    if not found:
        return None
    return (
        f"the chips of some classes are smoother than most chips of the others ({_tally(smooth, found)}): if they were "
        "made from coarser pixels, models can tell these classes by it, without any land cover. Make the chips of all "
        "classes in the same way"
    )


def describe_hazy_classes(traits: Mapping[str, Sequence[Traits]], spec: DatasetSpec) -> str | None:
    """Return a sentence about classes of which the atmosphere seems to be corrected in another way; None without any.

    Args:
        traits: class code → traits of its chips.
        spec: description of the dataset.
    """
    if "BLUE" not in spec.bands or not {"SWIR_1", "SWIR_2"} & set(spec.bands):
        return None
    blue = spec.bands.index("BLUE")
    beyond = next(spec.bands.index(band) for band in ("SWIR_2", "SWIR_1") if band in spec.bands)
    darkest = {code: np.array([chip.darkest for chip in own])[:, [blue, beyond]] for code, own in traits.items()}
    # The median of the classes, because the one with most chips may be the one that differs. Of an even number, the
    # lower one of the two in the middle: if half of the classes differ, it is that of one of them.
    usual = np.quantile([np.median(own, axis=0) for own in darkest.values()], 0.5, axis=0, method="lower")
    shifts = {code: np.median(own, axis=0) - usual for code, own in darkest.items() if len(own) >= _MIN_CHIPS}

    def shows(own: np.ndarray, shift: np.ndarray) -> np.ndarray:
        return np.sign(shift[0]) * (own[:, 0] - usual[0]) > abs(shift[0]) / 2

    suspects = {
        code: shift
        for code, shift in shifts.items()
        if _HAZE <= abs(shift[0]) <= _SNOW
        and -1 <= shift[1] / shift[0] <= _LITTLE
        and shows(darkest[code], shift).mean() >= _ALMOST_ALL
    }
    rest = np.concatenate([own for code, own in darkest.items() if code not in suspects] or [np.empty((0, 2))])
    found = [
        f"class {code}: {shift[0]:+.2f} in BLUE, {shift[1]:+.2f} in {spec.bands[beyond]}"
        for code, shift in suspects.items()
        if len(rest) >= _MIN_OTHERS and shows(rest, shift).mean() <= 1 - _ALMOST_ALL
    ]
    if not found:
        return None
    return (
        "the darkest pixels of some classes differ from those of the others in the visible bands, and not in the same "
        f"way in the infrared ({'; '.join(found)}): if the atmosphere was corrected in some of the files alone "
        "(Level-1C and Level-2A), models can tell these classes by it, without any land cover"
    )


def describe_satellites(named: Mapping[str, Sequence[str]]) -> str | None:
    """Return a sentence about classes whose chips seem to be of another satellite than the others; None without any.

    Args:
        named: class code → satellites that files of its chips name. Chips whose files name none are left out.
    """
    found = []
    for satellite in sorted({name for own in named.values() for name in own}):
        # Landsat may be Landsat 8 or 9.
        is_named = {
            code: [name == satellite for name in own if name == satellite or not _may_be_same(name, satellite)]
            for code, own in named.items()
        }
        if classes := _telling_classes(is_named):
            found.append(f"{satellite} ({_tally(is_named, classes)})")
    if not found:
        return None
    return (
        f"the files of some classes name another satellite than most files of the others, {' and '.join(found)}: "
        "models can tell these classes by it, without any land cover. Make the chips of all classes from the same "
        "satellites"
    )


def _may_be_same(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _telling_classes(has_trait: Mapping[str, Sequence[bool]]) -> list[str]:
    """Return the classes of which almost all chips have a trait that few chips of the other classes have."""
    found = [code for code, own in has_trait.items() if len(own) >= _MIN_CHIPS and np.mean(own) >= _ALMOST_ALL]
    others = [value for code, own in has_trait.items() if code not in found for value in own]
    return found if len(others) >= _MIN_OTHERS and np.mean(others) <= _FEW else []


def _tally(has_trait: Mapping[str, Sequence[bool]], found: Sequence[str]) -> str:
    others = [value for code, own in has_trait.items() if code not in found for value in own]
    classes = "; ".join(f"class {code}: {sum(has_trait[code])} of {len(has_trait[code])}" for code in found)
    return f"{classes}; other classes: {sum(others)} of {len(others)}"
