"""The simulated data: laid out as the real data, land-like, with real spectra, and not trivial."""

from __future__ import annotations

import io
import resource
import tarfile
import zlib
from collections import Counter, defaultdict
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from rasterio.io import MemoryFile

from terralucas.data.discovery.lucas import italy_class_counts, italy_grid_points, parse_point_id
from terralucas.data.simulation.simulate import write_archive
from terralucas.errors import StudyError
from terralucas.geography import ASSETS

ROOT = "Lucas_Chips_Geo_Italy"
CHIPS = 500
SIZE = 32
COVER_OF_CODE = {1: "arable", 3: "grass", 4: "wooded"}
TABLE_BANDS = ("red", "green", "blue", "nir", "swir1", "swir2")


def simulate(path, **changes):
    write_archive(path, **({"chips": 12, "size_px": 16, "seed": 3, "progress": False} | changes))
    return path


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Content of each file of a simulated archive, by name."""
    path = simulate(tmp_path_factory.mktemp("simulated") / "chips.tar.gz", chips=CHIPS, size_px=SIZE, seed=11)
    with tarfile.open(path, "r:gz") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}


@pytest.fixture(scope="module")
def labels(members):
    table = pd.read_csv(io.BytesIO(members[f"{ROOT}/chips_LC_class.csv"]), dtype={"Point_ID": str})
    return table.set_index("Point_ID")["STR18"]


@pytest.fixture(scope="module")
def tiffs(members):
    """(code of the folder, content) of each chip, by point id."""
    found = {}
    for name, content in members.items():
        parts = name.split("/")
        if name.endswith(".tif") and not parts[-1].startswith("._"):
            assert len(parts) == 3
            found[parts[2].removesuffix(".tif")] = (int(parts[1]), content)
    return found


@pytest.fixture(scope="module")
def chips(tiffs, labels):
    """Pixels of all chips (n, 6, H, W), in the order of the table of labels."""
    stack = []
    for point_id in labels.index:
        with MemoryFile(tiffs[point_id][1]) as memory, memory.open() as dataset:
            stack.append(dataset.read())
    return np.stack(stack)


def test_files_lie_where_the_real_ones_do(members, tiffs, labels):
    assert {name.split("/")[0] for name in members} == {ROOT}
    assert members[f"{ROOT}/chips_LC_class.csv"].startswith(b"Point_ID,STR18\n")
    assert len(tiffs) == len(labels) == CHIPS
    assert {code for code, _ in tiffs.values()} == set(range(1, 11))


def test_folder_and_table_give_the_same_label(tiffs, labels):
    assert {point_id: code for point_id, (code, _) in tiffs.items()} == labels.to_dict()


def test_members_stay_inside_the_root_folder_and_come_in_order_of_class(tmp_path):
    with tarfile.open(simulate(tmp_path / "chips.tar.gz")) as archive:
        entries = archive.getmembers()
    assert all(entry.isfile() or entry.isdir() for entry in entries)
    folders = [entry.name for entry in entries if entry.isdir()]
    assert folders == [ROOT, *(f"{ROOT}/{code}" for code in sorted(map(str, range(1, 11))))]


def test_a_chip_is_a_six_band_float_geotiff_of_reflectance_centred_on_its_point(tiffs):
    for point_id, (_, content) in list(tiffs.items())[::50]:
        with MemoryFile(content) as memory, memory.open() as dataset:
            assert dataset.driver == "GTiff"
            assert (dataset.count, dataset.height, dataset.width) == (6, SIZE, SIZE)
            assert set(dataset.dtypes) == {"float32"}
            assert dataset.tags()["TERRALUCAS_SIMULATED"] == "yes"
            assert dataset.crs.to_epsg() == 3035
            assert dataset.res == (30.0, 30.0)
            west, south, east, north = dataset.bounds
            assert ((west + east) / 2, (south + north) / 2) == parse_point_id(point_id)


def test_reflectance_is_finite_and_valid(chips):
    assert np.isfinite(chips).all()
    assert chips.min() >= np.float32(1e-4)
    assert chips.max() <= 1


def test_the_archive_has_the_litter_of_the_real_one(members):
    litter = [content for name, content in members.items() if name.split("/")[-1].startswith("._")]
    assert f"{ROOT}/._chips_LC_class.csv" in members
    assert any(name.split("/")[-1].startswith("._") and name.endswith(".tif") for name in members)
    assert all(content.startswith(b"\x00\x05\x16\x07") for content in litter)
    nested = members[f"{ROOT}/{ROOT}.tar.gz"]
    assert nested.startswith(b"\x1f\x8b")
    assert not_whole(nested)


def not_whole(packed: bytes) -> bool:
    stream = zlib.decompressobj(wbits=31)
    stream.decompress(packed)
    return not stream.eof


def test_same_arguments_give_the_same_bytes(tmp_path):
    first, again = simulate(tmp_path / "one.tar.gz"), simulate(tmp_path / "two.tar.gz")
    assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("change", [{"seed": 4}, {"chips": 13}, {"size_px": 17}])
def test_other_arguments_give_other_bytes(tmp_path, change):
    assert simulate(tmp_path / "one.tar.gz").read_bytes() != simulate(tmp_path / "two.tar.gz", **change).read_bytes()


@contextmanager
def files_no_larger_than(size):
    """This process can write no longer files, as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failure_leaves_no_file(tmp_path):
    whole = simulate(tmp_path / "whole.tar.gz").stat().st_size
    (tmp_path / "failed").mkdir()
    with pytest.raises(OSError, match="File too large"), files_no_larger_than(whole // 2):
        simulate(tmp_path / "failed" / "chips.tar.gz")
    assert list((tmp_path / "failed").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"chips": 9}, "at least 10"),
        ({"chips": 1_000_000}, "points of the 2 km grid"),
        ({"size_px": 8}, "at least 16 px"),
    ],
)
def test_impossible_requests_are_errors_that_say_what_is_possible(tmp_path, change, expected):
    with pytest.raises(StudyError, match=expected):
        simulate(tmp_path / "chips.tar.gz", **change)


def test_classes_have_the_shares_of_the_study(labels):
    assert dict(Counter(labels)) == italy_class_counts(CHIPS)


def test_points_are_unique_places_of_the_grid_in_italy(labels):
    assert labels.index.is_unique
    grid = set(map(tuple, italy_grid_points().tolist()))
    assert all((int(point_id[:4]), int(point_id[4:])) in grid for point_id in labels.index)


@pytest.mark.parametrize("code", COVER_OF_CODE)
def test_the_centre_pixel_has_the_spectrum_of_its_class(chips, labels, code):
    """The median, because a real median composite has some cloud left too; log-normal as the simulation is."""
    row = pd.read_csv(ASSETS / "lucas_class_spectra.csv", index_col="land_cover").loc[COVER_OF_CODE[code]]
    mean = row[[f"mean_{band}" for band in TABLE_BANDS]].to_numpy(dtype=float)
    spread = row[[f"std_{band}" for band in TABLE_BANDS]].to_numpy(dtype=float)
    median = mean / np.sqrt(1 + (spread / mean) ** 2)
    centre = chips[labels.to_numpy() == code][:, :, SIZE // 2, SIZE // 2]
    np.testing.assert_array_less(np.abs(np.median(centre, axis=0) - median) / spread, 0.6)
    quartiles = np.percentile(centre, [25, 75], axis=0)
    spread_seen = (quartiles[1] - quartiles[0]) / 1.349
    assert np.all((spread_seen / spread > 0.5) & (spread_seen / spread < 1.8))


def test_vegetation_is_bright_in_the_near_infrared_and_water_is_not(chips, labels):
    """Would catch a wrong order of bands."""
    red, near_infrared = chips[:, 0, SIZE // 2, SIZE // 2], chips[:, 3, SIZE // 2, SIZE // 2]
    vegetation_index = (near_infrared - red) / (near_infrared + red)
    median = {code: np.median(vegetation_index[labels.to_numpy() == code]) for code in (3, 4, 9)}
    assert median[3] > 0.4
    assert median[4] > 0.4
    assert median[9] < 0


def test_neighbouring_pixels_resemble_each_other_in_every_direction(chips):
    sample = chips[::10, 3]
    shuffled = np.random.default_rng(0).permuted(sample.reshape(len(sample), -1), axis=1).reshape(sample.shape)
    for one, other in [
        (np.s_[:, :, 1:], np.s_[:, :, :-1]),
        (np.s_[:, 1:, :], np.s_[:, :-1, :]),
    ]:
        along = [np.corrcoef(chip[one].ravel(), chip[other].ravel())[0, 1] for chip in sample[:, None]]
        chance = [np.corrcoef(chip[one].ravel(), chip[other].ravel())[0, 1] for chip in shuffled[:, None]]
        assert np.median(along) > 0.8
        assert abs(np.median(chance)) < 0.05


def test_opposite_edges_of_a_chip_are_not_joined(chips):
    jump_at_edge = np.abs(chips[:, 3, :, 0] - chips[:, 3, :, -1]).mean()
    jump_inside = np.abs(np.diff(chips[:, 3], axis=2)).mean()
    assert jump_at_edge > 3 * jump_inside


def test_points_near_each_other_have_similar_spectra(chips, labels):
    """So that spatial blocks make a difference, as they do with real chips."""
    near, far = [], []
    for code in (1, 4):
        chosen = labels.to_numpy() == code
        places = np.array([parse_point_id(point_id) for point_id in labels.index[chosen]]) / 1000
        centre = np.log(chips[chosen][:, :, SIZE // 2, SIZE // 2])
        one, other = np.triu_indices(len(places), 1)
        distance = np.linalg.norm(places[one] - places[other], axis=1)
        difference = ((centre[one] - centre[other]) ** 2 / centre.var(axis=0)).mean(axis=1)
        near.append(difference[distance < 30])
        far.append(difference[distance > 200])
    assert np.mean(np.concatenate(near)) < 0.95 * np.mean(np.concatenate(far))


def test_the_label_is_learnable_but_not_from_anything_trivial(chips, labels):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    codes = labels.to_numpy()
    middle = np.s_[SIZE // 2 - 1 : SIZE // 2 + 1]
    features = np.hstack([chips.mean((2, 3)), chips.std((2, 3)), chips[:, :, middle, middle].mean((2, 3))])
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    predicted = cross_val_predict(LinearDiscriminantAnalysis(), features, codes, cv=folds)
    micro = np.mean(predicted == codes)
    recall = {code: np.mean(predicted[codes == code] == code) for code in range(1, 11)}
    assert np.mean(codes == 4) + 0.1 < micro < 0.8
    assert 0.25 < np.mean(list(recall.values())) < 0.65
    assert recall[10] < 0.35
    assert max(recall, key=recall.get) != 10


def test_files_say_nothing_about_the_label(tiffs):
    """Size and tags of a file are those of any other chip."""
    sizes = defaultdict(set)
    for code, content in list(tiffs.values()):
        sizes[code].add(len(content))
        with MemoryFile(content) as memory, memory.open() as dataset:
            assert dataset.tags() == {"AREA_OR_POINT": "Area", "TERRALUCAS_SIMULATED": "yes"}
            assert set(dataset.descriptions) == {None}
    assert len(set.union(*sizes.values())) == 1
