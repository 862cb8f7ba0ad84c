"""The mask, the metadata and the world file beside an image, also where the image is a link."""

import numpy as np
import pytest
import rasterio

from helpers.chips import make_spec, pixels, write_tif
from terralucas.data.chip_problems import ChipError
from terralucas.data.chips.chip_content import read_content
from terralucas.data.chips.chip_files import decode_chip, read_chip
from terralucas.data.rasters.image_files import with_sidecars
from terralucas.data.rasters.side_files import find_lost_by_link, mask_files
from terralucas.data.rewrite.rewrite import rewrite
from terralucas.errors import StudyError

OFFSET = "<PAMDataset><PAMRasterBand band='1'><Offset>-1000</Offset></PAMRasterBand></PAMDataset>"
COLOUR = "<PAMDataset><PAMRasterBand band='1'><ColorInterp>Red</ColorInterp></PAMRasterBand></PAMDataset>"
STATISTICS = "<PAMDataset><PAMRasterBand band='1'><Histograms/></PAMRasterBand></PAMDataset>"
# Pixels of 20 m.
WORLD = "20\n0\n0\n-20\n4592010\n2254990\n"


@pytest.fixture
def link(tmp_path):
    """A link to a chip in another folder."""
    (tmp_path / "links").mkdir()
    file = write_tif(tmp_path / "store" / "a.tif", pixels(1))
    link = tmp_path / "links" / "a.tif"
    link.symlink_to(file)
    return link


@pytest.mark.parametrize("beside", [".msk", ".MSK", ".aux.xml"])
def test_what_lies_beside_the_target_of_a_link_alone_is_refused(link, beside):
    read_content(link)
    lost = link.resolve().with_name(f"a.tif{beside}")
    lost.write_text(OFFSET)
    with pytest.raises(ChipError, match=r"beside which a link to .* is missing") as error:
        read_content(link)
    assert str(lost) in error.value.problem
    assert read_content(link.resolve()).sha256 != read_content(write_tif(link.with_name("b.tif"), pixels(1))).sha256


@pytest.mark.parametrize("is_relative", [False, True])
def test_what_lies_beside_a_link_on_the_way_to_the_file_is_refused(link, tmp_path, is_relative):
    first = tmp_path / "shared" / "first.tif"
    first.parent.mkdir()
    first.symlink_to("../links/a.tif" if is_relative else link)
    assert read_content(first).sha256 == read_content(link).sha256
    link.with_name("a.tif.msk").write_bytes(b"mask")
    with pytest.raises(ChipError, match=r"beside which a link to .*a\.tif\.msk is missing"):
        read_content(first)
    first.with_name("first.tif.msk").symlink_to(link.with_name("a.tif.msk"))
    assert read_content(first).mask == read_content(link).mask == b"mask"


def test_links_in_a_circle_lose_nothing(tmp_path):
    (tmp_path / "a.tif").symlink_to("b.tif")
    (tmp_path / "b.tif").symlink_to("a.tif")
    assert find_lost_by_link(tmp_path / "a.tif", mask_files) is None


def test_a_link_with_a_mask_in_other_letters_beside_it_is_read(link):
    link.resolve().with_name("a.tif.msk").write_bytes(b"mask")
    link.with_name("a.tif.MSK").write_bytes(b"mask")
    assert read_content(link).mask == b"mask"


def test_statistics_beside_a_link_do_not_stand_for_the_metadata_of_its_target(link):
    link.resolve().with_name("a.tif.aux.xml").write_text(OFFSET)
    link.with_name("a.tif.aux.xml").write_text(STATISTICS)
    with pytest.raises(ChipError, match="is missing"):
        read_content(link)
    link.with_name("a.tif.aux.xml").write_text(OFFSET)
    assert read_content(link).metadata is not None


def test_a_file_that_is_written_again_keeps_its_place_or_is_refused(tmp_path):
    file = write_tif(tmp_path / "store" / "a.tif", pixels(1), transform=None)
    file.with_name("a.tfw").write_text(WORLD)
    (tmp_path / "a.tif").symlink_to(file)
    with pytest.raises(StudyError, match="would be read without its mask, metadata or place"):
        rewrite(tmp_path / "a.tif", tmp_path / "b.tif", bands=[1])
    rewrite(file, tmp_path / "b.tif", bands=[1])
    with rasterio.open(tmp_path / "b.tif") as written:
        assert written.res == (20, 20)


def test_statistics_beside_the_target_of_a_link_are_not_needed(link):
    link.resolve().with_name("a.tif.aux.xml").write_text(STATISTICS)
    assert read_content(link).metadata is None


@pytest.mark.parametrize("name", ["a.tfw", "a.TFW", "a.wld"])
def test_a_world_file_beside_the_target_of_a_link_is_refused_where_the_chip_has_no_place(tmp_path, name):
    for chip, place in (("own", {}), ("none", {"transform": None})):
        file = write_tif(tmp_path / "store" / chip / "a.tif", pixels(1), **place)
        file.with_name(name).write_text(WORLD)
        (tmp_path / chip).mkdir()
        (tmp_path / chip / "a.tif").symlink_to(file)
    with rasterio.open(tmp_path / "store" / "none" / "a.tif") as source:
        assert source.res == (20, 20), "GDAL reads it"
    spec = make_spec()
    assert decode_chip(read_content(tmp_path / "own" / "a.tif"), spec).centre is not None
    with pytest.raises(ChipError, match=rf"beside which a link to .*{name} is missing") as error:
        decode_chip(read_content(tmp_path / "none" / "a.tif"), spec)
    assert error.value.kind == "lost_by_link"
    (tmp_path / "none" / name).write_text(WORLD)
    assert decode_chip(read_content(tmp_path / "none" / "a.tif"), spec).centre.column_step == (20, 0)


def test_the_files_of_an_image_have_masks_in_capitals(tmp_path):
    names = [file.name for file in with_sidecars(tmp_path / "a.tif")]
    assert names == ["a.tif", "a.tif.msk", "a.tif.MSK", "a.tif.aux.xml"]


def test_a_file_that_is_no_link_loses_nothing(tmp_path):
    (tmp_path / "a.tif.msk").write_bytes(b"mask")
    assert find_lost_by_link(write_tif(tmp_path / "a.tif", pixels(1)), mask_files) is None


def wavelengths(numbers):
    item = "<Metadata domain='IMAGERY'><MDI key='CENTRAL_WAVELENGTH_UM'>{}</MDI></Metadata>"
    bands = (
        f"<PAMRasterBand band='{place}'>{item.format(number)}</PAMRasterBand>"
        for place, number in enumerate(numbers, 1)
    )
    return f"<PAMDataset>{''.join(bands)}</PAMDataset>"


def test_wavelengths_beside_a_chip_count_as_those_in_it(link):
    spec = make_spec()
    link.resolve().with_name("a.tif.aux.xml").write_text(wavelengths((0.49, 0.56, 0.665)))
    assert decode_chip(read_content(link.resolve()), spec).descriptions[:3] == ("0.49 um", "0.56 um", "0.665 um")
    with pytest.raises(ChipError, match="is missing"):
        read_content(link)


def test_colours_beside_a_chip_count_as_those_in_it(link):
    link.resolve().with_name("a.tif.aux.xml").write_text(COLOUR.replace("Red", "Gray"))
    assert read_content(link).metadata is None
    link.resolve().with_name("a.tif.aux.xml").write_text(COLOUR)
    assert b"Red" in read_content(link.resolve()).metadata


@pytest.mark.parametrize("first", ["7777", "0"])
def test_nodata_values_of_another_domain_are_not_those_of_the_bands(tmp_path, first):
    """GDAL reads those of the default domain."""
    values = pixels(1) * 0 + 1000
    values[:, 5:9, 5:9] = 7777
    file = write_tif(tmp_path / "a.tif", values.astype("uint16"))
    domains = {"": first, " domain='NOTES'": "0" if first == "7777" else "7777"}
    metadata = "".join(
        f"<Metadata{domain}><MDI key='NODATA_VALUES'>{' '.join([value] * len(values))}</MDI></Metadata>"
        for domain, value in domains.items()
    )
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{metadata}</PAMDataset>")
    with rasterio.open(file) as source:
        by_gdal = source.read_masks() == 0
    assert by_gdal.any() == (first == "7777")
    found = np.isnan(read_chip(file, make_spec(unit="dn", checks={"min_chip_brightness": 0})))
    assert (found == by_gdal).all()
