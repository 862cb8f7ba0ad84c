"""Band statistics, the three normalisations, and a guard against inputs of the wrong scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from terralucas.data.dataset import DN_PER_REFLECTANCE
from terralucas.errors import StudyError

# TerraMind's own statistics of Sentinel-2 L2A (v1), in reflectance × 10,000: mean and standard deviation by band.
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
# Limits on the mean and spread of all normalised pixels of a band. A proper input has mean 0 and spread 1; under
# TerraMind's own statistics real chips stay within ±1.5 and 0.05 to 3; a unit mistaken by 10,000 is far outside.
_LARGEST_MEAN = 5.0
_SPREAD_RANGE = (0.01, 10.0)


@dataclass(frozen=True)
class BandStatistics:
    """Moments of reflectance by band over valid pixels, in float64.

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


def merge(count: np.ndarray, mean: np.ndarray, m2: np.ndarray) -> BandStatistics:
    """Moments of all pixels from the moments of each chip: exact, whatever the chips' sizes and gaps.

    Chan, Golub & LeVeque (1983), The American Statistician 37(3), eq. 1.5, for many parts at once.

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
            "Band statistics need at least one valid pixel in every band.",
            found=f"none in the band(s) at position {', '.join(str(band) for band in np.flatnonzero(total == 0))}",
            remedy="check dataset.bands and dataset.nodata",
        )
    # A band without valid pixels in one chip has weight 0 there; its mean is not a number and must not spread.
    means = np.where(weight > 0, mean, 0.0)
    grand = (weight * means).sum(axis=0) / total
    within = np.where(weight > 0, m2, 0.0).sum(axis=0)
    between = (weight * (means - grand) ** 2).sum(axis=0)
    return BandStatistics(total, grand, within + between)


@dataclass(frozen=True)
class Normaliser:
    """Maps reflectance to the model's input: (x − mean) / std by band; missing pixels take `fill` first.

    Attributes:
        kind: `dataset`, `train` or `pretraining`.
        mean: (bands,) subtracted, reflectance.
        std: (bands,) divided by, reflectance.
        fill: (bands,) value of missing pixels: the band's mean over the chips the statistics come from.
    """

    kind: str
    mean: np.ndarray
    std: np.ndarray
    fill: np.ndarray

    def __call__(self, chip: np.ndarray) -> np.ndarray:
        """Normalise a chip (bands, height, width) of reflectance with NaN where pixels are missing; float32."""
        shape = (-1, 1, 1)
        filled = np.where(np.isnan(chip), self.fill.reshape(shape), chip)
        return ((filled - self.mean.reshape(shape)) / self.std.reshape(shape)).astype(np.float32)


def make_normaliser(kind: str, statistics: BandStatistics, bands: Sequence[str]) -> Normaliser:
    """Build the normaliser of a study and refuse inputs whose scale can't be right.

    Args:
        kind: `dataset` or `train` (both use `statistics`) or `pretraining` (TerraMind's own).
        statistics: of the chips (all, or a split's training chips), reflectance.
        bands: names in their order on disk.

    Raises:
        StudyError: after normalisation a band's mean or spread lies absurdly far from what the backbone expects, or a
            band is constant.
    """
    # Rounding leaves a constant band a spread of some 1e-16 of its value.
    constant = [band for i, band in enumerate(bands) if not statistics.std[i] > 1e-9 * abs(statistics.mean[i])]
    if constant:
        raise StudyError(
            f"The band(s) {', '.join(constant)} have one value everywhere and can't be normalised.",
            expected="bands that vary over the chips",
            remedy="check dataset.bands and the files, or leave the band out",
        )
    if kind == "pretraining":
        dn = np.array([PRETRAINING_STATISTICS_DN[band] for band in bands])
        mean, std = (dn / DN_PER_REFLECTANCE).T
    else:
        mean, std = statistics.mean, statistics.std
    guard_scale(statistics, bands)
    return Normaliser(kind, mean, std, statistics.mean)


def normaliser_of_index(
    index: pa.Table, kind: str, bands: Sequence[str], rows: np.ndarray | None
) -> tuple[Normaliser, dict[str, Any]]:
    """The normaliser from the moments in the index, for which no chip is read, and its record.

    Args:
        index: chips.parquet.
        kind: `dataset`, `train` or `pretraining`.
        bands: names in their order on disk.
        rows: of the chips whose statistics count; None for all.

    Raises:
        StudyError: as `make_normaliser`.
    """
    chosen = np.arange(len(index)) if rows is None else rows
    moments = (np.array(index[name].to_pylist())[chosen] for name in ("valid_pixels", "band_mean", "band_m2"))
    normaliser = make_normaliser(kind, merge(*moments), bands)
    record: dict[str, Any] = {"kind": kind, "chips": len(chosen)}
    for name in ("mean", "std", "fill"):
        record[name] = dict(zip(bands, map(float, getattr(normaliser, name)), strict=True))
    return normaliser, record


def guard_scale(statistics: BandStatistics, bands: Sequence[str]) -> None:
    """Refuse chips whose reflectance, in TerraMind's own units, lies where no Sentinel-2 scene does.

    TerraMind's statistics are the yardstick under every normalisation: statistics of the chips themselves always
    bring mean 0 and spread 1 and would hide a wrong unit.

    Raises:
        StudyError: naming the bands, their figures and the likely cause.
    """
    dn = np.array([PRETRAINING_STATISTICS_DN[band] for band in bands])
    reference_mean, reference_std = (dn / DN_PER_REFLECTANCE).T
    mean = (statistics.mean - reference_mean) / reference_std
    spread = statistics.std / reference_std
    wrong = (np.abs(mean) > _LARGEST_MEAN) | (spread < _SPREAD_RANGE[0]) | (spread > _SPREAD_RANGE[1])
    if not np.any(wrong):
        return
    figures = ", ".join(
        f"{band} mean {statistics.mean[i]:.4g} std {statistics.std[i]:.4g}" for i, band in enumerate(bands) if wrong[i]
    )
    if np.median(statistics.mean) > 1.0:
        cause = "the chips hold DN (reflectance × 10,000): set dataset.unit to dn"
    elif np.median(statistics.mean) < 0.001:
        cause = "the chips hold reflectance 0 to 1 but dataset.unit says dn: set it to reflectance"
    else:
        cause = "dataset.bands names the bands in another order than they have on disk, or the files are no Sentinel-2"
    raise StudyError(
        "The scale of the chips can't be right for TerraMind.",
        found=f"reflectance of {figures}",
        expected="means around " + ", ".join(f"{band} {reference_mean[i]:.2f}" for i, band in enumerate(bands)),
        remedy=cause,
    )
