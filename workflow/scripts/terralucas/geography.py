"""The coordinate reference system of all points, distances far from Europe, and the folder of the data files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

ASSETS = Path(__file__).parent / "assets"
EPSG = 3035
# Easting and northing of 52° N 10° E, the centre of EPSG:3035 (EPSG registry).
_CENTRE_M = (4_321_000.0, 3_210_000.0)
# At an angular distance c from its centre, a Lambert azimuthal equal-area projection stretches lengths by
# 1 / cos(c / 2) across the direction to the centre, and shortens them by cos(c / 2) along it (Snyder 1987, Map
# Projections: A Working Manual, chapter 24). At this distance on the map that is 6 %. All of Europe is nearer, with the
# Canary Islands, Svalbard and Cyprus.
_FAR_M = 4_200_000.0


def ground_places(places_m: np.ndarray) -> np.ndarray:
    """Return places between which distances, and squares along the axes, are those on the ground.

    In Europe, these are the places themselves. Far from it, EPSG:3035 keeps areas but stretches lengths, by 1.3 in
    California and by 7.6 in New Zealand; the places are then projected to an equal-area projection around their own
    centre, in which lengths are off by at most 3 % within 3,000 km of it.

    Args:
        places_m: (n, 2) easting and northing in metres, EPSG:3035; NaN without coordinates.

    Returns:
        (n, 2) metres, in the projection of `ground_crs`.
    """
    crs = ground_crs(places_m)
    if crs == f"EPSG:{EPSG}":
        return places_m
    from rasterio.warp import transform

    known = np.isfinite(places_m).all(axis=1)
    projected = np.full(places_m.shape, np.nan)
    projected[known] = np.stack(transform(f"EPSG:{EPSG}", crs, *places_m[known].T), axis=1)
    return projected


def ground_crs(places_m: np.ndarray) -> str:
    """Return the projection of `ground_places`: EPSG:3035, or a PROJ string if any place is far from Europe.

    The centre is rounded to whole degrees, so that a chip more or less seldom moves the borders of blocks.
    """
    known = places_m[np.isfinite(places_m).all(axis=1)]
    if not len(known) or np.hypot(*(known - _CENTRE_M).T).max() <= _FAR_M:
        return f"EPSG:{EPSG}"
    from rasterio.warp import transform

    longitude, latitude = np.radians(transform(f"EPSG:{EPSG}", "EPSG:4326", *known.T))
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
