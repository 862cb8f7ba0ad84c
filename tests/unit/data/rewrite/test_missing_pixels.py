"""What is missing in a file is missing in the file that is written again, and nothing else is."""

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.enums import ColorInterp

from helpers.chips import make_spec
from terralucas.data.chips.chip_files import read_chip
from terralucas.data.rewrite.rewrite import rewrite
from terralucas.errors import StudyError

BANDS, SIDE = ("BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2"), 32
PLACE = {"crs": "EPSG:32632", "transform": Affine(10, 0, 600_000, 0, -10, 5_000_000)}


def write(path, values, **options):
    count, height, width = values.shape
    size = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", driver="GTiff", **size, **PLACE, **options) as file:
        file.write(values)


def write_mask_beside(path, shown, flag):
    """Write GDAL's file of masks: (bands, height, width) booleans; flag 2: the first for all bands, 0: one for each."""
    write(path.with_name(path.name + ".msk"), np.where(shown, 255, 0).astype(np.uint8))
    with rasterio.open(path.with_name(path.name + ".msk"), "r+") as file:
        file.update_tags(**{f"INTERNAL_MASK_FLAGS_{band}": str(flag) for band in range(1, 7)})


def write_form(path, form, values):
    """Write values with missing pixels in a form; return where they are missing."""
    missing = np.zeros(values.shape, dtype=bool)
    if form in ("internal mask and nodata", "mask beside and nodata"):
        missing[:, :4] = True
        values[:, -3:] = 0
        write(path, values, nodata=0)
        if form.startswith("mask"):
            write_mask_beside(path, ~missing[:1], 2)
        else:
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
                file.write_mask(~missing[0])
        missing[:, -3:] = True
    elif form == "a mask for each band":
        for band in range(len(values)):
            missing[band, 3 * band : 3 * band + 6] = True
        write(path, values)
        write_mask_beside(path, ~missing, 0)
    elif form == "an alpha band":
        missing[:, :5] = True
        alpha = np.where(missing[:1], 0, 65535).astype(values.dtype)
        write(path, np.concatenate([values, alpha]))
        with rasterio.open(path, "r+") as file:
            file.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * 5, ColorInterp.alpha]
    else:
        lines = []
        for band in range(len(values)):
            missing[band, 2 * band : 2 * band + 6] = True
            values[band][missing[band]] = 100 + band
            lines.append(f'<PAMRasterBand band="{band + 1}"><NoDataValue>{100 + band}</NoDataValue></PAMRasterBand>')
        write(path, values)
        path.with_name(path.name + ".aux.xml").write_text(f"<PAMDataset>{''.join(lines)}</PAMDataset>")
    return missing


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize(
    "form",
    [
        "internal mask and nodata",
        "mask beside and nodata",
        "a mask for each band",
        "an alpha band",
        "a nodata value for each band",
    ],
)
def test_what_is_missing_stays_missing_in_every_band(tmp_path, form, dtype):
    spec = make_spec(bands=list(BANDS), unit="dn", point_ids="none")
    # Not below 2000, so that a hole that is taken for pixels is seen.
    values = np.random.default_rng(0).integers(2000, 6000, (6, SIDE, SIDE)).astype(dtype)
    missing = write_form(tmp_path / "a.tif", form, values)
    expected = np.where(missing, np.nan, values / 1e4)
    rewrite(tmp_path / "a.tif", tmp_path / "same.tif")
    rewrite(tmp_path / "a.tif", tmp_path / "grid.tif", pixel_m=10)
    rewrite(tmp_path / "a.tif", tmp_path / "coarse.tif", pixel_m=20)
    for name in ("same", "grid"):
        assert read_chip(tmp_path / f"{name}.tif", spec) == pytest.approx(expected, abs=1e-6, nan_ok=True), name
    coarse = read_chip(tmp_path / "coarse.tif", spec)
    assert np.nanmin(coarse) >= 0.2, "no hole is mixed into the pixels beside it"
    blocks = missing.reshape(6, SIDE // 2, 2, SIDE // 2, 2)
    assert not (np.isnan(coarse) & ~blocks.all(axis=(2, 4))).any(), "pixels with data are kept"
    assert np.isnan(coarse).any(axis=(1, 2)).all()
    assert not list(tmp_path.glob(".*")), "nothing of the way there is left"


def test_bands_of_which_only_one_is_written_keep_their_own_mask(tmp_path):
    values = np.full((6, SIDE, SIDE), 3000, dtype=np.uint16)
    missing = write_form(tmp_path / "a.tif", "a mask for each band", values)
    for name, pixel_m in {"same.tif": None, "grid.tif": 10}.items():
        rewrite(tmp_path / "a.tif", tmp_path / name, bands=[3], pixel_m=pixel_m)
        with rasterio.open(tmp_path / name) as file:
            assert np.array_equal(file.read_masks(1) == 0, missing[2])


def test_missing_pixels_that_no_geotiff_can_hold_are_an_error(tmp_path):
    values = np.resize(np.arange(256, dtype=np.uint8), (6, SIDE, SIDE))
    write_form(tmp_path / "a.tif", "a mask for each band", values)
    with pytest.raises(StudyError, match=r"(?s)each of the 256 values of uint8.*--bands 1"):
        rewrite(tmp_path / "a.tif", tmp_path / "b.tif")
    assert not (tmp_path / "b.tif").exists()
    # One value that only the hole has is enough.
    values[values == 77] = 78
    missing = write_form(tmp_path / "a.tif", "a mask for each band", values)
    rewrite(tmp_path / "a.tif", tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.nodata == 77
        assert np.array_equal(file.read(), np.where(missing, 77, values))


def test_masks_that_would_be_lost_or_taken_for_another_are_an_error(tmp_path):
    values = np.full((6, SIDE, SIDE), 3000, dtype=np.uint16)
    missing = write_form(tmp_path / "a.tif", "internal mask and nodata", values)
    write_mask_beside(tmp_path / "a.tif", missing[:1], 2)
    with pytest.raises(StudyError, match=r"a mask in it and another one beside it"):
        rewrite(tmp_path / "a.tif", tmp_path / "b.tif")
    (tmp_path / "a.tif.msk").unlink()
    statistics = '<PAMDataset><PAMRasterBand band="1"><Metadata><MDI key="STATISTICS_MEAN">1</MDI></Metadata>'
    (tmp_path / "b.tif.aux.xml").write_text(f"{statistics}</PAMRasterBand></PAMDataset>")
    rewrite(tmp_path / "a.tif", tmp_path / "b.tif")
    write_mask_beside(tmp_path / "b.tif", missing[:1], 2)
    with pytest.raises(StudyError, match=r"found: b\.tif\.msk, of another file"):
        rewrite(tmp_path / "a.tif", tmp_path / "b.tif")


def test_four_bands_of_small_integers_have_no_alpha_band(tmp_path):
    """GDAL takes the fourth of them for one."""
    values = np.resize(np.arange(256, dtype=np.uint8), (4, SIDE, SIDE))
    write(tmp_path / "a.tif", values)
    rewrite(tmp_path / "a.tif", tmp_path / "same.tif", bands=[1, 2, 3, 4])
    rewrite(tmp_path / "a.tif", tmp_path / "grid.tif", bands=[1, 2, 3, 4], pixel_m=10)
    for name in ("same.tif", "grid.tif"):
        with rasterio.open(tmp_path / name) as file:
            assert np.array_equal(file.read(), values)
            assert (file.read_masks() > 0).all()


@pytest.mark.parametrize("pixel_m", [None, 10])
def test_bands_of_several_types_are_written_in_one_that_holds_all(tmp_path, pixel_m):
    small = np.arange(SIDE * SIDE).reshape(1, SIDE, SIDE) % 250
    large = np.full((1, SIDE, SIDE), 60_000)
    write(tmp_path / "small.tif", small.astype(np.uint8))
    write(tmp_path / "large.tif", large.astype(np.uint16))
    bands = "".join(
        f'<VRTRasterBand dataType="{dtype}" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">{name}.tif'
        "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for band, (name, dtype) in enumerate({"small": "Byte", "large": "UInt16"}.items(), 1)
    )
    size = f'rasterXSize="{SIDE}" rasterYSize="{SIDE}"'
    place = "<SRS>EPSG:32632</SRS><GeoTransform>600000, 10, 0, 5000000, 0, -10</GeoTransform>"
    (tmp_path / "a.vrt").write_text(f"<VRTDataset {size}>{place}{bands}</VRTDataset>")
    rewrite(tmp_path / "a.vrt", tmp_path / "b.tif", pixel_m=pixel_m)
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.dtypes == ("uint16", "uint16")
        assert np.array_equal(file.read(), np.concatenate([small, large]))


def test_a_nodata_value_that_no_pixel_can_have_marks_nothing(tmp_path):
    values = np.full((6, SIDE, SIDE), 3000, dtype=np.uint16)
    write(tmp_path / "a.tif", values)
    (tmp_path / "a.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><NoDataValue>-9999</NoDataValue></PAMRasterBand></PAMDataset>'
    )
    for pixel_m in (None, 10):
        rewrite(tmp_path / "a.tif", tmp_path / "b.tif", pixel_m=pixel_m)
        with rasterio.open(tmp_path / "b.tif") as file:
            assert np.array_equal(file.read(), values)
            assert (file.read_masks() > 0).all()
