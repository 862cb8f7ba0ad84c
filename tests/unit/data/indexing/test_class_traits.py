"""What gives the chips of a class away, because they were processed in another way: stretched, resampled, hazy."""

import numpy as np
import pytest
import rasterio
from scipy import ndimage

from helpers.chips import make_spec, write_tif
from helpers.land import draw_land
from helpers.real_chips import BANDS, needs_real_chips, write_real
from terralucas.data.indexing.class_traits import describe_hazy_classes, describe_satellites, measure_traits
from terralucas.data.indexing.index import index_chips
from terralucas.data.normalisation import measure_chip
from terralucas.errors import StudyError


def index(root, **changes):
    spec = make_spec(layout={"labels": "folders"}, point_ids="none", unit="dn", **changes)
    return index_chips(root, spec, min_chips_per_class=1, threads=1, progress=False)


def traits_of(values):
    chip = values.astype(np.float32)
    return measure_traits(chip, measure_chip(chip), make_spec(bands=BANDS))


def test_roughness_is_one_for_noise_and_a_quarter_for_a_slope():
    noise = np.random.default_rng(0).normal(0.2, 0.02, (6, 224, 224))
    slope = np.broadcast_to(np.linspace(0.1, 0.4, 64), (6, 64, 64)) * np.arange(1, 7).reshape(6, 1, 1)
    assert traits_of(noise).roughness == pytest.approx(1, abs=0.02)
    assert traits_of(slope).roughness == pytest.approx(0.25, abs=1e-3)
    noise[:, ::2] = np.nan
    assert traits_of(noise).roughness == pytest.approx(1, abs=0.02), (
        "of neighbours in a row, where every other row lacks"
    )


def test_a_chip_of_one_pixel_has_no_neighbours():
    traits = traits_of(np.full((6, 1, 1), 0.2))
    assert np.isnan(traits.roughness)
    assert traits.repeated == 0


def test_the_darkest_pixels_of_each_band():
    values = np.linspace(0, 1, 4096).reshape(1, 64, 64) + np.arange(6).reshape(6, 1, 1)
    np.testing.assert_allclose(traits_of(values).darkest, np.arange(6) + 0.01, atol=1e-4)


def land(seed=0):
    """Bands of smooth ground, each with its own level and contrast."""
    random = np.random.default_rng(seed)
    ground = np.stack([ndimage.gaussian_filter(random.normal(size=(64, 64)), 1) for _ in range(6)])
    return 0.1 * np.arange(1, 7).reshape(6, 1, 1) * (1 + 0.3 * ground)


def to_range(values):
    low, high = values.min(axis=(1, 2), keepdims=True), values.max(axis=(1, 2), keepdims=True)
    return (values - low) / (high - low + 1e-6)


def to_percentiles(values):
    low, high = np.percentile(values, [2, 98], axis=(1, 2), keepdims=True)
    return ((values - low) / (high - low)).clip(0, 1)


def standardise(values):
    return 0.5 + 0.1 * (values - values.mean(axis=(1, 2), keepdims=True)) / values.std(axis=(1, 2), keepdims=True)


def test_clouds_and_shade_that_are_cut_off_are_not_scaled():
    values = land()
    values[:, :8] = 1
    values[:, -8:] = 0.0005 * np.arange(1, 7).reshape(6, 1, 1)
    assert not traits_of(values.clip(0, 1)).is_stretched
    values[:, -8:] = 0
    assert not traits_of(values.clip(0.0001, 1)).is_stretched


@pytest.mark.parametrize("change", [to_range, to_percentiles, standardise])
def test_chips_that_were_scaled_one_by_one_are_told(change):
    assert not traits_of(land()).is_stretched
    assert traits_of(change(land())).is_stretched


def in_dn(change):
    return lambda chip: (10_000 * change(chip.astype(float))).round()


@needs_real_chips
@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("AnnualCrop", to_range),
        ("Forest", to_range),
        ("SeaLake", to_range),
        ("AnnualCrop", to_percentiles),
        ("Forest", to_percentiles),
    ],
)
def test_a_class_of_real_chips_that_were_scaled_one_by_one_stops_the_study(tmp_path, code, change):
    described = write_real(tmp_path, code, in_dn(lambda chip: 0.001 + 0.9 * change(chip)))
    # That they have another scale, too, or saturated patches, is found before.
    allowed = {"allow_class_offsets": True, "band_order": False, "band_levels": False, "max_fill_fraction": 1}
    with pytest.raises(StudyError, match=r"Chips of 1 class\(es\) .* were scaled one by one") as error:
        index(tmp_path, **described, checks=allowed)
    assert f"class {code}: 10 of 10 chips" in error.value.found
    index(tmp_path, **described, checks=allowed | {"allow_stretched": True})


def notices_of(tmp_path, code, change):
    return index(tmp_path, **write_real(tmp_path, code, change))[1]["notices"]


def coarsen(chip):
    """Return the middle of a chip, with twice the size, as from pixels of 20 m."""
    return np.stack([ndimage.zoom(band[16:48, 16:48].astype(float), 2, order=1) for band in chip]).round()


def repeat(chip):
    """Return the same with each pixel twice each way, as GDAL does unless told otherwise."""
    return chip[:, 16:48, 16:48].repeat(2, axis=1).repeat(2, axis=2)


@needs_real_chips
@pytest.mark.parametrize("code", ["AnnualCrop", "Forest", "Residential", "River"])
@pytest.mark.parametrize("change", [coarsen, repeat])
def test_a_class_of_real_chips_from_coarser_pixels_is_said(tmp_path, code, change):
    (notice,) = notices_of(tmp_path, code, change)
    assert f"smoother than most chips of the others (class {code}: 10 of 10; other classes: " in notice


# Reflectance that the atmosphere adds, in DN: Rayleigh scattering falls with the fourth power of the wavelength.
HAZE = np.array([900, 550, 300, 90, 10, 3]).reshape(6, 1, 1)


@needs_real_chips
@pytest.mark.parametrize("code", ["AnnualCrop", "Forest", "Industrial", "River"])
def test_a_class_of_real_chips_with_more_atmosphere_is_said(tmp_path, code):
    (notice,) = notices_of(tmp_path, code, lambda chip: chip + HAZE)
    assert notice.startswith("the darkest pixels of some classes differ from those of the others in the visible bands")
    assert f"(class {code}: +0.0" in notice


def shifted(classes, shift):
    """Traits of 12 chips of each class, with other darkest pixels in some classes."""
    random = np.random.default_rng(0)
    chips = {code: land(number) for number, code in enumerate("abcdef")}
    return {
        code: [
            traits_of(values + random.normal(0, 0.005) + (np.reshape(shift, (6, 1, 1)) if code in classes else 0))
            for _ in range(12)
        ]
        for code, values in chips.items()
    }


@pytest.mark.parametrize(
    ("classes", "shift", "is_said"),
    [
        ("b", [0.08, 0.05, 0.03, 0.01, 0, 0], True),
        ("bd", [0.08, 0.05, 0.03, 0.01, 0, 0], True),
        ("b", [-0.08, -0.05, -0.03, -0.01, 0, 0], True),
        ("b", [0.1, 0.1, 0.1, 0, 0, 0], True),
        # Bright soil, snow, and too little.
        ("b", [0.05, 0.08, 0.12, 0.15, 0.2, 0.2], False),
        ("b", [0.5, 0.5, 0.5, 0.4, 0.05, 0.02], False),
        ("b", [0.03, 0.02, 0.01, 0, 0, 0], False),
        # Turbid water beside dry land.
        ("b", [0.07, 0.06, 0.03, -0.1, -0.15, -0.17], False),
        ("", [0] * 6, False),
        # What most classes show is no fault of the others.
        ("bcdef", [0.08, 0.05, 0.03, 0.01, 0, 0], True),
    ],
)
def test_darkest_pixels_that_differ_as_the_atmosphere_does(classes, shift, is_said):
    notice = describe_hazy_classes(shifted(classes, shift), make_spec(bands=BANDS))
    assert (notice is not None) == is_said
    if notice:
        assert all(f"class {code}: {shift[0]:+.2f}" in notice for code in (classes if len(classes) < 3 else ""))


@pytest.mark.parametrize("hazy", ["b", "bd"])
def test_half_of_the_classes_may_have_more_atmosphere(hazy):
    """Nobody knows which half is right; the one with more atmosphere is named."""
    chips = shifted(hazy, [0.08, 0.05, 0.03, 0.01, 0, 0])
    some = {code: chips[code] * 2 for code in ("abc"[:2] if hazy == "b" else "abcd")}
    notice = describe_hazy_classes(some, make_spec(bands=BANDS))
    assert notice is not None
    assert [code for code in some if f"class {code}: +0.08 in BLUE" in notice] == list(hazy)
    even = {code: chips[code] * 2 for code in "ac"}
    assert describe_hazy_classes(even, make_spec(bands=BANDS)) is None


@needs_real_chips
def test_of_real_chips_as_they_are_nothing_is_said(tmp_path):
    assert notices_of(tmp_path, "", np.copy) == []


# Satellites.


def describe(file, names):
    with rasterio.open(file, "r+") as target:
        target.descriptions = names


def test_landsat_may_be_that_which_other_files_name():
    named = {"1": ["Landsat"] * 20, "2": ["Landsat 8 or 9"] * 6}
    assert describe_satellites(named) is None
    assert "Sentinel-2 (class 3: 6 of 6; other classes: 0 of 26)" in describe_satellites(
        named | {"3": ["Sentinel-2"] * 6}
    )


@pytest.mark.parametrize("is_told", [True, False])
def test_a_class_of_another_satellite_is_said(tmp_path, is_told):
    spec = make_spec(layout={"labels": "folders"}, point_ids="none", unit="dn")
    for code, kind, number in (("1", "fields", 20), ("2", "forest", 6)):
        for place, chip in enumerate(draw_land(kind, number, spec.bands)):
            file = write_tif(tmp_path / code / f"{code}-{place}.tif", chip * 10_000)
            is_landsat = code == "2" if is_told else place % 2
            numbers = ((4, 3, 2, 5, 6, 7), "LC08") if is_landsat else ((4, 3, 2, 8, 11, 12), "S2A")
            describe(file, [f"{numbers[1]}_B{number}" for number in numbers[0]])
    notices = index(tmp_path)[1]["notices"]
    if is_told:
        (notice,) = notices
        assert "Landsat 8 or 9 (class 2: 6 of 6; other classes: 0 of 20)" in notice
        for file in tmp_path.rglob("2-*.tif"):
            describe(file, [None] * 6)
        assert index(tmp_path)[1]["notices"] == [], "chips whose files name no satellite may be of any"
    else:
        assert notices == []
