"""Choose the grid on which an image is resampled: that of another file, or one around the centre of the image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from affine import Affine
from rasterio._err import CPLE_BaseError  # errors of `transform`, for which rasterio has no public class
from rasterio.crs import CRS
from rasterio.io import DatasetReader
from rasterio.warp import transform
from rasterio.windows import Window

from terralucas.data.chip_problems import ChipError
from terralucas.data.discovery.places import find_ground
from terralucas.data.rasters.georeference import Centre, describe_system
from terralucas.errors import StudyError
from terralucas.geography import utm_code

# GDAL counts rows and columns in 32 bits with a sign.
MAX_SIDE_PX = 2**31 - 1
# Thousands of tiles of Sentinel-2; no disk has space for more.
_MAX_PX = 10**12
# Of an image, along each side, whose places show how far it reaches in other coordinates: as many as GDAL looks at.
_EDGE_POINTS = 21
# Pixels of an image beyond those under a new pixel that its value may need.
_FILTER_PX = 4
# What two grids have in common is more than rounding from this distance to an edge on.
_MARGIN_PX = 1e-3
# From this ratio of their sides on, a new pixel is the mean of several old ones.
_LARGER = 1.2


def other_grid(
    image: DatasetReader, crs: CRS | None, pixel_m: float | None, like: DatasetReader | None, side_px: int | None
) -> dict[str, Any]:
    """Return the grid to which an image is resampled; the arguments are those of `terralucas.data.rewrite.rewrite`.

    Raises:
        StudyError: a file has no place on Earth, the grid shows nothing of the image, would have too many pixels, or
            has coordinates in which the arguments have no meaning or that those of the image cannot be converted to.
    """
    centre = _require_place(image)
    if like is not None:
        _require_place(like)
        grid = grid_of(like)
    else:
        grid = _grid_around(centre, image, crs or image.crs, pixel_m, side_px)
    try:
        _require_overlap(image, grid)
        _require_no_loss_at_180(image, grid)
    except CPLE_BaseError as error:
        raise not_convertible(image, str(error)) from None
    return grid


def grid_of(image: DatasetReader) -> dict[str, Any]:
    """Return the grid of an image, as arguments of rasterio."""
    return {"crs": image.crs, "transform": image.transform, "width": image.width, "height": image.height}


def _require_place(image: DatasetReader) -> Centre:
    """Return the centre of an image; raise a StudyError if its georeference is no place on Earth."""
    tags = "write the right place into a copy of the file: rio edit-info --crs EPSG:… --transform …"
    if image.crs is None or image.transform.is_identity:
        raise StudyError(
            f"The file {image.name} has no place.",
            found="no coordinate reference system" if image.crs is None else "no transform from pixels to coordinates",
            expected="a georeference to resample from",
            remedy=tags,
        )
    if not (image.crs.is_geographic or image.crs.is_projected):
        raise not_convertible(image, "coordinates that are neither degrees nor those of a projection")
    (a, b, c, d, e, f), (rows, columns) = tuple(image.transform)[:6], image.shape
    x, y = a * columns / 2 + b * rows / 2 + c, d * columns / 2 + e * rows / 2 + f
    centre = Centre(image.crs, x, y, (a, d), (b, e))
    try:
        find_ground(centre)
    except ChipError as error:
        _, _, found = error.problem.partition("lies ")
        raise StudyError(
            f"The file {image.name} is at no place on Earth.",
            found=found.partition("; expected")[0],
            expected="a place on Earth, and pixels with an area",
            remedy=tags,
        ) from None
    return centre


def _grid_around(
    centre: Centre, image: DatasetReader, crs: CRS, pixel_m: float | None, side_px: int | None
) -> dict[str, Any]:
    """Return a grid with the same centre as an image, where the labelled point of a chip is.

    It has even numbers of rows and columns, so that it can be cut to the size of any training chip around its centre.
    """
    if not (crs.is_geographic or crs.is_projected):
        raise StudyError(
            f"The file {image.name} cannot be resampled to {describe_system(crs)}.",
            expected="a projection, or degrees",
            remedy=f"--crs {_zone_of(centre)} is the UTM zone of this file",
        )
    if pixel_m is not None and crs.is_geographic:
        raise StudyError(
            f"The file {image.name} cannot have pixels of {pixel_m:g} m in degrees.",
            found=f"{describe_system(crs)}, in which no length is a number of metres",
            expected="a projection with --pixel-m",
            remedy=f"add --crs {_zone_of(centre)}, the UTM zone of this file, or another projection",
        )
    xs, ys = _places_on(image.transform, *image.shape)
    places = _converted(image.crs, crs, np.array([[centre.x, *xs], [centre.y, *ys]]))
    middle = places[:, :1]
    if crs.is_geographic:
        # Longitudes jump at the date line.
        places[0] = middle[0] + (places[0] - middle[0] + 180) % 360 - 180
    if not np.isfinite(middle).all():
        raise not_convertible(image, f"a place that {describe_system(crs)} does not have")
    # Corners of a picture of the whole Earth have no place.
    known = places[:, np.isfinite(places).all(axis=0)]
    reach = np.abs(known - middle).max(axis=1)
    if pixel_m is None:
        pixel = 2 * math.hypot(*reach) / math.hypot(*image.shape)
    else:
        pixel = pixel_m / crs.linear_units_factor[1]
        side = 2 * min(reach)
        if pixel > 1.001 * side:
            raise StudyError(
                f"A pixel would be larger than the file {image.name}.",
                found=f"--pixel-m {pixel_m:g}, and a file of {side * crs.linear_units_factor[1]:.3g} m",
                expected="pixels that are smaller than the file",
                remedy="give a smaller --pixel-m",
            )
    # Less than a thousandth of a pixel at the edge is rounding.
    width, height = (side_px or 2 * max(math.ceil(length / pixel - 1e-3), 1) for length in reach)
    if max(width, height) > MAX_SIDE_PX or width * height > _MAX_PX:
        raise StudyError(
            f"The file {image.name} would have too many pixels.",
            found=f"{height:,} x {width:,} px of {pixel:g}, in the unit of the coordinates",
            expected=f"at most {MAX_SIDE_PX:,} rows and columns, and {_MAX_PX:,} pixels",
            remedy="give a larger --pixel-m" if side_px is None else "give a smaller --side-px",
        )
    (left,), (top,) = middle - pixel / 2 * np.array([[width], [-height]])
    return {"crs": crs, "transform": Affine(pixel, 0, left, 0, -pixel, top), "width": width, "height": height}


def _places_on(grid: Affine, height: int, width: int) -> np.ndarray:
    """Return x and y, (2, n), of points that are spread evenly over a grid, from edge to edge."""
    points: Any = np.mgrid[: width : _EDGE_POINTS * 1j, : height : _EDGE_POINTS * 1j].reshape(2, -1)
    return np.array(grid @ points)


def part_on(image: DatasetReader, grid: Mapping[str, Any]) -> Window:
    """Return the part of an image that a grid shows, with a margin for filters; all of it where that is not known.

    Args:
        image: what is resampled.
        grid: the new grid, as arguments of rasterio.
    """
    whole = Window(0, 0, image.width, image.height)
    size = np.array([grid["width"], grid["height"]])
    places = np.array(grid["transform"] @ _places_on(Affine.identity(), grid["height"], grid["width"]))
    with np.errstate(invalid="ignore"):
        found = np.array(~image.transform @ _converted(grid["crs"], image.crs, places))
    if not np.isfinite(found).all():
        return whole
    low, high = found.min(axis=1), found.max(axis=1)
    # Lines between the points may be curved, and filters reach two pixels, old or new, beyond a pixel.
    margin = (high - low) * (1 / _EDGE_POINTS + 2 / size.min()) + _FILTER_PX
    left, top = np.floor(low - margin).clip(0).astype(int).tolist()
    right, bottom = np.ceil(high + margin).clip(max=(image.width, image.height)).astype(int).tolist()
    return Window(left, top, right - left, bottom - top) if left < right and top < bottom else whole


def smoothing_of(image: DatasetReader, grid: Mapping[str, Any]) -> dict[str, float]:
    """Return GDAL's options for the width of its bilinear filter: that of the larger pixel, old or new.

    GDAL takes it from the extents of both grids. Where one is rotated, as between zones of UTM, it then moves the
    picture by up to 0.1 pixel.

    Args:
        image: what is resampled.
        grid: the new grid, as arguments of rasterio.
    """
    pixels = _points_in(grid, image)

    def on_image(places: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            coordinates = np.array(grid["transform"] @ places)
            return np.array(~image.transform @ _converted(grid["crs"], image.crs, coordinates))

    found = on_image(pixels)
    with np.errstate(invalid="ignore"):
        is_inside = ((found >= 0) & (found <= np.array([[image.width], [image.height]]))).all(axis=0)
    if not is_inside.any():
        return {}
    # Where both show the same ground, in the middle of it.
    inside = pixels[:, is_inside]
    middle = inside[:, np.abs(inside - inside.mean(axis=1, keepdims=True)).sum(axis=0).argmin()]
    around = on_image(middle[:, None] + np.array([[0.5, -0.5, 0, 0], [0, 0, 0.5, -0.5]]))
    sides = [math.hypot(each[0] - each[1], each[2] - each[3]) for each in around]
    if not all(map(math.isfinite, sides)):
        return {}
    # A filter that is a little wider than a pixel has weights that move the picture.
    return {name: 1 / side if side > _LARGER else 1.0 for name, side in zip(("XSCALE", "YSCALE"), sides, strict=True)}


def _points_in(grid: Mapping[str, Any], image: DatasetReader) -> np.ndarray:
    """Return columns and rows of points in a grid, (2, n): of evenly spaced pixels of the grid, and of an image.

    One of them may be a small part of the other.
    """
    of_grid = _pixels_of(grid["width"], grid["height"])
    with np.errstate(invalid="ignore"):
        places = _converted(image.crs, grid["crs"], np.array(image.transform @ _pixels_of(image.width, image.height)))
        of_image = np.array(~grid["transform"] @ places)
        is_inside = ((of_image >= 0) & (of_image <= np.array([[grid["width"]], [grid["height"]]]))).all(axis=0)
    return np.concatenate([of_grid, of_image[:, is_inside]], axis=1)


def _pixels_of(width: int, height: int) -> np.ndarray:
    """Return columns and rows of the middles of evenly spaced pixels, with those at the edges, (2, n)."""
    columns, rows = (np.linspace(0.5, side - 0.5, _EDGE_POINTS) for side in (width, height))
    return np.stack(np.meshgrid(columns, rows)).reshape(2, -1)


def _converted(crs: CRS, other: CRS, places: np.ndarray) -> np.ndarray:
    """Return (2, n) places in another coordinate reference system; infinite where it has no such place."""
    try:
        return np.array(transform(crs, other, *places)[:2])
    except CPLE_BaseError:
        # Some projections fail at the first such place.
        if places.shape[1] == 1:
            return np.full((2, 1), np.inf)
        return np.concatenate([_converted(crs, other, place[:, None]) for place in places.T], axis=1)


def _are_on(grid: Affine, size: tuple[int, int], places: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Return which of (2, n) places lie on a grid of so many rows and columns, so many pixels from its edge or more."""
    with np.errstate(invalid="ignore"):
        columns, rows = ~grid @ places
    return (columns >= margin) & (columns <= size[1] - margin) & (rows >= margin) & (rows <= size[0] - margin)


def _require_overlap(image: DatasetReader, place: Mapping[str, Any]) -> None:
    """Raise a StudyError if a grid shows nothing of an image: all pixels would be missing."""
    size = place["height"], place["width"]
    # Of a small grid in a large image, and of a small image in a large grid.
    of_image = _converted(image.crs, place["crs"], _places_on(image.transform, *image.shape))
    points = np.concatenate([_places_on(place["transform"], *size), of_image], axis=1)
    back = _converted(place["crs"], image.crs, points)

    def are_on_grids(margin: float) -> tuple[np.ndarray, np.ndarray]:
        on_image = _are_on(image.transform, image.shape, back, margin)
        return _are_on(place["transform"], size, points, margin), on_image

    # Neighbours have an edge in common, which shows nothing.
    if not (np.logical_and(*are_on_grids(0.0)) & np.logical_or(*are_on_grids(_MARGIN_PX))).any():
        left, top = image.transform.c, image.transform.f
        raise StudyError(
            f"The new grid shows nothing of the file {image.name}.",
            found=f"a file at {left:.9g}, {top:.9g} (upper left corner) with {describe_system(image.crs)}, and a grid "
            f"at {place['transform'].c:.9g}, {place['transform'].f:.9g} with {describe_system(place['crs'])}",
            expected="a grid that shows the file; longitudes from -180 to 180",
            remedy="correct --like or --crs; write longitudes beyond 180 as negative ones: rio edit-info --transform …",
        )


def _require_no_loss_at_180(image: DatasetReader, grid: Mapping[str, Any]) -> None:
    """Raise a StudyError if a grid shows pixels of an image in degrees beyond 180 degrees, which GDAL leaves out."""
    if not image.crs.is_geographic:
        return
    places = _converted(grid["crs"], image.crs, np.array(grid["transform"] @ _points_in(grid, image)))

    def on_image(turns: int) -> np.ndarray:
        return _are_on(image.transform, image.shape, places + np.array([[360 * turns], [0]]))

    if ((on_image(-1) | on_image(1)) & ~on_image(0)).any():
        left, right = image.bounds.left, image.bounds.right
        raise StudyError(
            f"The file {image.name} reaches beyond 180 degrees, and only a part of it would be resampled.",
            found=f"longitudes from {left:.9g} to {right:.9g}",
            expected="longitudes from -180 to 180",
            remedy="cut the file into two at 180 degrees, or convert it with another program",
        )


def _zone_of(centre: Centre) -> str:
    (longitude,), (latitude,) = transform(centre.crs, CRS.from_epsg(4326), [centre.x], [centre.y])
    return utm_code(longitude, latitude)


def not_convertible(image: DatasetReader, found: str) -> StudyError:
    """Return the error of coordinates that have no place in another coordinate reference system."""
    return StudyError(
        f"The coordinates of {image.name} cannot be converted.",
        found=f"{found}; the file has {describe_system(image.crs)}",
        expected="a coordinate reference system on Earth, and one that coordinates can be converted to",
        remedy="correct --crs; or write the right system into a copy of the file (rio edit-info --crs EPSG:…)",
    )
