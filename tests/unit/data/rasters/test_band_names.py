"""Descriptions of bands, against the user guides of Sentinel-2, HLS, Landsat and MODIS and STAC's common names."""

import itertools

import pytest

from helpers.chips import make_spec
from terralucas.data.chip_problems import ChipError
from terralucas.data.rasters.band_names import BandNames
from terralucas.predict.bands import find_bands as find_bands_by_names

RGB = ("RED", "GREEN", "BLUE")
FOUR = ("BLUE", "GREEN", "RED", "NIR_BROAD")
SIX = ("BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2")
ALL = (
    "COASTAL_AEROSOL", "BLUE", "GREEN", "RED", "RED_EDGE_1", "RED_EDGE_2", "RED_EDGE_3", "NIR_BROAD", "NIR_NARROW",
    "WATER_VAPOR", "SWIR_1", "SWIR_2",
)  # fmt: skip


def find_contradiction(descriptions, bands, says="describes", **options):
    return BandNames(descriptions, **options).find_contradiction(bands, says=says)


def find_positions(descriptions, bands, **options):
    return BandNames(descriptions, **options).find_positions(bands)


def find_satellites_meant(descriptions, bands, **options):
    return BandNames(descriptions, **options).find_satellites_meant(bands)


def are_named(descriptions, bands, **options):
    return BandNames(descriptions, **options).name_each(bands)


def find_satellite(descriptions):
    return BandNames(descriptions).find_satellite()


def find_bands(descriptions, bands, are_right, satellites=(), **options):
    return find_bands_by_names(BandNames(descriptions, **options), bands, are_right, satellites)


def answers(descriptions, bands, **options):
    """The different answers of all satellites that can be meant."""
    return tuple(dict.fromkeys(BandNames(descriptions, **options).find_by_satellite(bands).values()))


AGREEING = {
    "Sentinel-2": ([f"B{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, "8A", 9, 11, 12)], ALL),
    "Sentinel-2 with zeros": ([f"B0{n}" for n in range(1, 9)] + ["B8A", "B09", "B11", "B12"], ALL),
    "names of this project": (ALL, ALL),
    "STAC, Sentinel-2": (
        ["coastal", "blue", "green", "red", "rededge071", "rededge075", "rededge078", "nir", "nir08", "nir09",
         "swir16", "swir22"], ALL,
    ),
    "HLS of Sentinel-2": (["B02", "B03", "B04", "B8A", "B11", "B12"], SIX),
    "HLS of Landsat": (["B02", "B03", "B04", "B05", "B06", "B07"], SIX),
    "Landsat 8, collection 2": (["SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"], SIX),
    "Landsat 5, collection 2": (["SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7"], SIX),
    "names and numbers": (["blue_B02", "green_B03", "red_B04", "nir_B8A", "swir1_B11", "swir2_B12"], SIX),
    "other spellings": (["Blue", "GREEN (560 nm)", "B4_median", "NIR narrow", "SWIR 1", "short-wave infrared 2"], SIX),
    "file names": ([f"T32TQM_20180701T101031_B0{n}_10m" for n in (4, 3, 2)], RGB),
    "red edge is not red": (["Red Edge 1", "RedEdge2", "vegetation red-edge 3"], ALL[4:7]),
    "some described": (["red", None, ""], RGB),
    "positions": (["Band 1", "Band 2", "Band 3"], RGB),
    "positions with names": (["Band 1: Red", "Band 2: Green", "Band 3: Blue"], RGB),
    "numbers after band": (["Band 4", "Band 3", "Band 2"], RGB),
    "positions of a place": (["Red Sea Band 1", "Red Sea Band 2", "Red Sea Band 3"], RGB),
    "positions of a satellite": (["S2_Band_1", "S2_Band_2", "S2_Band_3"], RGB),
    "positions in small letters": (["s2-b1", "s2-b2", "s2-b3"], RGB),
    "Landsat 5 by its name": ([f"LT05_B{n}" for n in (1, 2, 3, 4, 5, 7)], SIX),
    "letters": (["R", "G", "B"], RGB),
    "letters and words": (["b", "g", "r", "NIR", "S1", "S2"], SIX),
    "letters of aerial photographs": (["B", "G", "R", "IR"], ("BLUE", "GREEN", "RED", "NIR_BROAD")),
    "letters and a word of no band": (["R", "G", "B", "quality"], (*RGB, "NIR_BROAD")),
    "positions of a satellite that are no numbers": (["LT05_b1", "LT05_b2", "LT05_b3"], RGB),
    "numbers of a satellite that may be positions": (["LT05_b1", "LT05_b2", "LT05_b3"], RGB[::-1]),
    "positions of a place of another language": (["verde_b1", "verde_b2", "verde_b3"], RGB),
    "a place is no band": ([f"Casa_Verde_B0{n}" for n in (4, 3, 2)], RGB),
    "not recognised": (["lyr.1", "mean", "2018-07-01"], RGB),
    "wavelengths": ([f"{n} nm" for n in (443, 490, 560, 665, 705, 740, 783, 842, 865, 945, 1610, 2190)], ALL),
    "wavelengths of Sentinel-2A": (
        [f"{n} nanometers" for n in (442.7, 492.4, 559.8, 664.6, 704.1, 740.5, 782.8, 832.8, 864.7, 945.1, 1613.7,
         2202.4)], ALL,
    ),
    "wavelengths in micrometres": (["0.49 µm", "0,56um", "0.665 micrometers", "0.865 μm", "1.61_um", "2.19 um"], SIX),
    "numbers that are wavelengths": (["665", "560", None], RGB),
    "numbers that are none": (["665", "560", "1"], ("BLUE", "GREEN", "RED")),
    "numbers alone": (["2", "3", "4", "8A", "11", "12"], SIX),
    "numbers behind one letter, as R writes them": (["X2", "X3", "X4", "X8A", "X11", "X12"], SIX),
    "layers that are counted": (["X3", "X2", "X1"], RGB),
    "numbers alone, with zeros": (["04", "03", "02"], RGB),
    "numbers alone in their order": (["1", "2", "3"], RGB),
    "numbers from 0": (["0", "1", "2"], RGB),
    "years": (["2018", "2019", "2020"], RGB),
    "names and wavelengths": (["Red (665 nm)", "B3, 560 nm", "blue 0.49 µm, 66 nm wide"], RGB),
    "ranges": (["650-680 nm", "543 to 578 nm", "0.458–0.523 µm"], RGB),
    "no bands": (["450-900 nm", "0.5-0.68 µm", "450 nm, 560 nm"], RGB),
    "wavelengths of Landsat": (["blue 482 nm", "green 561 nm", "red 655 nm", "nir 865 nm", "1609 nm", "2201 nm"], SIX),
    "Digital Earth Australia, Sentinel-2": (
        ["nbart_blue", "nbart_green", "nbart_red", "nbart_nir_2", "nbart_swir_2", "nbart_swir_3"], SIX,
    ),
    "Digital Earth Australia, Landsat": (
        ["nbart_blue", "nbart_green", "nbart_red", "nbart_nir", "nbart_swir_1", "nbart_swir_2"], SIX,
    ),
    "none": ([None, None, None], RGB),
}  # fmt: skip


@pytest.mark.parametrize("case", AGREEING)
def test_descriptions_that_agree(case):
    descriptions, bands = AGREEING[case]
    assert find_contradiction(tuple(descriptions), tuple(bands)) is None


@pytest.mark.parametrize(
    ("descriptions", "bands", "meaning"),
    [
        (["B2", "B3", "B4"], RGB, "B2, B3, B4 (BLUE, GREEN, RED); expected RED, GREEN, BLUE"),
        (["blue", "green", "red"], RGB, "(BLUE, GREEN, RED); expected RED, GREEN, BLUE"),
        (["B04", "B03", "B02", "B08", "B11", "B12"], SIX, "(RED, GREEN, BLUE, NIR_BROAD, SWIR_1, SWIR_2)"),
        (["B02", "B03", "B04", "B08", "B11", "B12"], SIX, "NIR_BROAD"),
        (["650-680 nm", "458-523 nm", "543-578 nm"], RGB, "(RED, BLUE, GREEN); expected RED, GREEN, BLUE"),
        ([None, None, "green"], RGB, "nothing, nothing, green (?, ?, GREEN)"),
        (["Band 1: Blue", "Band 2: Green", "Band 3: Red"], RGB, "(BLUE, GREEN, RED)"),
        (["red", "green", "scl"], RGB, "no band of TerraMind"),
        (["B4", "B3", "B10"], RGB, "no band of TerraMind"),
        (["490 nm", "560 nm", "665 nm"], RGB, "490 nm, 560 nm, 665 nm (BLUE, GREEN, RED); expected RED, GREEN, BLUE"),
        (["0.49 µm", "0.56 µm", "0.665 µm"], RGB, "(BLUE, GREEN, RED)"),
        (["490", "560", "665"], RGB, "490, 560, 665 (BLUE, GREEN, RED)"),
        (["2", "3", "4"], RGB, "2, 3, 4 (BLUE, GREEN, RED); expected RED, GREEN, BLUE"),
        (["12", "11", "8A"], SIX[:3:-1] + SIX[2:3], "12, 11, 8A (SWIR_2, SWIR_1, NIR_NARROW)"),
        (["X12", "X11", "X8A"], SIX[3:], "X12, X11, X8A (SWIR_2, SWIR_1, NIR_NARROW)"),
        (["S2_12", "S2_11", "S2_8a"], SIX[3:], "(SWIR_2, SWIR_1, NIR_NARROW)"),
        (["482 nm", "561 nm", "655 nm"], RGB, "482 nm, 561 nm, 655 nm (BLUE, GREEN, RED); expected RED, GREEN, BLUE"),
        (["665 nm", "560 nm", "1375 nm"], RGB, "no band of TerraMind"),
        (["490 nm", "560 nm", "665 nm", "842 nm", "1610 nm", "2190 nm"], SIX, "NIR_BROAD"),
        (["B", "G", "R"], RGB, "B, G, R (BLUE, GREEN, RED); expected RED, GREEN, BLUE"),
        (["blau", "Grün", "rot"], RGB, "(BLUE, GREEN, RED)"),
        (["bleu", "vert", "rouge"], RGB, "(BLUE, GREEN, RED)"),
        (["blu", "verde", "rosso"], RGB, "(BLUE, GREEN, RED)"),
        (["azul", "verde", "rojo"], RGB, "(BLUE, GREEN, RED)"),
        (["S2B2", "S2B3", "S2B4"], RGB, "(BLUE, GREEN, RED)"),
        (["B2_1", "B3_1", "B4_1"], RGB, "(BLUE, GREEN, RED)"),
        (["B02 (1)", "Band 3 (2)", "B4.1"], RGB, "(BLUE, GREEN, RED)"),
        (["LC08_B1", "LC08_B2", "LC08_B3"], ALL[1:4], "(COASTAL_AEROSOL, BLUE, GREEN)"),
        (["SR_B4", "SR_B3", "ST_B6"], RGB, "no band of TerraMind"),
        (["RedEdge Band 1", "RedEdge Band 2", "RedEdge Band 3"], RGB, "RED_EDGE_1 or"),
        (["SWIR band 1", "SWIR band 2", "SWIR band 3"], RGB, "SWIR_1 or SWIR_2"),
        (["B04", "AOT", "WVP"], RGB, "no band of TerraMind"),
        (["nbart_red", "nbart_swir_3", "nbart_swir_2"], ("RED", "SWIR_1", "SWIR_2"), "(RED, SWIR_2, SWIR_1)"),
        (["sur_refl_b01", "sur_refl_b02", "sur_refl_b03"], RGB, "(RED, NIR_BROAD or NIR_NARROW, BLUE)"),
        (["SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"], (*RGB, *SIX[3:]), "(BLUE, GREEN, RED, NIR_BROAD or"),
    ],
)
def test_descriptions_that_contradict(descriptions, bands, meaning):
    found = find_contradiction(tuple(descriptions), tuple(bands))
    assert found is not None
    assert meaning in found


RED_EDGES = ("B2", "B3", "B4", "B5", "B6", "B7")


def test_red_edges_of_sentinel_2_are_not_taken_for_the_infrared_of_landsat_where_pixels_are_smaller():
    assert find_contradiction(RED_EDGES, SIX, True) is None
    assert "RED_EDGE_1" in find_contradiction(RED_EDGES, SIX, may_be_landsat=False)
    with pytest.raises(ChipError, match="RED_EDGE_1, RED_EDGE_2, RED_EDGE_3"):
        find_bands(RED_EDGES, SIX, True, may_be_landsat=False)
    assert make_spec(pixel_size_m=30).may_be_landsat
    assert not make_spec(pixel_size_m=10).may_be_landsat
    assert not make_spec(pixel_size_m=20).may_be_landsat


@pytest.mark.parametrize(
    "name",
    ["S2_{}", "S2A-{}", "S2B_MSIL2A_{}", "MSI_{}", "S2L2A_{}", "COPERNICUS_S2_{}", "T32TMB_20200101T101021_{}_20m"],
)
def test_names_of_sentinel_2_are_recognised(name):
    assert "RED_EDGE_1" in find_contradiction(tuple(map(name.format, RED_EDGES)), SIX)


@pytest.mark.parametrize("name", ["LC08_{}", "HLS.L30.T32TQM.2020001T100319.v2.0.{}", "HLS.L30.T32TQM_{}"])
def test_names_of_landsat_are_recognised(name):
    assert find_contradiction(tuple(map(name.format, RED_EDGES)), SIX, may_be_landsat=False) is None


def test_any_two_bands_that_change_places_are_found():
    for one, other in itertools.combinations(range(len(SIX)), 2):
        bands = list(SIX)
        bands[one], bands[other] = bands[other], bands[one]
        assert find_contradiction(("B2", "B3", "B4", "B8A", "B11", "B12"), tuple(bands)) is not None
        assert find_contradiction(("blue", "green", "red", "nir", "swir16", "swir22"), tuple(bands)) is not None


def test_any_two_bands_that_change_places_are_found_by_the_names_of_this_project():
    for one, other in itertools.combinations(range(len(ALL)), 2):
        bands = list(ALL)
        bands[one], bands[other] = bands[other], bands[one]
        assert find_contradiction(ALL, tuple(bands)) is not None, f"{ALL[one]} and {ALL[other]}"


@pytest.mark.parametrize(
    ("descriptions", "bands", "expected"),
    [
        (("B12", "B11", "B8A", "B4", "B3", "B2"), ("RED", "NIR_NARROW", "SWIR_1"), (3, 2, 1)),
        (("swir22", "nir08", "green", "red"), ("RED", "NIR_BROAD"), (3, 1)),
        # As Earth Engine names bands that have come twice.
        (("B12_1", "B11_1", "B8A_1", "B4_1", "B3_1", "B1_1"), ("RED", "SWIR_1", "COASTAL_AEROSOL"), (3, 1, 5)),
        # A word that all names have is of the place or the product.
        (("Red_Sea_B02", "Red_Sea_B03", "Red_Sea_B04"), ("RED", "BLUE"), (2, 0)),
        (("RedSea_B02", "RedSea_B03", "RedSea_B04"), ("RED", "BLUE"), (2, 0)),
        (("cloud_free_B02", "cloud_free_B03", "cloud_free_B04"), ("RED", "BLUE"), (2, 0)),
        (("B05 red edge", "B06 red edge", "B07 red edge"), ("RED_EDGE_2",), (1,)),
        # A word of another layer is not: its bands have numbers of their own.
        (("TIR_Band11", "TIR_Band12"), ("SWIR_1", "SWIR_2"), None),
        (("SWIR_Band4", "SWIR_Band5", "SWIR_Band6"), ("RED", "RED_EDGE_1"), None),
        (("ndvi B2", "ndvi B3"), ("BLUE", "GREEN"), None),
        (("red B2", "blue B3"), ("RED", "BLUE"), (0, 1)),
        (("B 12", "band_11", "sur_refl_b04_1"), ("SWIR_2", "SWIR_1"), (0, 1)),
        (("SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6"), ("RED", "BLUE"), (2, 0)),
        # Of Landsat 8, or of earlier ones, which have no blue there.
        (("SR_B2", "SR_B3", "SR_B4", "SR_B5"), ("RED", "BLUE"), None),
        (("red", "red", "blue"), ("RED", "BLUE"), None),
        (("red", None, "blue"), ("RED", "GREEN", "BLUE"), None),
        # Each description is another band, so that one tells what another one means.
        (("nbart_swir_2", "nbart_swir_3"), ("SWIR_2", "SWIR_1"), (1, 0)),
        (("nbart_swir_1", "nbart_swir_2"), ("SWIR_2", "SWIR_1"), (1, 0)),
        (("nir", "nir08", "nir09"), ("NIR_NARROW", "NIR_BROAD"), (1, 0)),
        (("nir", "NIR", "nir08"), ("NIR_NARROW", "NIR_BROAD"), None),
        (("nir", "near infrared"), ("NIR_NARROW", "NIR_BROAD"), None),
        (("BROADNIR", "NIR"), ("NIR_NARROW", "NIR_BROAD"), (1, 0)),
        (("rededge1", "rededge", "rededge3"), ("RED_EDGE_2",), (1,)),
        ((None, None), ("RED", "BLUE"), None),
        (("Band 1", "Band 2", "Band 3"), ("BLUE", "GREEN"), None),
        # Positions, also beside a layer that has a name; numbers as soon as one of them is not the band's position.
        (("Band 1", "Band 2", "Band 3", "SCL"), ("BLUE", "GREEN"), None),
        (("b1", "b2", "b3", "b4"), ("BLUE", "GREEN"), None),
        (("T32TQM_b1", "T32TQM_b2", "T32TQM_b3"), ("BLUE", "GREEN"), None),
        (("T32TQM_B1", "T32TQM_B2", "T32TQM_B3"), ("BLUE", "GREEN"), (1, 2)),
        (("b1", "b2", "b3", "b8a"), ("BLUE", "GREEN"), (1, 2)),
        (("LT05_b1", "LT05_b2", "LT05_b3", "LT05_b4"), RGB, None),
        (("Band 1", "Band 2", "Band 3", "Band 8A"), ("BLUE", "GREEN"), (1, 2)),
    ],
)
def test_bands_are_found_where_each_is_named_once(descriptions, bands, expected):
    assert find_positions(descriptions, bands) == expected


@pytest.mark.parametrize(
    ("descriptions", "expected"),
    [
        (("B1", "B2", "B3", "B4"), False),
        (("B1", "B2", "B3", "SCL"), False),
        (("B1", "B2", "B3", "B8A"), True),
        (("B3", "B2"), True),
        (("B1 coastal", "B2 blue", "B3 green"), True),
        (("coastal", "blue", "green"), True),
        (("S2A_B1", "S2A_B2", "S2A_B3"), True),
    ],
)
def test_numbers_that_may_be_positions_must_be_confirmed_by_pixels(descriptions, expected):
    assert find_positions(descriptions, ("BLUE", "GREEN")) is not None
    assert are_named(descriptions, ("BLUE", "GREEN")) == expected


@pytest.mark.parametrize(
    ("descriptions", "expected"),
    [
        (("LT05_L2SP_193029_SR_B1", "LT05_L2SP_193029_SR_B2"), "Landsat 4, 5 or 7"),
        (("LC09_B2", None), "Landsat 8 or 9"),
        (("LM05_L1TP_193029_19850701_B1",), "the MSS of Landsat 4 or 5"),
        (("SR_B2", "SR_B3"), "Landsat"),
        (("SR_B8", "SR_B11", "SR_B12"), "Sentinel-2"),
        (("B4", "B3", "B2", "B8", "B11", "B12"), "Sentinel-2"),
        (("B4", "B3", "B2"), None),
        (tuple(f"B{number}" for number in range(1, 13)), None),
        (("S2A_B2", "S2B_B3"), "Sentinel-2"),
        (("S2A_B2", "LC08_B3"), None),
        (("B2", "blue"), None),
        ((None,), None),
    ],
)
def test_the_satellite_that_descriptions_name(descriptions, expected):
    assert find_satellite(descriptions) == expected


def test_letters_of_french_spanish_and_italian_name_bands():
    assert find_positions(("R", "V", "B", "PIR"), ("BLUE", "GREEN", "RED", "NIR_BROAD")) == (2, 1, 0, 3)


@pytest.mark.parametrize("last", ["IR", "I", "quality", "NIR"])
def test_letters_in_another_order_contradict_the_study_whatever_stands_beside_them(last):
    names = BandNames(("R", "G", "B", last))
    assert "describes its bands as R, G, B" in names.find_contradiction(("BLUE", "GREEN", "RED", "NIR_BROAD"))
    places = None if last == "quality" else (2, 1, 0, 3)
    assert names.find_positions(("BLUE", "GREEN", "RED", "NIR_BROAD")) == places


@pytest.mark.parametrize(
    ("satellite", "green", "red", "nir"),
    [("LM05", 1, 2, 4), ("LM4", 1, 2, 4), ("LM02", 4, 5, 7), ("Landsat 5 MSS", 1, 2, 4), ("landsat3_mss", 4, 5, 7)],
)
def test_the_scanner_of_the_first_landsats_has_numbers_of_its_own(satellite, green, red, nir):
    """USGS: green, red and two bands of the near infrared; the Thematic Mapper of Landsat 4 and 5 has blue as B1."""

    def names(numbers):
        return tuple(f"{satellite}_L1TP_193029_19850701_20200912_02_T2_B{number}" for number in numbers)

    assert find_positions(names((nir, green, red)), ("GREEN", "RED", "NIR_NARROW")) == (1, 2, 0)
    assert find_positions(names(range(green, nir + 1)), ("BLUE", "GREEN", "RED", "NIR_NARROW")) is None
    assert BandNames(names(range(green, nir + 1))).find_contradiction(("BLUE", "GREEN", "RED", "NIR_NARROW"))


def test_numbers_that_may_be_of_sentinel_2_or_of_landsat_are_refused_where_the_bands_differ():
    """Of pixels of 25 m and more; smaller ones are no Landsat."""
    landsat = tuple(f"B{number}" for number in range(1, 12))
    four = ("BLUE", "GREEN", "RED", "NIR_BROAD")
    assert answers(landsat, four) == ((1, 2, 3, 7), (1, 2, 3, 4))
    assert find_positions(landsat, four) is None
    assert find_positions(landsat, four, may_be_landsat=False) == (1, 2, 3, 7)
    with pytest.raises(ChipError, match=r"\(Sentinel-2: .*NIR_BROAD in B8; Landsat 8 or 9: .*NIR_BROAD in B5\)"):
        find_bands(landsat, four, True)
    assert find_bands(landsat, four, True, may_be_landsat=False) == (1, 2, 3, 7)
    assert find_bands(landsat, four[:3], True) == (1, 2, 3)
    assert are_named((*landsat[1:], "B12"), four), "only Sentinel-2 has so many bands"
    # Only Landsat has a near infrared there, but the file may be of Sentinel-2.
    with pytest.raises(ChipError, match=r"\(Sentinel-2: not all bands of the study; Landsat 8 or 9: BLUE in B2, .*\)"):
        find_bands(landsat[:7], four, True)
    assert not are_named(landsat[1:5], four)
    # Also where there are as many bands: B5 may be a red edge.
    with pytest.raises(ChipError, match="can be of several satellites"):
        find_bands(landsat[1:5], four, True)
    assert find_satellites_meant(landsat[1:5], four) == ("Landsat 8 or 9",)
    assert find_satellites_meant(landsat[1:5], four, may_be_landsat=False) == ()


def test_b8_is_a_near_infrared_only_where_no_landsat_can_be_meant():
    """B8 of Landsat is panchromatic, B5 of Sentinel-2 a red edge; only Sentinel-2 has a scene classification."""
    four = ("BLUE", "GREEN", "RED", "NIR_BROAD")
    numbers = tuple(f"B{number}" for number in range(2, 9))
    assert answers(numbers, four) == ((0, 1, 2, 6), (0, 1, 2, 3))
    assert answers(numbers, four, may_be_landsat=False) == ((0, 1, 2, 6),)
    assert answers(("B4", "B3", "B2", "B8", "ndvi"), four) == ((2, 1, 0, 3), None)
    assert answers(("B4", "B3", "B2", "B8", "SCL"), four) == ((2, 1, 0, 3),)
    assert are_named((*numbers, "SCL"), four)
    with pytest.raises(ChipError, match="expected 4, or descriptions"):
        find_bands((*numbers, "SCL"), ("BLUE", "GREEN", "RED", "NIR_NARROW"), True)


@pytest.mark.parametrize(
    "numbers",
    ["B2 B3 B4 B5", "B02 B3 b4 B05", "B5 B4 B3 B2", "B1 B2 B3 B4 B5 B6 B7", "B2 B3 B4 B5 B6", "02 03 04 05"],
)
def test_numbers_are_meant_as_those_of_the_training_chips(numbers):
    known = find_satellites_meant(("B2", "B3", "B4", "B5"), FOUR)
    names = tuple(numbers.split())
    found = find_bands(names, FOUR, True, satellites=known)
    assert [int(names[place].lower().removeprefix("b")) for place in found] == [2, 3, 4, 5]
    assert not are_named(names, FOUR), "pixels confirm it"
    for others in ((), ("Sentinel-2",)):
        with pytest.raises(ChipError, match="can be of several satellites"):
            find_bands(names, FOUR, True, satellites=others)


@pytest.mark.parametrize("others", [("B8",), ("B1", "B8"), ("B6", "B7", "B8"), ("B8", "QA")])
def test_a_file_with_two_near_infrareds_is_refused_whatever_the_training_chips_are(others):
    """B8 is the panchromatic band of Landsat, or the near infrared of Sentinel-2 with B5 as red edge."""
    for trained in ("B2 B3 B4 B5", "B2 B3 B4 B8"):
        known = find_satellites_meant(tuple(trained.split()), FOUR)
        assert len(known) == 1
        with pytest.raises(ChipError, match="can be of several satellites"):
            find_bands(("B2", "B3", "B4", "B5", *others), FOUR, True, satellites=known)


@pytest.mark.parametrize("other", ["B8 pan", "B9 cirrus", "B10 thermal"])
def test_a_word_that_agrees_with_its_number_tells_the_satellite(other):
    found = answers(("B2", "B3", "B4", "B5", "B6", "B7", other), SIX)
    assert (0, 1, 2, 3, 4, 5) in found
    assert len(found) == (1 if other != "B10 thermal" else 2), "B10 of Sentinel-2 is no band either"


def test_names_that_catalogues_give_to_the_bands_of_sentinel_2():
    """Of Earth Engine, which calls B8A the fourth red edge, and ESA, which calls it a red edge and B10 a SWIR."""
    earth_engine = ("Blue", "Green", "Red", "NIR", "Red Edge 4", "SWIR 1", "SWIR 2")
    assert find_positions(earth_engine, SIX) == (0, 1, 2, 4, 5, 6)
    assert find_positions(earth_engine, FOUR) == (0, 1, 2, 3)
    esa = (
        "B02 Blue", "B03 Green", "B04 Red", "B05 Vegetation red edge", "B8A Vegetation red edge", "B10 SWIR - Cirrus",
        "B11 SWIR", "B12 SWIR",
    )  # fmt: skip
    assert find_positions(esa, SIX) == (0, 1, 2, 4, 6, 7)
    assert find_contradiction(esa[4:5], ("NIR_NARROW",)) is None
    assert find_contradiction(esa[4:5], ("RED_EDGE_3",)) is not None


@pytest.mark.parametrize(
    "stem",
    [
        "green_space_12",
        "coastal_water_3",
        "rio_verde",
        "B2",
        "A_B3",
        "S2A_B04",
        "red soil",
        "ile_de_re",
        "swir",
        "rededge",
    ],
)
def test_layers_that_r_names_by_a_file_say_nothing(stem):
    """The name of the file and a counter, of a file whose name has the word or the number of a band."""
    names = tuple(f"{stem}_{number}" for number in range(1, 7))
    assert find_contradiction(names, SIX) is None
    assert find_positions(names, SIX) is None, "they name no band either"
    assert not are_named(names, SIX)
    assert find_bands(names, SIX, True) == (0, 1, 2, 3, 4, 5), "in the declared order, which pixels must confirm"


@pytest.mark.parametrize(
    ("names", "bands"),
    [
        (("red_edge_1", "red_edge_2", "red_edge_3"), ("RED_EDGE_1", "RED_EDGE_2", "RED_EDGE_3")),
        (("swir_1", "swir_2"), ("SWIR_1", "SWIR_2")),
        (("B1", "B2", "B3"), ("COASTAL_AEROSOL", "BLUE", "GREEN")),
    ],
)
def test_numbers_that_name_bands_are_no_counters(names, bands):
    assert find_positions(names, bands) == tuple(range(len(bands)))


@pytest.mark.parametrize(
    "scheme",
    [
        *("B{} (band {place})", "B{}_b{place}", "Band {place}: B{}", "B{} band{place}"),
        *("Bande {}", "banda_{}", "Kanal {}", "channel {}", "Canale {}"),
    ],
)
def test_numbers_of_bands_count_and_their_places_in_the_file_do_not(scheme):
    numbers = ("4", "3", "2", "8A", "11", "12")
    names = tuple(scheme.format(number, place=place) for place, number in enumerate(numbers, 1))
    assert find_positions(names, SIX) == (2, 1, 0, 3, 4, 5)
    assert are_named(names, SIX)
    counted = tuple(scheme.format(place, place=place) for place in range(1, 7))
    assert not are_named(counted, SIX), "they may be positions"


@pytest.mark.parametrize("scheme", ["Rrs_{}", "rhos_{}", "wavelength={}", "Band {}", "b{}", "{}"])
@pytest.mark.parametrize("shift", [0, 1])
def test_wavelengths_behind_one_word_name_bands(scheme, shift):
    """As ACOLITE and SNAP write them; ACOLITE has those of each satellite, some nm beside the nominal ones."""
    names = tuple(scheme.format(nm + shift) for nm in (665, 560, 490, 865, 1610, 2190))
    assert find_positions(names, SIX) == (2, 1, 0, 3, 4, 5)
    micrometres = tuple(scheme.format((nm + shift) / 1000) for nm in (665, 560, 490, 865, 1610, 2190))
    assert find_positions(micrometres, SIX) == (2, 1, 0, 3, 4, 5)


def test_numbers_that_are_no_wavelengths_say_nothing():
    assert find_positions(("plot_665", "plot_560", "plot_491", "plot_300"), ("RED",)) is None
    assert find_positions(("a_665", "b_560", "c_490"), ("RED",)) is None


@pytest.mark.parametrize("word", ["scl_masked", "pan", "fmask", "alpha"])
def test_a_word_that_all_band_files_share_tells_nothing(word):
    names = tuple(f"{word}_{number}" for number in ("B02", "B03", "B04", "B8A", "B11", "B12"))
    assert find_positions(names, SIX, of_one_file=False) == (0, 1, 2, 3, 4, 5)


def test_numbers_without_the_thermal_band_may_be_of_the_first_landsats():
    """Of Earth Engine's LT05 and LE07: B3, B2, B1 are red, green, blue there."""
    names = ("B1", "B2", "B3", "B4", "B5", "B7")
    assert answers(names, RGB) == ((3, 2, 1), (2, 1, 0))
    with pytest.raises(ChipError, match=r"Landsat 4, 5 or 7: RED in B3"):
        find_bands(names, RGB, True)
    assert find_bands(names, SIX, True, ("Landsat 4, 5 or 7",)) == (0, 1, 2, 3, 4, 5)
    assert find_bands(names, RGB, True, may_be_landsat=False) == (3, 2, 1)
    assert answers((*names, "B8"), RGB) == ((3, 2, 1), (2, 1, 0)), "of Landsat 7"
    for others in ((*names, "B6"), names[1:], (*names, "B8A")):
        assert len(answers(others, RGB)) == 1


@pytest.mark.parametrize("other", ["NIRn", "NNIR", "NIR2", "nir_2", "RE4", "VRE4", "Narrow NIR"])
def test_a_near_infrared_beside_another_one_is_not_taken_for_it(other):
    """Of NIR alone, nobody knows whether it is the broad or the narrow one."""
    names = ("Blue", "Green", "Red", "NIR", other, "SWIR 1", "SWIR 2")
    assert find_positions(names, SIX) in (None, (0, 1, 2, 4, 5, 6))
    assert find_positions((*names[:4], *names[5:]), SIX) == (0, 1, 2, 3, 4, 5)


@pytest.mark.parametrize("number", ["1", "01", "10"])
def test_a_number_that_all_bands_have_says_nothing(number):
    """As programs write that copy the name of the one band of each file."""
    assert find_contradiction((number,) * 3, RGB) is None
    assert find_contradiction((number,) * 3, RGB, of_one_file=False) is None


def test_numbers_that_count_layers_of_several_files_say_nothing():
    """As R's terra calls layers."""
    for numbers in (("1", "1", "1"), ("1", "2", "3")):
        assert find_contradiction(numbers, RGB, of_one_file=False) is None
    assert find_positions(("02", "03", "04"), RGB, of_one_file=False) == (2, 1, 0), "02.tif, 03.tif and 04.tif"
    assert find_positions(("02", "03", "8A"), ("NIR_NARROW", "BLUE"), of_one_file=False) == (2, 0)
    assert find_contradiction(("b1", "b2", "b3"), RGB, of_one_file=False) is not None, "names of files"


def test_words_of_red_edges_are_of_no_place():
    for names in (("B5_RedEdge1", "B6_RedEdge2", "B7_RedEdge3"), ("B5 red edge1", "B6 red edge2", "B7 red edge3")):
        assert find_contradiction(names, ("NIR_NARROW", "SWIR_1", "SWIR_2")) is not None
        assert find_contradiction(names, ("RED_EDGE_1", "RED_EDGE_2", "RED_EDGE_3")) is None
    assert find_contradiction(("bord rouge b1", "rouge b2"), ("RED", "RED_EDGE_1"), may_be_landsat=False) is not None
    assert find_positions(("bordeaux_red_B02", "bordeaux_red_B03", "bordeaux_red_B04"), ("RED", "BLUE")) == (2, 0)
    names = ("Green_Bay_B3", "Green_Bay_B4", "Green_Bay_RedEdge_B5")
    assert find_positions(names, ("RED", "RED_EDGE_1")) == (1, 2)


LANDSAT_5 = ("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "ST_B6", "SR_B7")
LANDSAT_8 = ("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7", "ST_B10", "SR_QA_AEROSOL", "QA_PIXEL")
HLS_NAME = "HLS.L30.T32TQM.2020001T100319.v2.0"
HLS_30_M = tuple(f"{HLS_NAME}.B{number:02d}" for number in (1, 2, 3, 4, 5, 6, 7, 9, 10, 11))


@pytest.mark.parametrize(
    ("descriptions", "expected"),
    [
        pytest.param(LANDSAT_5, (0, 1, 2, 3, 4, 6), id="Landsat 5 with its thermal band"),
        pytest.param(
            tuple(f"LT05_L2SP_193029_20100701_20200823_02_T1_{name}" for name in LANDSAT_5),
            (0, 1, 2, 3, 4, 6),
            id="LT05",
        ),
        pytest.param(tuple(f"LE07_B{number}" for number in range(1, 9)), (0, 1, 2, 3, 4, 6), id="LE07"),
        pytest.param(LANDSAT_8, (1, 2, 3, 4, 5, 6), id="Landsat 8 with its thermal band"),
        pytest.param(tuple(f"LC09_B{number}" for number in range(1, 12)), (1, 2, 3, 4, 5, 6), id="LC09"),
        pytest.param(HLS_30_M, (1, 2, 3, 4, 5, 6), id="HLS of Landsat by its name"),
        pytest.param(tuple(f"sur_refl_b0{number}" for number in range(1, 8)), (2, 3, 0, 1, 5, 6), id="MODIS"),
    ],
)
def test_numbers_mean_what_the_satellite_counts(descriptions, expected):
    assert answers(descriptions, SIX) == (expected,)
    assert find_positions(descriptions, SIX) == expected


def test_numbers_of_landsat_that_mean_other_bands_before_landsat_8_are_not_taken_for_one_of_them():
    four = LANDSAT_5[:4]
    assert answers(four, SIX[:3]) == ((1, 2, 3), (0, 1, 2))
    assert find_positions(four, SIX[:3]) is None
    # Only one of them has a near infrared among these, and the file may be of the other one.
    assert answers(four, SIX[:4]) == (None, (0, 1, 2, 3))
    with pytest.raises(ChipError, match="can be of several satellites"):
        find_bands(four, SIX[:4], True)
    known = find_satellites_meant(four, SIX[:4])
    assert known == ("Landsat 4, 5 or 7",)
    assert find_bands(four, SIX[:4], True, satellites=known) == (0, 1, 2, 3), "as the training chips"
    with pytest.raises(ChipError, match="can be of several satellites"):
        find_bands(LANDSAT_5[:5], SIX[:4], True, satellites=known)
    with pytest.raises(ChipError, match=r"BLUE in SR_B2, .*; Landsat 4, 5 or 7: BLUE in SR_B1, .*LT05_SR_B1"):
        find_bands(four, SIX[:3], True)
