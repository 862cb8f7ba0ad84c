"""Simulate LUCAS chips of Italy in an archive with the layout of the real data, for studies without the real data.

The landscapes are invented. The grid of points, the class shares and the statistics of the spectra are real: means,
standard deviations and band correlations are those of LUCAS points in Sentinel-2 images (see assets/README.md). The
spectra of the classes therefore overlap, and no classifier can be right for all chips.
"""

from __future__ import annotations

import gzip
import io
import logging
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.fft
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from scipy.spatial import cKDTree
from tqdm import tqdm

from terralucas.data.chips.chip_files import SIMULATED_TAG
from terralucas.data.discovery.lucas import ITALY_CLASSES, format_point_id, italy_class_counts, italy_grid_points
from terralucas.errors import StudyError
from terralucas.files import atomic_path
from terralucas.geography import ASSETS, EPSG

logger = logging.getLogger(__name__)

ROOT = "Lucas_Chips_Geo_Italy"
PIXEL_M = 30.0
SMALLEST_SIZE_PX = 16
# Names of the six bands of the study in the table of spectra, in their order on disk.
TABLE_BANDS = ("red", "green", "blue", "nir", "swir1", "swir2")
IMPOSSIBLE_CODE = 10
# Row numbers of the covers of roads, rivers and the sea.
ARTIFICIAL, INLAND_WATER, COASTAL_WATER = 6, 7, 8
TEXTURE_COMPONENTS = 2
# Path radiance (haze) decreases with wavelength.
HAZE_BY_BAND = np.array([0.55, 0.75, 1.0, 0.25, 0.08, 0.04], dtype=np.float32)
CLOUD_BY_BAND = np.array([0.62, 0.62, 0.64, 0.66, 0.48, 0.36], dtype=np.float32)
# Chips close to each other look similar: half of the variance between chips of a cover is variance between regions.
REGION_KM = 50.0
REGION_SHARE = 0.5
# Archives made on macOS can have an additional file for each file, which starts with these bytes.
APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(96)


@dataclass(frozen=True)
class Covers:
    """Spectra and spatial properties of K land covers; row k is the cover with LUCAS code k + 1.

    The reflectance of a cover is multivariate log-normal over B bands: `log_mean` (K, B) is the mean of the
    logarithm. `log_root` (K, B, B) is a root of its covariance, root @ root.T; its columns are the principal
    components, the largest first.
    """

    log_mean: np.ndarray
    log_root: np.ndarray
    parcel_share: np.ndarray
    texture_share: np.ndarray
    wobble: np.ndarray
    coast_chance: np.ndarray
    neighbours: np.ndarray


@dataclass(frozen=True)
class Point:
    """A simulated LUCAS point; `region` (K, B), unit normal, is how the covers deviate from their means there."""

    point_id: str
    code: int
    easting_m: float
    northing_m: float
    region: np.ndarray


def write_archive(path: Path, *, chips: int, size_px: int, seed: int, progress: bool = True) -> None:
    """Write simulated chips as a .tar.gz archive: a folder for each class, a GeoTIFF for each chip, and a CSV table.

    Like the real archive, it also contains metadata files of macOS and a truncated copy of itself. The same arguments
    give the same bytes.

    Args:
        path: path of the archive, which is written atomically.
        chips: number of chips, at least one for each class.
        size_px: height and width of a chip in pixels of 30 m.
        seed: seed of all random numbers.
        progress: show a progress bar.

    Raises:
        StudyError: there are fewer chips than classes or more than points on the grid, or the chips are too small.
    """
    if size_px < SMALLEST_SIZE_PX:
        raise StudyError(
            "Simulated chips are too small to show a landscape.",
            found=f"{size_px} px",
            expected=f"at least {SMALLEST_SIZE_PX} px",
            remedy="set `size_px` of the simulated source to a larger number",
        )
    points = draw_points(chips, np.random.default_rng([seed, 0]))
    landscape = Landscape(load_covers(), size_px)
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        members = _members(points, landscape, seed)
        for name, content in tqdm(
            members, total=chips + 4 + 2 * len(ITALY_CLASSES), unit="file", desc="simulate", disable=not progress
        ):
            archive.addfile(*_member(name, content))
    logger.info("Simulated %d chips of %d x %d px: %s", chips, size_px, size_px, path)


def _member(name: str, content: bytes | None) -> tuple[tarfile.TarInfo, io.BytesIO | None]:
    """Return header and content of a file of the archive, or of a folder if there is no content."""
    member = tarfile.TarInfo(f"{ROOT}/{name}")
    if content is None:
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        return member, None
    member.size = len(content)
    return member, io.BytesIO(content)


def _members(points: list[Point], landscape: Landscape, seed: int) -> Iterator[tuple[str, bytes | None]]:
    """Yield name inside the root folder and content (None for a folder) of each member, ordered by name."""
    table = pd.DataFrame({"Point_ID": [p.point_id for p in points], "STR18": [p.code for p in points]})
    labels = table.to_csv(index=False, lineterminator="\n").encode()
    copy_of_itself = gzip.compress(labels, mtime=0)
    yield "", None
    yield "._chips_LC_class.csv", APPLE_DOUBLE
    folder = None
    for index, point in sorted(enumerate(points), key=lambda item: (str(item[1].code), item[1].point_id)):
        if point.code != folder:
            folder = point.code
            yield f"{folder}/", None
            yield f"{folder}/._{point.point_id}.tif", APPLE_DOUBLE
        chip = landscape.draw(point, np.random.default_rng([seed, 1, index]))
        yield f"{point.code}/{point.point_id}.tif", geotiff(chip, point)
    yield f"{ROOT}.tar.gz", copy_of_itself[: len(copy_of_itself) // 2]
    yield "chips_LC_class.csv", labels


def geotiff(chip: np.ndarray, point: Point) -> bytes:
    """Return a GeoTIFF of a chip (B, H, W), centred on its point."""
    bands, height, width = chip.shape
    west, north = point.easting_m - width * PIXEL_M / 2, point.northing_m + height * PIXEL_M / 2
    profile = {
        "driver": "GTiff",
        "count": bands,
        "height": height,
        "width": width,
        "dtype": str(chip.dtype),
        "crs": _crs(),
        "transform": Affine(PIXEL_M, 0, west, 0, -PIXEL_M, north),
        "interleave": "band",
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(chip)
            dataset.update_tags(**SIMULATED_TAG)
        return memory.read()


@lru_cache
def _crs() -> CRS:
    return CRS.from_epsg(EPSG)


def load_covers() -> Covers:
    """Load the covers of the study from the tables in assets/.

    The moments of the logarithm of the reflectance are computed by the identities of the multivariate log-normal
    distribution: covariance_log = log(1 + covariance / (mean mean')), mean_log = log(mean) - variance_log / 2.
    """
    layout = pd.read_csv(ASSETS / "landscape.csv", index_col="cover")
    spectra = pd.read_csv(ASSETS / "lucas_class_spectra.csv", index_col="land_cover").loc[layout.index]
    mean = spectra[[f"mean_{band}" for band in TABLE_BANDS]].to_numpy()
    spread = spectra[[f"std_{band}" for band in TABLE_BANDS]].to_numpy()
    correlation = np.ones((len(mean), len(TABLE_BANDS), len(TABLE_BANDS)))
    for i, one in enumerate(TABLE_BANDS):
        for j, other in enumerate(TABLE_BANDS[:i]):
            pair = f"corr_{one}_{other}" if f"corr_{one}_{other}" in spectra else f"corr_{other}_{one}"
            correlation[:, i, j] = correlation[:, j, i] = spectra[pair]
    relative = spread / mean
    log_covariance = np.log1p(correlation * relative[:, :, None] * relative[:, None, :])
    variances, directions = np.linalg.eigh(log_covariance)
    # Because the correlations in the table are rounded, the smallest variances can be slightly negative.
    root = directions * np.sqrt(np.maximum(variances, 0))[:, None, :]
    neighbours = layout.reindex(columns=layout.index, fill_value=0).to_numpy(dtype=float)
    return Covers(
        log_mean=np.log(mean) - np.einsum("kbb->kb", log_covariance) / 2,
        log_root=root[:, :, ::-1],
        parcel_share=layout["parcel_share"].to_numpy(),
        texture_share=layout["texture_share"].to_numpy(),
        wobble=layout["wobble"].to_numpy(),
        coast_chance=layout["coast_chance"].to_numpy(),
        neighbours=neighbours / neighbours.sum(axis=1, keepdims=True),
    )


def draw_points(chips: int, rng: np.random.Generator) -> list[Point]:
    """Draw points of the LUCAS grid in Italy; each class is more frequent in some regions than in others.

    Raises:
        StudyError: there are fewer chips than classes, or more chips than points on the grid.
    """
    counts = italy_class_counts(chips)
    grid = italy_grid_points()
    if chips > len(grid):
        raise StudyError(
            "There are more simulated chips than points of the grid.",
            found=f"{chips} chips",
            expected=f"at most {len(grid)}, the points of the 2 km grid in Italy",
            remedy="set `chips` of the simulated source to a smaller number",
        )
    places = grid[np.sort(rng.choice(len(grid), size=chips, replace=False))]
    bands, covers = len(TABLE_BANDS), len(ITALY_CLASSES) - 1
    suitability = smooth_noise(places, REGION_KM, len(counts), rng) + rng.gumbel(size=(chips, len(counts)))
    codes = np.zeros(chips, dtype=int)
    # Rare classes choose first; each class takes the most suitable of the free places.
    for code in sorted(counts, key=counts.__getitem__):
        free = np.flatnonzero(codes == 0)
        codes[free[np.argsort(-suitability[free, code - 1], kind="stable")[: counts[code]]]] = code
    region = smooth_noise(places, REGION_KM, covers * bands, rng).reshape(chips, covers, bands)
    return [
        Point(format_point_id(*map(int, place)), int(code), place[0] * 1000.0, place[1] * 1000.0, around)
        for place, code, around in zip(places, codes, region, strict=True)
    ]


def smooth_noise(
    places: np.ndarray, length: float, columns: int, rng: np.random.Generator, *, waves: int = 48
) -> np.ndarray:
    """Draw independent unit normal random fields with correlation exp(-d^2 / (2 length^2)) at scattered places.

    The method is random Fourier features (Rahimi and Recht 2007): a sum of cosines with normally distributed
    frequencies.

    Args:
        places: (n, 2) coordinates.
        length: correlation length in the unit of the coordinates.
        columns: number of fields.
        rng: generator of random numbers.
        waves: number of cosines in each field.

    Returns:
        (n, columns) values of the fields.
    """
    frequencies = rng.standard_normal((2, columns * waves)) / length
    phases = rng.uniform(0, 2 * np.pi, columns * waves)
    cosines = np.cos(places @ frequencies + phases).reshape(len(places), columns, waves)
    return cosines.sum(axis=2) * np.sqrt(2 / waves)


@lru_cache
def _matern_filter(side: int, range_px: float, smoothness: float) -> np.ndarray:
    """Return the amplitudes that convert white noise to a unit-variance Matern field on a torus, by frequency."""
    rows, columns = scipy.fft.fftfreq(side)[:, None], scipy.fft.fftfreq(side)[None, :]
    power = (1 + (2 * np.pi * range_px) ** 2 * (rows**2 + columns**2)) ** -(smoothness + 1)
    return np.sqrt(power / power.mean())[:, : side // 2 + 1].astype(np.float32)


class Landscape:
    """Generator of chips of one size: parcels of several covers around a centre, with haze and sensor noise."""

    def __init__(self, covers: Covers, size_px: int) -> None:
        self.covers = covers
        self.size = size_px
        # Fields are cut from a larger torus, so that opposite edges of a chip are independent.
        self.torus = scipy.fft.next_fast_len(size_px * 3 // 2, real=True)
        axis = np.arange(size_px) - size_px // 2
        self.pixels = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).astype(np.float32)

    def draw(self, point: Point, rng: np.random.Generator) -> np.ndarray:
        """Draw the reflectance (B, H, W) of a chip: float32, 0.0001..1, in steps of 0.0001."""
        centre = point.code - 1
        if point.code == IMPOSSIBLE_CODE:
            shares = np.array([entry.count for entry in ITALY_CLASSES[:-1]], dtype=float)
            centre = int(rng.choice(len(shares), p=shares / shares.sum()))
        parcels, covers_of = self._mosaic(centre, rng)
        reflectance = self._reflectance(parcels, covers_of, point.region, rng)
        return self._observe(reflectance, point.code == IMPOSSIBLE_CODE, rng)

    def _fields(self, count: int, range_px: float, smoothness: float, rng: np.random.Generator) -> np.ndarray:
        """Draw unit normal random fields (count, H, W) with Matern correlation."""
        noise = scipy.fft.rfft2(rng.standard_normal((count, self.torus, self.torus), dtype=np.float32))
        noise *= _matern_filter(self.torus, range_px, smoothness)
        return scipy.fft.irfft2(noise, s=(self.torus, self.torus))[:, : self.size, : self.size]

    def _mosaic(self, centre: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw the parcel of each pixel (H, W) and the cover of each parcel; the centre has the cover `centre`."""
        covers = self.covers
        middle = self.size // 2
        warp = self._fields(3, 12.0, 1.2, rng)
        warp -= warp[:, middle, middle][:, None, None]
        parcels, sites = self._parcels(covers.wobble[centre], warp[:2], rng)
        cover_of = self._cover_of_sites(centre, sites, rng)
        line, (road, stream, water) = warp[2], range(len(sites), len(sites) + 3)
        if rng.random() < 0.5:
            through = centre == ARTIFICIAL and rng.random() < 0.4
            offset = 0.0 if through else rng.uniform(4, self.size / 2)
            parcels[np.abs(self._distance(line, 1.5, rng) - offset) < rng.uniform(0.5, 0.9) + through] = road
        is_water = centre in (INLAND_WATER, COASTAL_WATER)
        # A point in water is in a stream or lagoon, off a shore, or (only inland) in a pond between the parcels.
        in_stream = is_water and rng.random() < 0.4
        in_pond = centre == INLAND_WATER and not in_stream and rng.random() < 0.5
        if in_stream or rng.random() < 0.1:
            offset = 0.0 if in_stream else rng.uniform(6, self.size / 2)
            parcels[np.abs(self._distance(line, 6.0, rng) - offset) < rng.uniform(1.0, 2.5) + in_stream] = stream
        off_shore = is_water and not in_stream and not in_pond
        if off_shore or (not is_water and rng.random() < covers.coast_chance[centre]):
            shore = -rng.uniform(3, 0.3 * self.size) if off_shore else rng.uniform(3, 0.4 * self.size)
            parcels[self._distance(line, 5.0, rng) > shore] = water
        stream_cover = centre if in_stream else INLAND_WATER
        water_cover = centre if off_shore else COASTAL_WATER
        return parcels, np.append(cover_of, [ARTIFICIAL, stream_cover, water_cover])

    def _parcels(self, wobble: float, warp: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw the parcel of each pixel (H, W), and the site of each parcel (S, 2) in pixels from the centre.

        A pixel belongs to the nearest site; parcel 0 contains the centre. For farmland (small wobble), the maximum norm
        along rotated and stretched axes gives rectangular fields. For natural covers, the Euclidean norm and a warp
        give irregular shapes.
        """
        width = np.exp(rng.normal(np.log(9), 0.35)) * (1 + 0.6 * wobble)
        reach = self.size / 2 + width
        sites = rng.uniform(-reach, reach, (max(8, round((2 * reach / width) ** 2)), 2))
        sites[0] = rng.uniform(-0.15, 0.15, 2) * width
        angle, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(0, 0.4))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * [stretch, 1 / stretch]
        norm = np.inf if wobble < 0.5 else 2
        keep = np.linalg.norm((sites - sites[0]) @ turn, ord=norm, axis=1) > 0.8 * width
        keep[0] = True
        sites = sites[keep]
        warped = self.pixels + np.moveaxis(warp, 0, -1) * np.float32(0.5 * wobble * width)
        _, parcels = cKDTree(sites @ turn).query(warped.reshape(-1, 2) @ turn, p=norm)
        return parcels.reshape(self.size, self.size), sites

    def _cover_of_sites(self, centre: int, sites: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw the cover of each parcel, by the neighbour weights of the centre's cover and spatially clustered."""
        weights = np.log(self.covers.neighbours[centre] + 1e-9)
        count = len(weights)
        score = weights + 0.6 * rng.gumbel(size=(len(sites), count))
        for length_px in (14, 50):
            score += smooth_noise(sites, length_px, count, rng, waves=16)
        if centre != COASTAL_WATER:
            extent = np.exp(rng.normal(np.log(10), 0.5))
            score[:, centre] += rng.uniform(0, 4) * np.exp(-0.5 * (sites**2).sum(axis=1) / extent**2)
            score[0, centre] = np.inf
        return score.argmax(axis=1)

    def _distance(self, field: np.ndarray, wobble_px: float, rng: np.random.Generator) -> np.ndarray:
        """Return the signed distance (H, W) in pixels to a wavy line through the centre, in a random direction."""
        angle = rng.uniform(0, 2 * np.pi)
        along = np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)
        return self.pixels @ along + np.float32(wobble_px) * field

    def _reflectance(
        self, parcels: np.ndarray, cover_of: np.ndarray, region: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw the reflectance (B, H, W) at the ground.

        The variance of each component of a cover is divided among region, chip, parcel and texture. So the pixels of a
        cover, over many chips, have the distribution in the table.
        """
        covers = self.covers
        bands = covers.log_mean.shape[1]
        local = rng.standard_normal(region.shape)
        chip = np.sqrt(REGION_SHARE) * region + np.sqrt(1 - REGION_SHARE) * local
        share = covers.parcel_share[cover_of][:, None]
        factors = np.sqrt(1 - share) * chip[cover_of] + np.sqrt(share) * rng.standard_normal((len(cover_of), bands))
        factors[:, :TEXTURE_COMPONENTS] *= np.sqrt(1 - covers.texture_share[cover_of])[:, None]
        parcel_log_mean = covers.log_mean[cover_of] + np.einsum("sbc,sc->sb", covers.log_root[cover_of], factors)
        texture = self._fields(TEXTURE_COMPONENTS, 2.5, 0.4, rng)
        amplitude = np.sqrt(covers.texture_share)[:, None, None] * covers.log_root[:, :, :TEXTURE_COMPONENTS]
        logarithm = parcel_log_mean.T.astype(np.float32)[:, parcels]
        texture_amplitude = amplitude[cover_of].astype(np.float32)
        for component in range(TEXTURE_COMPONENTS):
            logarithm += texture_amplitude[:, :, component].T[:, parcels] * texture[component]
        return np.exp(logarithm)

    def _observe(self, reflectance: np.ndarray, impossible: bool, rng: np.random.Generator) -> np.ndarray:
        """Simulate the observation: blur of the optics, illumination, haze, sometimes a cloud, noise, and rounding."""
        for axis in (1, 2):
            before, after = np.roll(reflectance, 1, axis), np.roll(reflectance, -1, axis)
            edge: list[slice | list[int]] = [slice(None)] * 3
            edge[axis] = [0, -1]
            blurred = 0.8 * reflectance + 0.1 * (before + after)
            blurred[tuple(edge)] = reflectance[tuple(edge)]
            reflectance = blurred
        # The spectra of the table contain haze already; therefore only its deviation from the mean is added.
        haze = np.float32(0.007 * (rng.gamma(2.0) - 2.0)) * HAZE_BY_BAND[:, None, None]
        reflectance = reflectance * np.float32(np.exp(rng.normal(0, 0.06))) + haze
        if rng.random() < (0.1 if impossible else 0.01):
            cover = 1 / (1 + np.exp(2 - 4 * self._fields(1, 14.0, 1.0, rng)))
            reflectance += cover * (CLOUD_BY_BAND[:, None, None] - reflectance)
        reflectance += np.float32(0.002) * rng.standard_normal(reflectance.shape, dtype=np.float32)
        return np.rint(np.clip(reflectance, 1e-4, 1) * 10_000).astype(np.float32) / np.float32(10_000)
