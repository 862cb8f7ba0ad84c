"""Band statistics, the three normalisations, and a check that the unit of the chips is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from terralucas.data.dataset import DN_PER_REFLECTANCE
from terralucas.errors import StudyError

# Statistics of Sentinel-2 L2A from TerraMind's pre-training (v1): mean and standard deviation, reflectance × 10,000.
# Source: terratorch, models/backbones/terramind/model/terramind_register.py, v1_pretraining_mean and _std.
PRETRAINING_STATISTICS_DN = {
    "COASTAL_AEROSOL": (1390.458, 2106.761),
    "BLUE": (1503.317, 2141.107),
    "GREEN": (1718.197, 2038.973),
    "RED": (1853.91, 2134.138),
    "RED_EDGE_1": (2199.1, 2085.321),
    "RED_EDGE_2": (2779.975, 1889.926),
    "RED_EDGE_3": (2987.011, 1820.257),
    "NIR_BROAD": (3083.234, 1871.918),
    "NIR_NARROW": (3132.22, 1753.829),
    "WATER_VAPOR": (3162.988, 1797.379),
    "SWIR_1": (2424.884, 1434.261),
    "SWIR_2": (1857.648, 1334.311),
}
# Limits on the mean and the standard deviation of the normalised pixels of a band, which should be near 0 and 1. With
# TerraMind's statistics, real chips have means within ±1.5 and standard deviations from 0.05 to 3. A wrong unit (a
# factor of 10,000) is far outside.
LARGEST_MEAN = 5.0
_STD_RANGE = (0.01, 10.0)


@dataclass(frozen=True)
class BandStatistics:
    """Moments of the reflectance of each band over its valid pixels, in float64.

    Attributes:
        count: (bands,) number of valid pixels.
        mean: (bands,) mean.
        m2: (bands,) sum of squared deviations from the mean.
    """

    count: np.ndarray
    mean: np.ndarray
    m2: np.ndarray

    @property
    def std(self) -> np.ndarray:
        """(bands,) population standard deviation."""
        return np.sqrt(self.m2 / self.count)


def measure_chip(values: np.ndarray) -> BandStatistics:
    """Compute the moments of one chip; the mean of a band without a valid pixel is NaN.

    Args:
        values: (bands, height, width) float32 reflectance, NaN for missing pixels.
    """
    count, mean, m2 = (np.zeros(len(values)) for _ in range(3))
    for number, band in enumerate(values):  # band by band, the float64 copy stays in the processor's cache
        is_valid = ~np.isnan(band)
        present = band[is_valid].astype(np.float64) if not is_valid.all() else band.astype(np.float64).ravel()
        count[number], mean[number] = len(present), present.mean() if len(present) else np.nan
        present -= mean[number]
        m2[number] = np.square(present, out=present).sum()
    return BandStatistics(count, mean, m2)


def merge(count: np.ndarray, mean: np.ndarray, m2: np.ndarray) -> BandStatistics:
    """Compute the moments of all pixels from the moments of each chip.

    The result is exact, also for chips of different sizes and with missing pixels. Source: Chan, Golub & LeVeque
    (1983), The American Statistician 37(3), eq. 1.5, for many parts at once.

    Args:
        count: (chips, bands) valid pixels.
        mean: (chips, bands) mean over valid pixels.
        m2: (chips, bands) sum of squared deviations from the chip's mean.

    Raises:
        StudyError: a band has no valid pixel in any chip.
    """
    weight = np.asarray(count, dtype=np.float64)
    total = weight.sum(axis=0)
    if np.any(total == 0):
        raise StudyError(
            "Band statistics need at least one valid pixel in each band.",
            found=f"no valid pixel in the band(s) at position {', '.join(map(str, np.flatnonzero(total == 0)))}",
            expected="a valid pixel in each band of some chip",
            remedy="check dataset.bands and dataset.nodata",
        )
    # If a band of a chip has no valid pixel, its weight is 0 and its mean is NaN, which must not enter the sum.
    means = np.where(weight > 0, mean, 0.0)
    grand = (weight * means).sum(axis=0) / total
    within = np.where(weight > 0, m2, 0.0).sum(axis=0)
    between = (weight * (means - grand) ** 2).sum(axis=0)
    return BandStatistics(total, grand, within + between)


@dataclass(frozen=True)
class Normaliser:
    """Function from reflectance to the input of the model: (x − mean) / std of each band.

    Missing pixels are first replaced by `fill`.

    Attributes:
        kind: `dataset`, `train` or `pretraining`.
        mean: (bands,) reflectance that is subtracted.
        std: (bands,) reflectance by which the difference is divided.
        fill: (bands,) reflectance of missing pixels: the mean of the band in the chips of the statistics.
    """

    kind: str
    mean: np.ndarray
    std: np.ndarray
    fill: np.ndarray

    def __call__(self, chips: np.ndarray) -> np.ndarray:
        """Normalise chips (..., bands, height, width) of reflectance with NaN for missing pixels; return float32."""
        if chips.shape[-3] != len(self.mean):
            raise ValueError(f"chips of {chips.shape[-3]} bands, and statistics of {len(self.mean)}")
        normalised = np.empty(chips.shape, dtype=np.float32)
        # One band of one chip at a time, so that the float64 copy stays in the processor's cache.
        for place in np.ndindex(chips.shape[:-2]):
            band, values = place[-1], chips[place].astype(np.float64)
            missing = np.isnan(values)
            if missing.any():
                values[missing] = self.fill[band]
            values -= self.mean[band]
            values /= self.std[band]
            normalised[place] = values
        return normalised


def make_normaliser(kind: str, statistics: BandStatistics, bands: Sequence[str]) -> Normaliser:
    """Build the normaliser of a study, after checking the scale of the chips.

    Args:
        kind: `dataset` or `train` (both use `statistics`), or `pretraining` (TerraMind's statistics).
        statistics: statistics of all chips or of the training chips, in reflectance.
        bands: names of the bands in their order on disk.

    Raises:
        StudyError: mean or standard deviation of a band is impossible for Sentinel-2, or a band is constant.
    """
    # Because of rounding, the standard deviation of a constant band is not 0 but about 1e-16 times its value.
    constant = [band for i, band in enumerate(bands) if not statistics.std[i] > 1e-9 * abs(statistics.mean[i])]
    if constant:
        raise StudyError(
            f"The band(s) {', '.join(constant)} have one value everywhere and can't be normalised.",
            found="a standard deviation of 0",
            expected="bands that vary over the chips",
            remedy="check dataset.bands and the files, or remove the band",
        )
    if kind == "pretraining":
        dn = np.array([PRETRAINING_STATISTICS_DN[band] for band in bands])
        mean, std = (dn / DN_PER_REFLECTANCE).T
    else:
        mean, std = statistics.mean, statistics.std
    check_scale(statistics, bands)
    return Normaliser(kind, mean, std, statistics.mean)


def normaliser_of_index(
    index: pa.Table, kind: str, bands: Sequence[str], rows: np.ndarray | None
) -> tuple[Normaliser, dict[str, Any]]:
    """Build the normaliser from the moments in the index, without reading a chip.

    Args:
        index: the table chips.parquet.
        kind: `dataset`, `train` or `pretraining`.
        bands: names of the bands in their order on disk.
        rows: row numbers of the chips for the statistics; None for all chips.

    Returns:
        The normaliser, and its record for JSON.

    Raises:
        StudyError: see `make_normaliser`.
    """
    chosen = np.arange(len(index)) if rows is None else rows
    moments = (np.array(index[name].to_pylist())[chosen] for name in ("valid_pixels", "band_mean", "band_m2"))
    normaliser = make_normaliser(kind, merge(*moments), bands)
    record: dict[str, Any] = {"kind": kind, "chips": len(chosen)}
    for name in ("mean", "std", "fill"):
        record[name] = dict(zip(bands, map(float, getattr(normaliser, name)), strict=True))
    return normaliser, record


def check_scale(statistics: BandStatistics, bands: Sequence[str]) -> None:
    """Raise an error if the reflectance of the chips is impossible for Sentinel-2.

    The chips are always compared with TerraMind's statistics. With statistics of the chips themselves, mean and
    standard deviation would always be 0 and 1, also with a wrong unit.

    Raises:
        StudyError: it names the bands, their means and standard deviations, and the likely cause.
    """
    dn = np.array([PRETRAINING_STATISTICS_DN[band] for band in bands])
    reference_mean, reference_std = (dn / DN_PER_REFLECTANCE).T
    mean = (statistics.mean - reference_mean) / reference_std
    std = statistics.std / reference_std
    wrong = (np.abs(mean) > LARGEST_MEAN) | (std < _STD_RANGE[0]) | (std > _STD_RANGE[1])
    if not np.any(wrong):
        return
    figures = ", ".join(
        f"{band} mean {statistics.mean[i]:.4g} std {statistics.std[i]:.4g}" for i, band in enumerate(bands) if wrong[i]
    )
    if np.median(statistics.mean) > 1.0:
        remedy = "the chips seem to be DN (reflectance × 10,000): set dataset.unit to dn"
    elif np.median(statistics.mean) < 0.001:
        remedy = "the chips seem to be reflectance 0 to 1, but dataset.unit is dn: set it to reflectance"
    else:
        remedy = "check that dataset.bands has the order of the bands on disk, and that the files are from Sentinel-2"
    raise StudyError(
        "The scale of the chips can't be right for TerraMind.",
        found=f"reflectance of {figures}",
        expected="means around " + ", ".join(f"{band} {reference_mean[i]:.2f}" for i, band in enumerate(bands)),
        remedy=remedy,
    )
