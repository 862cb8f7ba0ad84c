"""The coordinate reference system of all points, distances far from Europe, and the folder of the data files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pyproj import Geod

ASSETS = Path(__file__).parent / "assets"
EPSG = 3035
# Easting and northing of 52° N 10° E, the centre of EPSG:3035 (EPSG registry).
_CENTRE_M = (4_321_000.0, 3_210_000.0)
# At an angular distance c from its centre, a Lambert azimuthal equal-area projection stretches lengths by
# 1 / cos(c / 2) across the direction to the centre, and shortens them by cos(c / 2) along it (Snyder 1987, Map
# Projections: A Working Manual, chapter 24). At this distance on the map that is 6 %. All of Europe is nearer, with the
# Canary Islands, Svalbard and Cyprus.
_FAR_M = 4_200_000.0


# Chips that are not connected by steps of this length on the ground are in regions of their own.
_GAP_M = 500_000.0
# Cells in which places are counted together to find regions.
_CELL_M = 50_000.0
# Regions are put so far apart that no distance or square reaches from one to another.
APART_M = 1e8
# The ellipsoid GRS 80, and the sphere with its surface.
_EQUATOR_M, _ECCENTRICITY_2, _RADIUS_M = 6_378_137.0, 0.006_694_380_022_9, 6_371_007.2


def ground_places(places_m: np.ndarray) -> np.ndarray:
    """Return places between which distances, and squares along the axes, are those on the ground.

    In Europe, these are the places themselves. Far from it, EPSG:3035 keeps areas but stretches lengths, by 1.3 in
    California and by 7.6 in New Zealand; the places are then projected to an equal-area projection around their own
    centre, in which lengths are off by at most 3 % within 3,000 km of it. Places of several regions, with gaps of more
    than 500 km between them, are projected region by region, and the regions put 100,000 km apart (`APART_M`).

    Args:
        places_m: (n, 2) easting and northing in metres, EPSG:3035; NaN without coordinates.

    Returns:
        (n, 2) metres.
    """
    if ground_crs(places_m) == f"EPSG:{EPSG}":
        return places_m
    known = np.isfinite(places_m).all(axis=1)
    ground = np.full(places_m.shape, np.nan)
    found = np.full((int(known.sum()), 2), np.nan)
    for number, members in enumerate(_regions(places_m[known])):
        found[members] = _project(places_m[known][members]) + np.array([number * APART_M, 0.0])
    ground[known] = found
    return ground


def earth_points(places_m: np.ndarray) -> np.ndarray | None:
    """Return places as points of the ellipsoid GRS 80, between which every distance can be measured.

    Args:
        places_m: (n, 2) easting and northing in metres, EPSG:3035.

    Returns:
        (n, 3) metres from the centre of the Earth; None if a place is unknown, or if all are in Europe, where EPSG:3035
        serves.
    """
    if not np.isfinite(places_m).all() or _is_near_europe(places_m):
        return None
    longitude, latitude = np.radians(_degrees(places_m)).T
    # Hofmann-Wellenhof et al. (2008), GNSS, section 8.2, for points at sea level.
    normal = _EQUATOR_M / np.sqrt(1 - _ECCENTRICITY_2 * np.sin(latitude) ** 2)
    flat, up = normal * np.cos(latitude), (1 - _ECCENTRICITY_2) * normal * np.sin(latitude)
    return np.stack([flat * np.cos(longitude), flat * np.sin(longitude), up], axis=1)


def along_the_ground(chord_m: np.ndarray) -> np.ndarray:
    """Return the length of the way along the ground between points of `earth_points` at a straight distance."""
    return 2 * _RADIUS_M * np.arcsin(np.clip(chord_m / (2 * _RADIUS_M), 0.0, 1.0))


def east_and_north(points_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the directions to the east and to the north at points of `earth_points`: two arrays (n, 3) of length 1."""
    x, y, z = points_m.T
    longitude = np.arctan2(y, x)
    latitude = np.arctan2(z, (1 - _ECCENTRICITY_2) * np.hypot(x, y))
    zero = np.zeros_like(longitude)
    east = np.stack([-np.sin(longitude), np.cos(longitude), zero], axis=1)
    flat = -np.sin(latitude)
    return east, np.stack([flat * np.cos(longitude), flat * np.sin(longitude), np.cos(latitude)], axis=1)


def ground_offset(place_m: tuple[float, float], other_m: tuple[float, float]) -> tuple[float, float]:
    """Return how far a place is from another one, along two axes at right angles on the ground, in metres.

    Both are (easting, northing) in EPSG:3035, and near each other. In Europe, the axes are those of EPSG:3035; far from
    it, where EPSG:3035 stretches lengths, they lead east and north.
    """
    both = np.array([place_m, other_m])
    # Without coordinates, nothing is known.
    if _is_near_europe(both) or not np.isfinite(both).all():
        return other_m[0] - place_m[0], other_m[1] - place_m[1]
    (longitude, latitude), (other_longitude, other_latitude) = np.radians(_degrees(both))
    # The shorter way round.
    turn = (other_longitude - longitude + np.pi) % (2 * np.pi) - np.pi
    east = _RADIUS_M * float(np.cos((latitude + other_latitude) / 2) * turn)
    return east, _RADIUS_M * float(other_latitude - latitude)


def _regions(places_m: np.ndarray) -> list[np.ndarray]:
    """Return the rows (n,) of places in each region, from west to east."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    points = earth_points(places_m)
    assert points is not None, "places in Europe are one region"
    cells, cell_of = np.unique(np.floor(points / _CELL_M), axis=0, return_inverse=True)
    pairs = cKDTree((cells + 0.5) * _CELL_M).query_pairs(_GAP_M, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(cells), len(cells)))
    region_of = connected_components(links, directed=False)[1][cell_of.reshape(-1)]
    regions = [np.flatnonzero(region_of == region) for region in range(region_of.max() + 1)]
    return sorted(regions, key=lambda members: tuple(_degrees(places_m[members]).mean(axis=0)))


def _project(places_m: np.ndarray) -> np.ndarray:
    """Return places (n, 2) of one region in its own projection."""
    from rasterio.warp import transform

    crs = ground_crs(places_m)
    return places_m if crs == f"EPSG:{EPSG}" else np.stack(transform(f"EPSG:{EPSG}", crs, *places_m.T), axis=1)


def _degrees(places_m: np.ndarray) -> np.ndarray:
    """Return longitude and latitude (n, 2) in degrees."""
    from rasterio.warp import transform

    return np.stack(transform(f"EPSG:{EPSG}", "EPSG:4326", *places_m.T), axis=1)


def _is_near_europe(places_m: np.ndarray) -> bool:
    return bool(np.hypot(*(places_m - _CENTRE_M).T).max() <= _FAR_M)


def ground_crs(places_m: np.ndarray) -> str:
    """Return a projection for all places together: EPSG:3035, or a PROJ string if any place is far from Europe.

    The centre is rounded to whole degrees, so that a chip more or less seldom moves the borders of blocks.
    """
    known = places_m[np.isfinite(places_m).all(axis=1)]
    if not len(known) or _is_near_europe(known):
        return f"EPSG:{EPSG}"
    longitude, latitude = np.radians(_degrees(known)).T
    # The mean of directions from the centre of the Earth, because longitudes jump at the date line.
    x, y = (np.mean(np.cos(latitude) * turn(longitude)) for turn in (np.cos, np.sin))
    z = np.mean(np.sin(latitude))
    north, east = (round(float(np.degrees(angle))) for angle in (np.arctan2(z, np.hypot(x, y)), np.arctan2(y, x)))
    return f"+proj=laea +lat_0={north} +lon_0={east} +ellps=GRS80 +units=m +no_defs"


def utm_code(longitude: float, latitude: float) -> str:
    """Return the EPSG code of the UTM zone of a place, or beyond UTM (84° N, 80° S) of the polar projection, in metres.

    The zones of 6° count from 180° W (EPSG registry: WGS 84 / UTM zone 1N is 32601, zone 1S 32701). The wider zones of
    Norway and Svalbard are not considered; neighbours fit there too.

    Args:
        longitude: degrees, WGS 84.
        latitude: degrees, WGS 84.
    """
    if latitude > 84:
        return "EPSG:5041"
    if latitude < -80:
        return "EPSG:5042"
    zone = int((longitude + 180) % 360 // 6) + 1
    return f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}"


def pixel_sides_m(longitudes: Sequence[float], latitudes: Sequence[float], pixels: int) -> tuple[float, float]:
    """Return width and height of pixels in metres, along geodesics (Karney 2013, Journal of Geodesy 87) of WGS 84.

    Args:
        longitudes: in degrees, of a pixel, and of those so many columns and so many rows further.
        latitudes: the same.
        pixels: number of columns and of rows between them.
    """
    here = longitudes[0], latitudes[0]
    width, height = (
        _earth().inv(*here, *there)[2] / pixels for there in zip(longitudes[1:], latitudes[1:], strict=True)
    )
    return width, height


@cache
def _earth() -> Geod:
    # Imported late: few jobs measure pixels.
    from pyproj import Geod

    return Geod(ellps="WGS84")
