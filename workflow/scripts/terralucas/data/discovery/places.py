"""Find the place of a chip on Earth, and compare what its columns, its LUCAS id and its file say about it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from terralucas.data.chip_problems import ChipError
from terralucas.data.dataset import DatasetSpec
from terralucas.data.discovery.lucas import parse_point_id
from terralucas.data.rasters.georeference import Centre, describe_system
from terralucas.errors import StudyError
from terralucas.geography import EPSG, ground_offset, pixel_sides_m

# Surveyors note where they stand, which may be far from a point that they cannot reach; points are 2 km apart.
MAX_DISTANCE_M = 5_000.0
# Many use a zone of UTM or a national grid also for its neighbours.
MAX_DEGREES_OUTSIDE = 15.0
# Coordinates may be rounded to hundredths of a degree, and chips need not be centred on their point.
MIN_MARGIN_M = 1_000.0
# Distance of LUCAS points, and how far from a point a chip is that was cut around it.
_GRID_M, _AT_POINT_M = 2_000, 250.0
UNKNOWN = (math.nan, math.nan)
# At the equator; the nominal size of pixels whose coordinates are degrees.
METRES_PER_DEGREE = 111_320.0
# Up to this elongation in EPSG:3035, pixels are squares on the ground, too.
_SURELY_SQUARES = 1.05
_DATUM_OF_SATELLITES = re.compile(r'DATUM\["(WGS_1984|European_Terrestrial_Reference_System_1989)"')
# Tried only to say which one would agree.
_USUAL_CRS = ("EPSG:4326", f"EPSG:{EPSG}")
_MISSING_TEXTS = {"", "-", "na", "n/a", "nan", "none", "null"}
# Eurostat writes 88.888888 for a missing latitude or longitude; others write 999, -9999, 8888 and so on.
_MISSING_NUMBER = re.compile(r"[-+]?(88\.8{3,}9?0*|(9{3,}|8{4,})(\.0+)?)")


@dataclass(frozen=True)
class Ground:
    """What the georeference of a chip says.

    Attributes:
        place: easting and northing of its centre in metres in EPSG:3035.
        pixel_m: side of a pixel on the ground in metres: the square root of its area.
        nominal_m: the same in the units of the coordinates, where projections stretch lengths; a degree counts as at
            the equator. Programs that export chips are asked for this size.
        elongation: how many times longer one side of a pixel is than the other, on the ground or in the units of the
            coordinates, where it is less: squares of degrees are no squares on the ground.
        side_m: longer side of the chip on the ground in metres.
    """

    place: tuple[float, float]
    pixel_m: float
    nominal_m: float
    elongation: float = 1.0
    side_m: float = math.nan


def find_ground(centre: Centre | None) -> Ground | None:
    """Return what the georeference of a chip says; None without one, or in coordinates of a drawing or a building.

    Raises:
        ChipError: it is no place on Earth, or its pixels have no area.
    """
    from rasterio._err import CPLE_BaseError
    from rasterio.warp import transform

    if centre is None or is_local(centre):
        return None
    if not can_be_on_earth(centre):
        raise not_on_earth(centre)
    (a, d), (b, e) = centre.column_step, centre.row_step
    is_geographic = centre.crs.is_geographic
    # The centre, and the pixels beside and below it, in columns and rows.
    steps = [(0, 0), (1, 0), (0, 1)]
    xs = [centre.x + column * a + row * b for column, row in steps]
    ys = [centre.y + column * d + row * e for column, row in steps]
    try:
        eastings, northings = _to_epsg_3035(centre.crs.to_wkt(), xs, ys)
    except CPLE_BaseError:
        raise not_on_earth(centre) from None
    if not all(map(math.isfinite, (*eastings, *northings))):
        raise not_on_earth(centre)
    (x, x_column, x_row), (y, y_column, y_row) = eastings[:3], northings[:3]
    # EPSG:3035 keeps areas, wherever on Earth.
    area_m2 = abs((x_column - x) * (y_row - y) - (x_row - x) * (y_column - y))
    unit_m = METRES_PER_DEGREE if is_geographic else centre.crs.linear_units_factor[1]
    elongation = min(
        elongation_of(math.hypot(x_column - x, y_column - y), math.hypot(x_row - x, y_row - y)),
        elongation_of(math.hypot(a, d), math.hypot(b, e)),
    )
    if elongation > _SURELY_SQUARES:
        # EPSG:3035 shears squares far from Europe.
        longitudes, latitudes = transform(_parse_crs(centre.crs.to_wkt()), _parse_crs("EPSG:4326"), xs, ys)[:2]
        elongation = min(elongation, elongation_of(*pixel_sides_m(longitudes, latitudes, 1)))
    pixel_m, nominal_m = math.sqrt(area_m2), unit_m * math.sqrt(abs(a * e - b * d))
    return Ground((x, y), pixel_m, nominal_m, elongation, pixel_m * max(centre.shape))


def is_local(centre: Centre) -> bool:
    """Return whether coordinates are those of a drawing or a building, which has no known place."""
    return not (centre.crs.is_geographic or centre.crs.is_projected)


def can_be_on_earth(centre: Centre) -> bool:
    """Return whether coordinates are numbers, degrees are within their range, and pixels have an area."""
    (a, d), (b, e) = centre.column_step, centre.row_step
    area = a * e - b * d
    is_in_range = not centre.crs.is_geographic or _are_degrees(centre.x, centre.y)
    return all(map(math.isfinite, (centre.x, centre.y, area))) and area != 0.0 and is_in_range


def not_on_earth(centre: Centre) -> ChipError:
    """Return the problem of a chip whose georeference is no place on Earth."""
    (a, d), (b, e) = centre.column_step, centre.row_step
    return ChipError(
        "bad_coordinates",
        f"lies at x {centre.x:.9g}, y {centre.y:.9g} by its georeference, with steps of {math.hypot(a, d):.3g} and "
        f"{math.hypot(b, e):.3g} from pixel to pixel, in {describe_system(centre.crs)}; expected a place on Earth",
    )


def elongation_of(side: float, other: float) -> float:
    """Return how many times longer one side of a pixel is than the other."""
    low, high = sorted((side, other))
    return high / low if low > 0 else math.inf


def locate(point_id: str, x: str, y: str, spec: DatasetSpec) -> tuple[float, float]:
    """Return easting and northing of a chip in metres in EPSG:3035; NaN if neither columns nor ids say them.

    The coordinate columns are used if they are configured, otherwise the LUCAS id. Where the columns have no value
    (empty, 0 and 0, or a number that stands for a missing value such as Eurostat's 88.888888), the id is used.

    Args:
        point_id: id of the chip.
        x: longitude or easting as text; not used without coordinate columns.
        y: latitude or northing as text.
        spec: description of the dataset.

    Raises:
        ChipError: the id is no LUCAS id, the columns are no place, or they are too far from the place of the id.
        StudyError: the coordinate reference system is unknown.
    """
    from_id = parse_point_id(point_id) if spec.point_ids == "lucas" else None
    if spec.point_ids == "lucas" and from_id is None:
        message = "is no LUCAS id; expected eight digits of a point on the 2 km grid, such as 45922254"
        raise ChipError("not_a_lucas_id", message)
    if not has_columns(spec):
        return from_id or UNKNOWN
    found, crs = f"has x {x!r}, y {y!r}", spec.layout.crs
    if is_missing(x, y, crs):
        if from_id is None:
            advice = (
                ": fill in the cells; or leave out x_column and y_column, so that the georeferences of the files count"
            )
            raise ChipError("bad_coordinates", f"{found}, which is no value; expected a place in {crs}", advice)
        return from_id
    place = _to_metres(x, y, crs)
    if place is None:
        raise ChipError("bad_coordinates", f"{found}; expected a place in {crs}{_hint(x, y, from_id, crs)}")
    area = _area_of_use(crs)
    if from_id is None and area is not None and _is_far_outside(place, area):
        west, south, east, north = area
        expected = f"a place near the area that {crs} is for ({west:g} to {east:g} °E, {south:g} to {north:g} °N)"
        swapped = _to_metres(y, x, crs)
        cause = ": x and y seem to be swapped" if swapped is not None and not _is_far_outside(swapped, area) else ""
        raise ChipError("bad_coordinates", f"{found} in {crs}; expected {expected}{cause}")
    if from_id is not None and math.dist(place, from_id) > MAX_DISTANCE_M:
        distance = f"{math.dist(place, from_id) / 1000:,.0f} km from the point of its LUCAS id"
        expected = f"at most {MAX_DISTANCE_M / 1000:.0f} km{_hint(x, y, from_id, crs)}"
        raise ChipError("bad_coordinates", f"{found} in {crs}, {distance}; expected {expected}")
    return place


def is_missing(x: str, y: str, crs: str) -> bool:
    """Return whether the texts of two coordinates mean that the place is not known."""
    texts = (x.strip().lower(), y.strip().lower())
    if any(text in _MISSING_TEXTS or _MISSING_NUMBER.fullmatch(text) for text in texts):
        return True
    numbers = _numbers(*texts)
    if numbers is None:
        return False
    # A rounded 88.888888 is a place in the Arctic Ocean, where no chips are.
    is_rounded_sentinel = _parse_crs(crs).is_geographic and abs(abs(numbers[1]) - 88.9) < 0.03
    return numbers == (0.0, 0.0) or is_rounded_sentinel


def check_georeference(ground: Ground | None, place: tuple[float, float], spec: DatasetSpec) -> None:
    """Raise a ChipError if the place of a chip is outside of it, according to the chip's own file.

    The place is that of the labels table or of the LUCAS id. Surveyors may have noted another place than the point, so
    that with LUCAS ids the chip may be as far away as columns may. A file without a georeference is not checked.

    Args:
        ground: what the georeference of the file says; None without one.
        place: (easting, northing) in metres in EPSG:3035.
        spec: description of the dataset.
    """
    if ground is None or not all(map(math.isfinite, place)):
        return
    margin = MAX_DISTANCE_M if spec.point_ids == "lucas" else max(MIN_MARGIN_M, ground.side_m)
    outside = math.hypot(*(max(abs(each) - ground.side_m / 2, 0.0) for each in ground_offset(ground.place, place)))
    if outside > margin:
        source = "coordinates in the labels table" if has_columns(spec) else "a LUCAS id whose point is"
        message = f"has {source} {'that are ' if has_columns(spec) else ''}{outside / 1000:,.1f} km outside the chip"
        raise ChipError("bad_coordinates", f"{message}, whose file has a place of its own; expected a point inside it")


def find_exchanged(places: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """Find chips whose files seem to have exchanged names, by LUCAS ids and the georeference of the files.

    Args:
        places: easting and northing of the centre of each file in metres in EPSG:3035, by LUCAS id.

    Returns:
        For each id of such a chip the id at whose point its file lies: the file is far from its own point, and so is
        the file of that other id. A surveyed point can lie beside another point of the grid, but not two in this way.
    """
    points = {name: parse_point_id(name) for name in places}
    far = {
        name for name, point in points.items() if point is not None and math.dist(places[name], point) > MIN_MARGIN_M
    }
    at_point = {point: name for name, point in points.items() if name in far}
    found = {}
    for name in far:
        nearest = tuple(round(value / _GRID_M) * _GRID_M for value in places[name])
        other = at_point.get((nearest[0], nearest[1]))
        if other is not None and math.dist(places[name], nearest) <= _AT_POINT_M:
            found[name] = other
    return found


def has_columns(spec: DatasetSpec) -> bool:
    """Return whether the labels table has columns of coordinates."""
    return spec.layout.x_column is not None and spec.layout.labels == "table"


def _numbers(x: str, y: str) -> tuple[float, float] | None:
    # Python reads 1_0.5 as 10.5.
    if "_" in x or "_" in y:
        return None
    try:
        return float(x), float(y)
    except ValueError:
        return None


@cache
def _area_of_use(crs: str) -> tuple[float, float, float, float] | None:
    """Return west, south, east and north of the area that a coordinate reference system is for, in degrees.

    None if it does not say so, or if its area crosses the date line.
    """
    found = re.search(r"BBOX\[([^\]]+)\]", _parse_crs(crs).to_wkt(version="WKT2_2019"))
    if found is None:
        return None
    south, west, north, east = map(float, found[1].split(","))
    return (west, south, east, north) if west < east else None


def _is_far_outside(place: tuple[float, float], area: tuple[float, float, float, float]) -> bool:
    """Return whether a place, in metres in EPSG:3035, is far outside an area of `_area_of_use`."""
    from rasterio.warp import transform

    west, south, east, north = area
    (longitude,), (latitude,) = transform(_parse_crs(f"EPSG:{EPSG}"), _parse_crs("EPSG:4326"), [place[0]], [place[1]])
    outside = max(west - longitude, longitude - east, south - latitude, latitude - north)
    return not outside <= MAX_DEGREES_OUTSIDE


@cache
def _parse_crs(text: str) -> Any:
    """Return the coordinate reference system of rasterio."""
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise StudyError(
            f"The coordinate reference system dataset.layout.crs {text!r} is unknown.",
            expected="a code such as EPSG:4326",
            remedy="correct dataset.layout.crs",
        ) from error


def _to_metres(x: str, y: str, crs: str) -> tuple[float, float] | None:
    """Return (easting, northing) in EPSG:3035; None if the texts are no place in this coordinate reference system."""
    # `transform` raises errors of GDAL, for which rasterio has no public class.
    from rasterio._err import CPLE_BaseError

    numbers, is_geographic = _numbers(x, y), _parse_crs(crs).is_geographic
    if numbers is None or is_geographic != _are_degrees(*numbers):
        return None
    try:
        # Parsed before, because the look-up of a code takes longer than all else here.
        (easting,), (northing,) = _to_epsg_3035(crs, [numbers[0]], [numbers[1]])
    except CPLE_BaseError:
        return None
    return (easting, northing) if math.isfinite(easting) and math.isfinite(northing) else None


def _to_epsg_3035(crs: str, xs: Sequence[float], ys: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """Return eastings and northings in EPSG:3035.

    PROJ knows how the datums of the world differ from WGS 84, and of those outside Europe not how they differ from
    ETRS89, the datum of EPSG:3035: it then takes them for equal, and places are off by up to 600 m.
    """
    from rasterio.warp import transform

    source, target = _parse_crs(crs), _parse_crs(f"EPSG:{EPSG}")
    if not _has_datum_of_satellites(crs):
        by_satellite = _parse_crs("EPSG:4326")
        (xs, ys), source = transform(source, by_satellite, xs, ys)[:2], by_satellite
    eastings, northings = transform(source, target, xs, ys)[:2]
    return eastings, northings


@cache
def _has_datum_of_satellites(crs: str) -> bool:
    """Return whether a coordinate reference system has the datum WGS 84 or ETRS89, which PROJ takes for equal.

    Others may contain these names elsewhere, such as TOWGS84 before their difference from WGS 84.
    """
    return bool(_DATUM_OF_SATELLITES.search(_parse_crs(crs).to_wkt()))


def _are_degrees(x: float, y: float) -> bool:
    # Longitudes may count from 0 to 360.
    return -180 <= x <= 360 and -90 <= y <= 90


def _hint(x: str, y: str, from_id: tuple[float, float] | None, crs: str) -> str:
    """Return the likely cause of wrong coordinates, for the end of a message; empty if none is likely."""

    def agrees(place: tuple[float, float] | None) -> bool:
        return place is not None and from_id is not None and math.dist(place, from_id) <= MAX_DISTANCE_M

    if agrees(_to_metres(y, x, crs)):
        return ": x and y are swapped"
    for other in _USUAL_CRS:
        if agrees(_to_metres(x, y, other)):
            return f": they agree in {other}"
        if agrees(_to_metres(y, x, other)):
            return f": they agree in {other}, with x and y swapped"
    numbers = _numbers(x, y)
    if numbers is None:
        has_comma = _numbers(x.replace(",", "."), y.replace(",", ".")) is not None
        return ", with a point and not a comma before decimals" if has_comma else ", as decimal numbers"
    if not all(map(math.isfinite, numbers)):
        return ""
    if _parse_crs(crs).is_geographic:
        return "" if _are_degrees(*numbers) else ", in degrees; these seem to be metres, or x and y are swapped"
    return ", in metres; these seem to be degrees" if _are_degrees(*numbers) else ""
