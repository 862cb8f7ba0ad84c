"""Decoding of chips with what their files say of missing pixels, units and sizes, inside and beside the file."""

from __future__ import annotations

import copy
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio._env import del_gdal_config
from rasterio.enums import ColorInterp

from helpers.chips import SIDE, make_spec, pixels, write_tif
from terralucas.data.chip_problems import ChipError
from terralucas.data.chips.chip_checks import hash_pixels
from terralucas.data.chips.chip_content import read_content
from terralucas.data.chips.chip_files import decode_chip, read_chip, read_indexed_chip
from terralucas.data.chips.sketches import hash_spectra
from terralucas.data.rasters.image_files import with_sidecars
from terralucas.data.rasters.masks import find_alpha, read_masks
from terralucas.errors import StudyError

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

HOLE = (..., slice(5, 9), slice(20, 31))
FILL = 64000.0
SPEC = make_spec(unit="dn")


def dn(seed: int = 0) -> np.ndarray:
    """Whole DN as float32, so that NaN can be written too."""
    return np.round(pixels(seed) * 10_000)


def dn_with(value: float) -> np.ndarray:
    values = dn()
    values[HOLE] = value
    return values


def mask_of_hole(dtype: str = "uint8") -> np.ndarray:
    mask = np.full((SIDE, SIDE), 255, dtype=dtype)
    mask[HOLE] = 0
    return mask


def write_beside(path: Path, **pam: str) -> None:
    """Write a metadata file of GDAL beside a chip: elements of each band, or NODATA_VALUES of all."""
    values = pam.pop("NODATA_VALUES", None)
    text = "".join(f"<{name}>{value}</{name}>" for name, value in pam.items())
    bands = "".join(f'<PAMRasterBand band="{band}">{text}</PAMRasterBand>' for band in range(1, 7) if text)
    metadata = f'<Metadata><MDI key="NODATA_VALUES">{values}</MDI></Metadata>' if values else ""
    path.with_name(path.name + ".aux.xml").write_text(f"<PAMDataset>{metadata}{bands}</PAMDataset>", encoding="utf-8")


def hole_of_mask_beside(path: Path) -> Path:
    write_tif(path, dn_with(FILL))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as target:
        target.write_mask(mask_of_hole())
    assert path.with_name(path.name + ".msk").is_file()
    return path


def hole_of_mask_with_a_name_in_capitals(path: Path) -> Path:
    hole_of_mask_beside(path)
    path.with_name(path.name + ".msk").rename(path.with_name(path.name + ".MSK"))
    return path


def hole_of_six_masks_beside(path: Path) -> Path:
    write_tif(path, dn_with(FILL))
    masks = write_tif(path.with_name("masks.tif"), np.stack([mask_of_hole()] * 6))
    with rasterio.open(masks, "r+") as target:
        target.update_tags(**{f"INTERNAL_MASK_FLAGS_{band}": 0 for band in range(1, 7)})
    masks.rename(path.with_name(path.name + ".msk"))
    return path


def hole_of_metadata_beside(**pam: str):
    def write(path: Path) -> Path:
        write_tif(path, dn_with(FILL))
        write_beside(path, **pam)
        return path

    return write


HOLES = {
    "NaN": (lambda path: write_tif(path, dn_with(np.nan)), SPEC),
    "infinity": (lambda path: write_tif(path, dn_with(np.inf)), SPEC),
    "nodata tag": (lambda path: write_tif(path, dn_with(FILL), nodata=FILL), SPEC),
    "dataset.nodata": (lambda path: write_tif(path, dn_with(FILL)), make_spec(unit="dn", nodata=FILL)),
    "mask inside": (lambda path: write_tif(path, dn_with(FILL), mask=mask_of_hole()), SPEC),
    "mask beside": (hole_of_mask_beside, SPEC),
    "mask beside, in capitals": (hole_of_mask_with_a_name_in_capitals, SPEC),
    "masks beside": (hole_of_six_masks_beside, SPEC),
    "nodata beside": (hole_of_metadata_beside(NoDataValue="64000"), SPEC),
    "nodata of all bands beside": (hole_of_metadata_beside(NODATA_VALUES=" ".join(["64000"] * 6)), SPEC),
}


@pytest.mark.parametrize("case", HOLES)
def test_a_hole_is_the_same_chip_however_it_is_written(tmp_path, case):
    write, spec = HOLES[case]
    path = write(tmp_path / "chip.tif")
    expected = dn() / np.float32(10_000)
    expected[HOLE] = np.nan
    found = read_chip(path, spec)
    np.testing.assert_array_equal(found, expected)
    assert hash_pixels(hash_spectra(found)) == hash_pixels(hash_spectra(expected))
    if "beside" in case:  # GDAL itself, reading from the disk
        with rasterio.open(path) as source:
            np.testing.assert_array_equal(source.read_masks(1) == 0, mask_of_hole() == 0)


@pytest.fixture
def _gdal_options():
    """Rasterio keeps options of the environment that it has met; later tests must not meet these."""
    yield
    for name in ("GDAL_DISABLE_READDIR_ON_OPEN", "GDAL_PAM_ENABLED"):
        del_gdal_config(name)


@pytest.mark.usefixtures("_gdal_options")
def test_metadata_beside_a_chip_count_whatever_the_environment_says(tmp_path, monkeypatch):
    path = hole_of_metadata_beside(NoDataValue="64000")(tmp_path / "chip.tif")
    monkeypatch.setenv("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR")
    monkeypatch.setenv("GDAL_PAM_ENABLED", "NO")
    assert np.isnan(read_chip(path, SPEC)).sum() == 6 * 4 * 11


def stacked(path, layers, kinds, names):
    """A file of one row of bands with these kinds and descriptions."""
    values = np.array(layers, dtype=np.float32)[:, None]
    with rasterio.open(path, "w", driver="GTiff", count=len(values), height=1, width=3, dtype="float32") as file:
        file.colorinterp = kinds
        file.write(values)
        file.descriptions = names
    return rasterio.open(path)


def test_every_alpha_band_that_is_not_used_is_a_mask_and_nan_in_it_is_missing(tmp_path):
    kinds = [ColorInterp.gray, ColorInterp.alpha, ColorInterp.alpha]
    with stacked(tmp_path / "a.tif", [[1, 1, 1], [0, 1, 255], [1, np.nan, 1]], kinds, [None, "alpha", "mask"]) as file:
        assert find_alpha(file, [1]) == [2, 3]
        assert read_masks(file, [1]).tolist() == [[[True, True, False]]]
        assert read_masks(file, [1, 2]).tolist() == [[[False, True, False]]] * 2, "the second is used"


@pytest.mark.parametrize(
    "names",
    [
        *[["B2", "B3", "B4", text] for text in ("B08", "Band 8", "near infrared", "842 nm", "thermal", "NDVI")],
        ["490", "560", "665", "842"],
        ["R", "G", "B", "N"],
    ],
)
def test_a_band_that_is_described_as_another_is_no_mask(tmp_path, names):
    kinds = [*[ColorInterp.gray] * 3, ColorInterp.alpha]
    with stacked(tmp_path / "a.tif", [*[[1, 1, 1]] * 3, [0, 1, 1]], kinds, names) as file:
        assert find_alpha(file) == []
        assert not read_masks(file, [1, 2, 3]).any()


@pytest.mark.parametrize("text", [None, "Band 4", "band_4", "4", "A", "Coverage", "footprint", "alpha", "valid red"])
@pytest.mark.parametrize("others", [["B2", "B3", "B4"], ["R", "G", "B"], [None] * 3, ["Band 1", "Band 2", "Band 3"]])
def test_an_alpha_band_whose_description_names_no_band_is_a_mask(tmp_path, text, others):
    kinds = [*[ColorInterp.gray] * 3, ColorInterp.alpha]
    with stacked(tmp_path / "a.tif", [*[[1, 1, 1]] * 3, [0, 1, 1]], kinds, [*others, text]) as file:
        assert find_alpha(file, [1, 2, 3]) == [4]
        assert read_masks(file, [1, 2, 3]).tolist() == [[[True, False, False]]] * 3


def test_a_problem_of_a_chip_survives_the_way_between_processes():
    error = ChipError("size", "is too large", "; set another size", remedy="cut it")
    found = copy.copy(error)
    assert (str(found), vars(found)) == (str(error), vars(error))


def test_files_beside_a_chip_are_part_of_its_content(tmp_path):
    path = write_tif(tmp_path / "chip.tif", dn())
    plain = read_content(path).sha256
    write_beside(path, NoDataValue="64000")
    described = read_content(path).sha256
    (tmp_path / "chip.tif.msk").write_bytes(b"mask")
    assert len({plain, described, read_content(path).sha256}) == 3
    with pytest.raises(StudyError, match="changed since the chips were indexed") as caught:
        read_indexed_chip(path, plain, SPEC)
    assert "chip.tif.msk" in caught.value.found


def test_statistics_that_a_viewer_writes_beside_a_chip_change_nothing(tmp_path):
    path = write_tif(tmp_path / "chip.tif", dn())
    before = read_content(path).sha256
    with rasterio.open(path) as source:
        source.stats(approx=False)
    statistics = '<PAMRasterBand band="1"><Metadata><MDI key="STATISTICS_MEAN">3</MDI></Metadata></PAMRasterBand>'
    (tmp_path / "chip.tif.aux.xml").write_text(f"<PAMDataset>{statistics}</PAMDataset>", encoding="utf-8")
    assert read_content(path).sha256 == before
    np.testing.assert_array_equal(read_indexed_chip(path, before, SPEC), dn() / np.float32(10_000))


@pytest.mark.parametrize(
    ("suffix", "content", "words"),
    [
        (".msk", b"no mask", "mask .msk that cannot be decoded"),
        (".aux.xml", b"<PAMDataset>", ".aux.xml beside it that cannot be read"),
    ],
)
def test_files_beside_a_chip_that_cannot_be_read_are_an_error(tmp_path, suffix, content, words):
    path = write_tif(tmp_path / "chip.tif", dn())
    path.with_name(path.name + suffix).write_bytes(content)
    with pytest.raises(ChipError, match=words) as caught:
        read_chip(path, SPEC)
    assert caught.value.kind == "unreadable"


@pytest.mark.parametrize("suffix", ["", ".msk", ".aux.xml"])
def test_what_is_no_file_is_an_error_and_is_not_waited_for(tmp_path, suffix):
    """A FIFO that is opened waits for somebody to write into it."""
    path = tmp_path / "a.tif"
    if suffix:
        write_tif(path, dn())
    os.mkfifo(f"{path}{suffix}")
    with pytest.raises(ChipError, match="no regular file"):
        read_content(path)


@pytest.mark.parametrize("suffix", [".msk", ".aux.xml"])
@pytest.mark.parametrize("target", ["nowhere", "itself"])
def test_a_link_beside_a_chip_that_leads_nowhere_is_an_error(tmp_path, suffix, target):
    """The mask may lie on a disk that is away: without it, missing pixels would count as ground."""
    path = tmp_path / "a.tif"
    write_tif(path, dn())
    link = Path(f"{path}{suffix}")
    link.symlink_to(link.name if target == "itself" else "nowhere")
    with pytest.raises(ChipError, match="cannot be followed") as caught:
        read_content(path)
    assert caught.value.kind == "unreadable"


def test_a_picture_with_the_name_of_a_mask_is_an_error(tmp_path):
    path = write_tif(tmp_path / "chip.tif", dn())
    write_tif(tmp_path / "labels.tif", mask_of_hole()[None]).rename(tmp_path / "chip.tif.msk")
    with pytest.raises(ChipError, match=r"file \.msk beside it that is no mask"):
        read_chip(path, SPEC)


def test_a_mask_of_another_size_is_an_error(tmp_path):
    path = write_tif(tmp_path / "chip.tif", dn())
    write_tif(tmp_path / "other.tif", np.ones((1, SIDE, SIDE // 2), np.uint8)).rename(tmp_path / "chip.tif.msk")
    with pytest.raises(ChipError, match=r"mask .msk of 1 band\(s\) of 32 x 16 px; expected 1 or 6 bands of 32 x 32 px"):
        read_chip(path, SPEC)


# Scale and offset.


def write_scaled(path: Path, values: np.ndarray, scale: float, offset: float) -> Path:
    write_tif(path, values)
    with rasterio.open(path, "r+") as target:
        target.scales, target.offsets = (scale,) * 6, (offset,) * 6
    return path


@pytest.mark.parametrize(
    ("unit", "stored", "scale", "offset"),
    [
        ("dn", dn(), 0.0001, 0.0),
        ("dn", dn() + 1000, 0.0001, -0.1),  # Sentinel-2 since baseline 04.00
        ("dn", dn() + 1000, 1.0, -1000.0),
        ("reflectance", dn(), 0.0001, 0.0),
        ("reflectance", dn() + 1000, 0.0001, -0.1),
        ("reflectance", (dn() / 10_000 + 0.2) / 0.0000275, 0.0000275, -0.2),  # Landsat, collection 2
        ("reflectance", dn() / 10, 0.001, 0.0),
    ],
)
def test_scale_and_offset_tags_are_applied(tmp_path, unit, stored, scale, offset):
    path = write_scaled(tmp_path / "chip.tif", stored.astype(np.float32), scale, offset)
    np.testing.assert_allclose(read_chip(path, make_spec(unit=unit)), dn() / 10_000, rtol=1e-5, atol=1e-6)


def test_tags_beside_a_chip_are_applied_too(tmp_path):
    path = write_tif(tmp_path / "chip.tif", (dn() + 1000).astype(np.uint16))
    write_beside(path, Offset="-0.1", Scale="0.0001")
    np.testing.assert_allclose(read_chip(path, SPEC), dn() / 10_000, rtol=1e-6)


def test_missing_pixels_are_found_before_the_tags_are_applied(tmp_path):
    path = write_scaled(write_tif(tmp_path / "chip.tif", dn_with(0)), dn_with(0), 0.0001, -0.1)
    assert np.isnan(read_chip(path, make_spec(unit="dn", nodata=0))).sum() == 6 * 4 * 11


@pytest.mark.parametrize(
    ("unit", "scale", "offset"),
    [("dn", 0.0000275, -0.2), ("dn", 1.0, -0.1), ("dn", 10.0, 0.0), ("dn", 0.0001, -1000), ("reflectance", 0.0, 0.0)],
)
def test_tags_that_contradict_the_unit_are_refused(tmp_path, unit, scale, offset):
    path = write_scaled(tmp_path / "chip.tif", dn(), scale, offset)
    with pytest.raises(ChipError, match=rf"scale tag {scale:g} and the offset tag {offset:g}; expected") as caught:
        read_chip(path, make_spec(unit=unit))
    assert caught.value.kind == "scale_tags"


# Several images, and sizes that would fill the memory.


def test_a_file_with_two_images_is_no_chip(tmp_path):
    path = write_tif(tmp_path / "chip.tif", dn())
    write_tif(path, dn(1), APPEND_SUBDATASET="YES")
    with pytest.raises(ChipError, match="has 2 pages; expected one image") as caught:
        read_chip(path, SPEC)
    assert caught.value.kind == "pages"


def test_overviews_and_masks_are_no_pages(tmp_path):
    path = write_tif(tmp_path / "chip.tif", dn(), mask=mask_of_hole())
    with rasterio.open(path, "r+") as target:
        target.build_overviews([2, 4])
    assert np.isnan(read_chip(path, SPEC)).sum() == 6 * 4 * 11


def sparse(path: Path, side: int, **profile) -> Path:
    """A small file whose pixels were never written, but whose header says that there are many."""
    size = {"driver": "GTiff", "count": 6, "height": side, "width": side, "dtype": "uint16", "SPARSE_OK": True}
    with rasterio.open(path, "w", **size | profile):
        pass
    assert path.stat().st_size < 500_000
    return path


TILES = {"tiled": True, "blockxsize": 4096, "blockysize": 4096, "height": SIDE, "width": SIDE}


@pytest.mark.parametrize(
    ("profile", "spec", "words"),
    [
        ({}, make_spec(unit="dn", chip_size_px=SIDE), "1008 x 1008 px; expected 32 x 32 px"),
        ({"height": 16}, make_spec(unit="dn", chip_size_px=SIDE), "16 x 1008 px; expected 32 x 32 px"),
        ({"height": 30_000, "width": 30_000}, SPEC, "30000 x 30000 px; expected a chip of at most 1024 px a side"),
        (TILES, SPEC, "tiles of 4096 x 4096 px; expected at most 1024 px a side"),
    ],
)
def test_sizes_are_compared_before_anything_is_decoded(tmp_path, profile, spec, words):
    path = sparse(tmp_path / "chip.tif", 1008, **profile)
    tracemalloc.start()
    with pytest.raises(ChipError, match=words) as caught:
        read_chip(path, spec)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20
    assert caught.value.kind == "size"


@pytest.mark.parametrize("suffix", ["", ".msk", ".aux.xml"])
def test_a_file_that_is_no_chip_is_not_read(tmp_path, suffix):
    path = write_tif(tmp_path / "chip.tif", dn())
    with path.with_name(path.name + suffix).open("ab") as file:
        file.truncate(300 * 2**20)
    with pytest.raises(ChipError, match=r"file of 300 MiB \(chip.*; expected a chip, at most 256 MiB"):
        read_chip(path, SPEC)


PAM_PLACE = "<PAMDataset><SRS>EPSG:32632</SRS><GeoTransform>600000,30,0,5000000,0,-30</GeoTransform></PAMDataset>"


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("has_own", [True, False])
def test_a_georeference_beside_the_chip_is_that_of_gdal(tmp_path, has_own):
    own = {} if has_own else {"crs": None, "transform": None}
    path = write_tif(tmp_path / "a.tif", pixels(0), **own)
    (tmp_path / "a.tif.aux.xml").write_text(PAM_PLACE)
    with rasterio.open(path) as source:
        expected = source.crs, source.transform @ (source.width / 2, source.height / 2)
    centre = decode_chip(read_content(path), make_spec()).centre
    assert (centre.crs, (centre.x, centre.y)) == expected
    assert centre.column_step == (30, 0)


@pytest.mark.parametrize(
    ("chip", "name"),
    [
        *(("a.tif", name) for name in ("a.tfw", "a.TFW", "a.Tfw", "a.tifw", "a.Tifw", "a.wld", "a.Wld")),
        *(("a.tiff", name) for name in ("a.tfw", "a.tiffw", "a.TIFFW", "a.wld")),
        ("a.TIF", "a.tfw"),
    ],
)
def test_a_world_file_is_the_place_of_a_chip_that_has_none(tmp_path, chip, name):
    path = write_tif(tmp_path / chip, pixels(0), transform=None)
    before = read_content(path)
    (tmp_path / name).write_text("60\n0\n0\n-60\n4592030\n2253970\n")
    with rasterio.open(path) as source:
        expected = source.transform @ (source.width / 2, source.height / 2)
    content = read_content(path)
    centre = decode_chip(content, make_spec()).centre
    assert (centre.x, centre.y) == expected
    assert content.sha256 == before.sha256, "it changes no pixel"
    assert tmp_path / name in with_sidecars(path), "it decides what is predicted"


@pytest.mark.parametrize(("chip", "name"), [("a.tif", "a.tiffw"), ("a.tiff", "a.tifw"), ("a.tif", "a.tif.tfw")])
def test_a_file_that_gdal_takes_for_no_world_file_says_no_place(tmp_path, chip, name):
    path = write_tif(tmp_path / chip, pixels(0), transform=None)
    (tmp_path / name).write_text("60\n0\n0\n-60\n4592030\n2253970\n")
    with rasterio.open(path) as source:
        assert source.transform.is_identity
    assert decode_chip(read_content(path), make_spec()).centre is None


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n", "is a Git LFS pointer, which stands"),
        (b"<html><title>Sign in</title>", 'is a web page titled "Sign in"'),
        (b"\x1f\x8b\x08\0" + bytes(100), "is a gzip file (unpack it"),
        (b"II*\0" + bytes(100), "cannot be decoded"),
    ],
    ids=["lfs", "page", "gzip", "damaged"],
)
def test_a_file_of_another_kind_is_named(tmp_path, content, found):
    (tmp_path / "chip.tif").write_bytes(content)
    with pytest.raises(ChipError) as caught:
        decode_chip(read_content(tmp_path / "chip.tif"), SPEC)
    assert caught.value.kind == "unreadable"
    assert found in caught.value.problem
