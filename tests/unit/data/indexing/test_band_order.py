"""A wrong order of bands that no file names: which are found, and that the right order is not doubted."""

import itertools

import numpy as np
import pytest
import rasterio

from helpers.chips import make_spec, write_tif
from helpers.land import BANDS, KINDS, draw_land
from helpers.real_chips import FOLDER, needs_real_chips
from terralucas.data.chips.chip_files import read_chip
from terralucas.data.indexing.band_order import find_wrong_order, measure_spectrum, require_order
from terralucas.data.indexing.index import index_chips
from terralucas.errors import StudyError
from terralucas.predict.bands import require_same_order
from terralucas.predict.likeness import TrainingPixels
from terralucas.predict.new_chips import ChipReader, NewChip, check_sample
from terralucas.predict.options import PredictOptions

SIX = ("BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2")
FIELDS = draw_land("fields", 30)
REMEDY = "set dataset.bands: {orders}"


def reorder(chips, on_disk):
    """Chips of `BANDS` with the bands of a file in its order."""
    return [measure_spectrum(chip[[BANDS.index(band) for band in on_disk]]) for chip in chips]


def test_a_spectrum_is_that_of_the_pixels_with_all_bands():
    values = np.random.default_rng(1).uniform(0, 0.5, (3, 16, 16))
    values[1, 0] = np.nan
    spectrum = measure_spectrum(values)
    present = values[:, 1:].reshape(3, -1)
    assert spectrum.median == pytest.approx(np.median(present, axis=1))
    assert spectrum.spread == pytest.approx(np.subtract(*np.percentile(present, [90, 10], axis=1)))
    assert spectrum.correlation == pytest.approx(np.corrcoef(present), abs=1e-6)
    assert measure_spectrum(values[:, :4, :8]) is None


def test_a_band_of_one_value_has_no_correlation():
    values = np.random.default_rng(1).uniform(0, 0.5, (2, 16, 16))
    values[1] = 0.2
    assert measure_spectrum(values).correlation[0] == pytest.approx([1, 0], abs=1e-6)


@pytest.mark.parametrize(
    ("declared", "on_disk"),
    [
        (("RED", "GREEN", "BLUE", "NIR_BROAD"), ("BLUE", "GREEN", "RED", "NIR_BROAD")),
        (("RED", "GREEN", "BLUE", "NIR_BROAD"), ("NIR_BROAD", "RED", "GREEN", "BLUE")),
        (SIX, ("RED", "GREEN", "BLUE", *SIX[3:])),
        (SIX, (*SIX[:4], "SWIR_2", "SWIR_1")),
        (SIX, SIX[::-1]),
    ],
)
def test_a_wrong_order_is_refused_and_the_right_one_named(declared, on_disk):
    with pytest.raises(StudyError) as error:
        require_order(reorder(FIELDS, on_disk), declared, "dataset 'mine'", REMEDY)
    assert error.value.problem == f"The bands of dataset 'mine' have another order than {', '.join(declared)}."
    assert " in 0 of 30 chips" in error.value.found
    assert f"[{', '.join(on_disk)}]" in error.value.remedy
    assert require_order(reorder(FIELDS, on_disk), on_disk, "dataset 'mine'", REMEDY) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", [lambda chip: chip, lambda chip: chip + 0.1, lambda chip: chip[:, ::2, ::2]])
def test_the_right_order_is_never_refused(kind, change):
    chips = [change(chip) for chip in draw_land(kind, 20)]
    for bands in (BANDS, SIX, SIX[:4], SIX[:3]):
        require_order(reorder(chips, bands), bands, "dataset 'mine'", REMEDY)


def test_water_and_few_chips_decide_nothing():
    spectrum = np.array([0.09, 0.07, 0.05, 0.02, 0.01, 0.01]).reshape(6, 1, 1)
    water = [measure_spectrum(spectrum * np.random.default_rng(n).uniform(0.8, 1.2, (6, 16, 16))) for n in range(20)]
    for order in itertools.permutations(range(6)):
        assert find_wrong_order(water, [SIX[place] for place in order]) is None
    assert find_wrong_order(reorder(FIELDS[:9], SIX[::-1]), SIX) is None
    assert find_wrong_order([], SIX) is None


# EuroSAT has B8A last.
@pytest.mark.parametrize("on_disk", [(*BANDS[:8], *BANDS[9:], "NIR_NARROW"), BANDS[::-1]])
def test_a_wrong_order_of_twelve_bands_is_refused(on_disk):
    with pytest.raises(StudyError, match="have another order than COASTAL_AEROSOL, BLUE") as error:
        require_order(reorder(FIELDS, on_disk), BANDS, "dataset 'mine'", REMEDY)
    fitting = find_wrong_order(reorder(FIELDS, on_disk), BANDS).fitting
    # Bands at neighbouring wavelengths are too much alike to be told apart.
    families = (
        "COASTAL_AEROSOL BLUE GREEN RED",
        "RED_EDGE_2 RED_EDGE_3 NIR_BROAD NIR_NARROW WATER_VAPOR",
        "SWIR_1 SWIR_2",
    )
    family = {band: number for number, names in enumerate(families) for band in names.split()}
    assert [family.get(band) for band in fitting[0]] == [family.get(band) for band in on_disk]
    assert f"[{', '.join(fitting[0])}]" in error.value.remedy


def test_correlations_alone_are_only_said():
    # GREEN and RED exchanged: only the peak of vegetation in green, which its brightness shows in few chips, tells.
    wrong = reorder(FIELDS, ("BLUE", "RED", "GREEN", "NIR_NARROW"))
    found = find_wrong_order(wrong, SIX[:4])
    assert not found.is_certain
    assert found.fitting[0] == ("BLUE", "RED", "GREEN", "NIR_NARROW")
    said = require_order(wrong, SIX[:4], "dataset 'mine'", REMEDY)
    assert said.startswith(
        "the bands of dataset 'mine' may not be BLUE, GREEN, RED, NIR_NARROW in this order: NIR_NARROW"
    )


NAMES = {"RED": "B04", "GREEN": "B03", "BLUE": "B02", "NIR_BROAD": "B08"}
RGBN = tuple(NAMES)


def write_chips(folder, on_disk, describe=False):
    for number, chip in enumerate(FIELDS[:24]):
        values = chip[[BANDS.index(band) for band in on_disk]]
        path = write_tif(folder / "12"[number % 2] / f"{number}.tif", values)
        if describe:
            with rasterio.open(path, "r+") as target:
                target.descriptions = [NAMES[band] for band in on_disk]
    return folder


def index(folder, bands=RGBN, **checks):
    spec = make_spec(bands=list(bands), layout={"labels": "folders"}, point_ids="none", checks=checks)
    return index_chips(folder, spec, min_chips_per_class=1, threads=1, progress=False)[1]


def test_chips_in_another_order_than_configured_stop_the_study(tmp_path):
    folder = write_chips(tmp_path, ("BLUE", "GREEN", "RED", "NIR_BROAD"))
    with pytest.raises(
        StudyError, match="The bands of dataset 'tiny' have another order than RED, GREEN, BLUE"
    ) as error:
        index(folder)
    assert "set dataset.bands: [BLUE, GREEN, RED, NIR_BROAD]" in error.value.remedy
    assert "dataset.checks.band_order: false" in error.value.remedy
    assert index(folder, band_order=False)["notices"] == []
    assert index(folder, bands=("BLUE", "GREEN", "RED", "NIR_BROAD"))["notices"] == []


def test_of_chips_that_partly_name_their_bands_the_others_are_meant(tmp_path):
    """With the order of the others, those that name their bands would be refused."""
    write_chips(tmp_path, ("BLUE", "GREEN", "RED", "NIR_BROAD"))
    for number, chip in enumerate(FIELDS[24:30]):
        path = write_tif(
            tmp_path / "12"[number % 2] / f"named {number}.tif", chip[[BANDS.index(band) for band in RGBN]]
        )
        with rasterio.open(path, "r+") as target:
            target.descriptions = [NAMES[band] for band in RGBN]
    with pytest.raises(StudyError, match=r"The bands of 24 of the 30 chips of dataset 'tiny', whose files do") as error:
        index(tmp_path)
    assert "1/0.tif" in str(error.value)
    assert error.value.remedy.startswith("if the other chips name their bands, write these again in the order")


def test_files_that_name_their_bands_are_believed(tmp_path):
    odd = write_chips(tmp_path, RGBN, describe=True)
    assert index(odd)["notices"] == []


def test_visible_bands_alone_are_a_notice_unless_the_files_name_them(tmp_path):
    write_chips(tmp_path / "a", RGBN[:3])
    write_chips(tmp_path / "b", RGBN[:3], describe=True)
    (notice,) = index(tmp_path / "a", bands=RGBN[:3])["notices"]
    assert notice.startswith("nothing tells whether the bands of 24 chips have the order of dataset.bands (RED, GREEN")
    assert index(tmp_path / "b", bands=RGBN[:3])["notices"] == []


def test_new_chips_in_another_order_are_refused_unless_they_are_named_or_allowed(tmp_path):
    training = TrainingPixels(24, 0, 1.0, 1.0, (0.0, 0.09), (0.1, 0.1, 0.1, 0.3))
    reader = ChipReader(make_spec(bands=list(RGBN)), 32, 10)
    for describe in (False, True):
        write_chips(tmp_path / str(describe), RGBN[::-1], describe)
    wrong, named = (
        [NewChip(path.stem, str(path)) for path in sorted((tmp_path / str(describe)).rglob("*.tif"))]
        for describe in (False, True)
    )
    with pytest.raises(StudyError, match="The bands of the chips have another order than RED, GREEN, BLUE") as error:
        check_sample(wrong, reader, training)
    assert "[NIR_BROAD, BLUE, GREEN, RED]" in error.value.remedy
    assert "--allow-band-order" in error.value.remedy
    (warning,) = check_sample(wrong, reader, training, PredictOptions(allow_band_order=True))["warnings"]
    assert warning.startswith("The bands of the chips have another order")
    assert check_sample(named, reader, training)["warnings"] == []


def test_a_study_whose_order_is_confirmed_asks_nothing_of_new_chips():
    chips = [chip[[BANDS.index(band) for band in RGBN[::-1]]] for chip in FIELDS]
    with pytest.raises(StudyError, match="windows of the scene"):
        require_same_order(chips, make_spec(bands=list(RGBN)), False, "windows of the scene")
    assert require_same_order(chips, make_spec(bands=list(RGBN), checks={"band_order": False}), False, "chips") == []


def test_a_picture_that_is_no_land_decides_nothing():
    # Bands without any relation but one: the second varies more than the first, as the red of land does, and not here.
    random = np.random.default_rng(5)
    width = np.array([0.02, 0.4, 0.4, 0.4, 0.4, 0.4]).reshape(6, 1, 1)
    odd = [0.25 + width * random.uniform(-0.5, 0.5, (6, 32, 32)) for _ in range(40)]
    bands = ("RED", "GREEN", "BLUE", "NIR_BROAD", "SWIR_1", "SWIR_2")
    assert find_wrong_order([measure_spectrum(chip) for chip in odd], bands) is None


@needs_real_chips
def test_real_chips_show_wrong_orders_and_no_class_of_them_doubts_the_right_one():
    spec = make_spec(unit="dn", bands=list(SIX))
    classes = {}
    for path in sorted(FOLDER.rglob("*.tif")):
        classes.setdefault(path.parent.name, []).append(measure_spectrum(read_chip(path, spec)))
    everything = [spectrum for chips in classes.values() for spectrum in chips]
    for chips in (everything, *classes.values()):
        assert find_wrong_order(chips, SIX) is None
    for i, j in itertools.combinations(range(6), 2):
        declared = list(SIX)
        declared[i], declared[j] = declared[j], declared[i]
        assert SIX in find_wrong_order(everything, declared).fitting[:3]
