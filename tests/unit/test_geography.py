"""Places far from Europe: distances and blocks against lengths on the ellipsoid (pyproj's Geod)."""

import numpy as np
import pyproj.aoi
import pyproj.database
import pytest
from pyproj import Geod, Transformer

from terralucas.data.discovery.lucas import italy_grid_points
from terralucas.data.splits import spatial_blocks
from terralucas.evidence.leakage import nearest_training
from terralucas.geography import earth_points, ground_crs, ground_offset, ground_places, utm_code

FAR = {
    "New Zealand": (175, -41, 32760),
    "Australia": (145, -35, 32755),
    "California": (-120, 37, 32610),
    "Japan": (138, 36, 32654),
    "Amazonia": (-60, -5, 32720),
    # The sides of a UTM zone end at the date line, and longitudes jump.
    "Fiji": (179.6, -17, 32760),
}
TO_LAEA = Transformer.from_crs(4326, 3035, always_xy=True)


def scattered(name, n=300):
    """Longitude and latitude of points in a square of 100 km, and their places in EPSG:3035 and in UTM."""
    longitude, latitude, utm = FAR[name]
    to_utm = Transformer.from_crs(4326, utm, always_xy=True)
    x, y = to_utm.transform(longitude, latitude)
    in_utm = np.random.default_rng(0).uniform(0, 100e3, (n, 2)) + np.array([x, y])
    degrees = np.stack(to_utm.transform(*in_utm.T, direction="INVERSE"), axis=1)
    return degrees, np.stack(TO_LAEA.transform(*degrees.T), axis=1), in_utm


@pytest.mark.parametrize("name", FAR)
def test_distances_far_from_europe_are_those_on_the_ground(name):
    degrees, places, _ = scattered(name)
    one, other = np.arange(0, 300, 2), np.arange(1, 300, 2)
    _, _, expected = Geod(ellps="WGS84").inv(*degrees[one].T, *degrees[other].T)
    found = ground_places(places)
    assert np.hypot(*(found[one] - found[other]).T) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("name", FAR)
def test_overlap_far_from_europe_is_that_of_chips_in_their_own_projection(name):
    """UTM keeps lengths to 0.04 %; the axes of both projections differ by a few degrees."""
    _, places, in_utm = scattered(name)
    parts = np.where(np.arange(300) % 5 == 0, "test", "train")
    found = nearest_training(places, parts, 2240.0, earth_points(places)).overlaps
    expected = nearest_training(in_utm, parts, 2240.0).overlaps
    assert (found == expected).mean() > 0.95


@pytest.mark.parametrize("name", FAR)
def test_blocks_far_from_europe_are_squares_of_their_side(name):
    _, places, in_utm = scattered(name, 5000)
    blocks = spatial_blocks(*ground_places(places).T, 25.0)
    extent = [np.ptp(in_utm[blocks == block], axis=0) for block in np.unique(blocks)]
    # At most 25 km along each axis, and a bit more where the axes differ by some degrees.
    assert np.max(extent) < 25e3 * 1.15
    assert 16 <= len(extent) <= 36, "100 km in both directions"


def test_places_in_europe_are_kept_to_the_byte():
    places = 1000.0 * italy_grid_points()[::50].astype(float)
    assert ground_places(places) is places
    assert ground_crs(places) == "EPSG:3035"
    # Canary Islands, Azores, Svalbard, Cyprus.
    edges = np.stack(TO_LAEA.transform([-18, -31, 20, 34], [27.7, 39.5, 80, 35]), axis=1)
    assert ground_places(edges) is edges
    missing = np.full((3, 2), np.nan)
    assert ground_places(missing) is missing


def test_chips_without_coordinates_stay_without():
    _, places, _ = scattered("New Zealand", 10)
    places[3] = np.nan
    found = ground_places(places)
    assert np.isnan(found[3]).all()
    assert np.isfinite(np.delete(found, 3, axis=0)).all()


def test_the_centre_is_where_the_chips_are_also_at_the_date_line():
    assert ground_crs(scattered("Fiji")[1]).startswith("+proj=laea +lat_0=-17 +lon_0=")
    longitude = int(ground_crs(scattered("Fiji")[1]).split("+lon_0=")[1].split()[0])
    assert abs(longitude) >= 179


@pytest.mark.parametrize("name", FAR)
def test_chips_of_several_continents_keep_the_distances_of_each(name):
    """One projection around the mean of Europe and New Zealand put chips 200 m apart at up to 4.6 km."""
    degrees, places, _ = scattered(name, 60)
    europe = 1000.0 * italy_grid_points()[::50].astype(float)
    both = np.concatenate([europe[:100], places, europe[100:]])
    ground, far = ground_places(both), slice(100, 160)
    one, other = np.arange(0, 60, 2), np.arange(1, 60, 2)
    _, _, expected = Geod(ellps="WGS84").inv(*degrees[one].T, *degrees[other].T)
    found = ground[far]
    assert np.hypot(*(found[one] - found[other]).T) == pytest.approx(expected, rel=2e-3)
    in_europe = np.delete(ground, far, axis=0)
    assert in_europe - in_europe[0] == pytest.approx(europe - europe[0], abs=1e-6)


def test_a_test_chip_on_another_continent_has_its_distance_on_the_ground():
    degrees, places, _ = scattered("New Zealand", 10)
    europe = 1000.0 * italy_grid_points()[::50].astype(float)
    both = np.concatenate([places, europe])
    parts = np.where(np.arange(len(both)) < 10, "test", "train")
    nearest = nearest_training(ground_places(both), parts, 320.0, earth_points(both))
    at = np.stack(TO_LAEA.transform(*europe.T, direction="INVERSE"), axis=1)
    geod = Geod(ellps="WGS84")
    expected = [min(geod.inv(*place, *other)[2] for other in at) for place in degrees]
    assert nearest.distance_m == pytest.approx(expected, rel=6e-3)
    assert not nearest.overlaps.any()


def test_chips_all_over_the_world_have_their_distances_and_overlaps():
    """In one projection around their centre, a seventh of the overlaps was missed."""
    random, geod = np.random.default_rng(0), Geod(ellps="GRS80")
    n, side = 1500, 320.0
    longitude, latitude = random.uniform(-180, 180, n), np.degrees(np.arcsin(random.uniform(-0.99, 0.99, n)))
    azimuth, metres = random.uniform(0, 360, n), random.uniform(50, 600, n)
    other = geod.fwd(longitude, latitude, azimuth, metres)[:2]
    degrees = np.concatenate([np.stack([longitude, latitude], axis=1), np.stack(other, axis=1)])
    places = np.stack(TO_LAEA.transform(*degrees.T), axis=1)
    parts = np.repeat(["test", "train"], n)
    nearest = nearest_training(places, parts, side, earth_points(places))
    assert nearest.distance_m == pytest.approx(metres, rel=1e-3)
    # Neighbours are along east and north by the cosine and sine of the azimuth.
    along = metres * np.maximum(np.abs(np.sin(np.radians(azimuth))), np.abs(np.cos(np.radians(azimuth))))
    is_clear = np.abs(along - side) > 5
    assert np.array_equal(nearest.overlaps[is_clear], (along < side)[is_clear])
    assert 0.3 < nearest.overlaps.mean() < 0.7


def test_in_europe_nothing_is_measured_on_the_ellipsoid():
    assert earth_points(1000.0 * italy_grid_points()[:10].astype(float)) is None
    assert earth_points(np.full((3, 2), np.nan)) is None


def test_one_region_has_no_gap_of_500_km():
    """From Japan to New Zealand in steps of 400 km is one region; without some of the steps, it is two."""
    longitude, latitude = np.linspace(138, 175, 25), np.linspace(36, -41, 25)
    places = np.stack(TO_LAEA.transform(longitude, latitude), axis=1)
    assert np.ptp(ground_places(places), axis=0).max() < 2e7
    assert np.ptp(ground_places(np.delete(places, [11, 12, 13], axis=0)), axis=0).max() > 9e7


@pytest.mark.parametrize("name", [*FAR, "Italy"])
def test_the_offset_between_neighbours_is_that_on_the_ground(name):
    longitude, latitude = (12.5, 42) if name == "Italy" else FAR[name][:2]
    for azimuth in range(0, 360, 45):
        other = Geod(ellps="WGS84").fwd(longitude, latitude, azimuth, 600.0)[:2]
        offset = ground_offset(TO_LAEA.transform(longitude, latitude), TO_LAEA.transform(*other))
        assert np.hypot(*offset) == pytest.approx(600.0, rel=1e-2)


@pytest.mark.parametrize(
    ("longitude", "latitude"), [(-179.9, 10), (9, 45), (11.99, 45), (12.01, -45), (179.9, 1), (359, 2)]
)
def test_the_utm_zone_is_the_one_that_the_epsg_registry_has_for_a_place(longitude, latitude):
    area = pyproj.aoi.AreaOfInterest(*([(longitude + 180) % 360 - 180, latitude] * 2))
    zones = pyproj.database.query_utm_crs_info(datum_name="WGS 84", area_of_interest=area)
    assert utm_code(longitude, latitude) in {f"EPSG:{zone.code}" for zone in zones}


@pytest.mark.parametrize("latitude", [86, -86])
def test_beyond_utm_a_place_has_a_polar_projection_in_metres(latitude):
    crs = pyproj.CRS(utm_code(30, latitude))
    south, north = crs.area_of_use.south, crs.area_of_use.north
    assert south <= latitude <= north
    assert {axis.unit_name for axis in crs.axis_info} == {"metre"}
