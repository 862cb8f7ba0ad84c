"""A TIFF that lost its end, or whose metadata are damaged: GDAL reads it without what it lost."""

import mmap
import struct

import numpy as np
import pytest
import rasterio
from rasterio.io import MemoryFile

from helpers.chips import make_spec
from terralucas.data.chip_problems import ChipError
from terralucas.data.chips.chip_content import ChipContent
from terralucas.data.chips.chip_files import decode_chip
from terralucas.data.rasters.tiff_structure import find_damage, has_mask


def make(offset=None, with_mask=False, **options):
    values = np.arange(3 * 16 * 16, dtype=np.uint16).reshape(3, 16, 16) + 500
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 600_000, 0, -10, 5_000_000)}
    shape = {"count": 3, "height": 16, "width": 16, "dtype": "uint16"}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as memory:
        with memory.open(driver="GTiff", **shape, **place, **options) as target:
            target.write(values)
            if offset is not None:
                target.offsets = [offset] * 3
            if with_mask:
                target.write_mask(np.eye(16, dtype=bool))
        return memory.read()


@pytest.fixture
def spec():
    return make_spec(bands=["RED", "GREEN", "BLUE"], unit="dn", chip_size_px=16)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"offset": -1000},
        {"with_mask": True},
        {"offset": -1000, "with_mask": True},
        {"offset": -1000, "BIGTIFF": "YES"},
        {"offset": -1000, "with_mask": True, "ENDIANNESS": "BIG"},
        {"with_mask": True, "BIGTIFF": "YES", "ENDIANNESS": "BIG", "compress": "deflate"},
        {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "lzw", "interleave": "band"},
    ],
)
def test_a_whole_file_passes_and_no_end_of_it_is_lost_unnoticed(options, spec):
    """Whatever is cut off: the file is refused here, or GDAL refuses it, or what it reads is the same."""
    data = make(**options)
    assert find_damage(data) is None
    whole = decode_chip(ChipContent(data), spec)
    assert whole.scaling == ((1, options.get("offset", 0)),) * 3
    for length in {*range(len(data) - 1, 8, -7), *range(len(data) - 1, len(data) - 30, -1)}:
        try:
            found = decode_chip(ChipContent(data[:length]), spec)
        except ChipError as error:
            assert error.kind == "unreadable"
            continue
        assert found.scaling == whole.scaling, length
        assert np.array_equal(found.values, whole.values, equal_nan=True), length
        assert found.centre == whole.centre, length


@pytest.mark.parametrize(
    "options", [{"offset": -1000}, {"with_mask": True}, {"with_mask": True, "ENDIANNESS": "BIG", "compress": "deflate"}]
)
def test_a_file_of_the_right_size_whose_tags_were_not_written_is_refused(options, spec):
    """A copy that broke off in a file of the whole size: zeros from some tag on, behind the pixels."""
    data = make(**options)
    whole = decode_chip(ChipContent(data), spec)
    if "offset" in options:
        first, last = data.index(b"<GDALMetadata>"), data.index(b"</GDALMetadata>")
    else:
        # The list of tags of the mask: the second one, whose place follows the entries of the first.
        order = ">" if "ENDIANNESS" in options else "<"
        (place,) = struct.unpack_from(order + "I", data, 4)
        (entries,) = struct.unpack_from(order + "H", data, place)
        (first,) = struct.unpack_from(order + "I", data, place + 2 + 12 * entries)
        (entries,) = struct.unpack_from(order + "H", data, first)
        # The type of the last tag, after whose number (2 bytes) it stands.
        last = first + 2 + 12 * (entries - 1) + 3
    for start in range(first, last):
        try:
            found = decode_chip(ChipContent(data[:start] + bytes(len(data) - start)), spec)
        except ChipError as error:
            assert error.kind == "unreadable"
            continue
        assert found.scaling == whole.scaling, start
        assert np.array_equal(found.values, whole.values, equal_nan=True), start


def test_what_is_lost_is_told():
    data = make(offset=-1000)
    assert f"of {len(data) - 1}" in find_damage(data[:-1])
    data = make(with_mask=True)
    assert "its mask reaches to byte" in find_damage(data[:-1])


def test_damaged_metadata_with_an_offset_are_no_xml():
    data = make(offset=-1000)
    assert b"<Item" in data
    assert "tag 42112 with scale or offset is no XML" in find_damage(data.replace(b"<Item", b"<\0tem", 1))


@pytest.mark.parametrize("text", [b"<GDALMetadata>", b"</GDALMetadata>"])
def test_a_file_of_the_right_size_whose_end_was_never_written(text):
    """As after a crash: all from some byte on is zero."""
    data = make(offset=-1000)
    begin = data.rindex(text)
    assert "is no XML" in find_damage(data[:begin] + bytes(len(data) - begin))


def tags_of(data):
    """Place of each entry in the list of the first image, by tag."""
    start = int.from_bytes(data[4:8], "little")
    places = range(start + 2, start + 2 + 12 * int.from_bytes(data[start : start + 2], "little"), 12)
    return {int.from_bytes(data[place : place + 2], "little"): place for place in places}


def changed(data, tag, kind=None, count=None, value=None):
    data, place = bytearray(data), tags_of(data)[tag]
    for at, size, number in ((2, 2, kind), (4, 4, count), (8, 4, value)):
        if number is not None:
            data[place + at : place + at + size] = number.to_bytes(size, "little")
    return bytes(data)


def test_metadata_in_another_coding_or_without_anything_are_no_damage():
    with MemoryFile(make(offset=-1000)) as memory:
        data = memory.read()
    assert find_damage(data.replace(b"DESCRIPTION", b"DESCR\xe9PTION", 1)) is None
    item = data.replace(b'name="OFFSET"', b'name="OFF\xe9ET"', 1)
    assert item != data and find_damage(item) is None
    assert find_damage(changed(data, 42112, count=0)) is None
    assert find_damage(changed(data, 42112, count=1)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"tag": 254, "count": 0},
        {"tag": 254, "value": 4},
        {"tag": 273, "count": 0},
        {"tag": 279, "count": 0},
        {"tag": 273, "kind": 99},
        {"tag": 279, "count": 3},
    ],
)
def test_tags_that_contradict_each_other_are_no_traceback(change, spec):
    data = make(blockysize=4)
    if 254 not in tags_of(data):
        # Of the first image, as if it were a mask.
        data = changed(data, 262)
        place = tags_of(data)[262]
        data = data[:place] + (254).to_bytes(2, "little") + data[place + 2 :]
        data = changed(data, 254, kind=4, count=1, value=4)
    found = find_damage(changed(data, **change))
    assert found is None or any(word in found for word in ("byte", "contradict", "zeros"))


def test_a_list_behind_all_bytes_is_lost():
    data = bytearray(make(BIGTIFF="YES"))
    data[8:16] = b"\xff" * 8
    assert "tags" in find_damage(bytes(data))


def test_other_files_and_mapped_ones(tmp_path):
    assert find_damage(b"") is None
    assert find_damage(b"\x89PNG\r\n") is None
    assert find_damage(b"II*\0") == "the file ends at byte 4, before the end of its list of tags"
    (tmp_path / "a.tif").write_bytes(make(with_mask=True))
    with (tmp_path / "a.tif").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        assert find_damage(data) is None


def test_a_list_of_images_that_never_ends():
    data = bytearray(make())
    start = int.from_bytes(data[4:8], "little")
    entries = int.from_bytes(data[start : start + 2], "little")
    data[start + 2 + 12 * entries : start + 6 + 12 * entries] = start.to_bytes(4, "little")
    assert find_damage(bytes(data)) is None


def test_a_tag_without_values_is_no_damage():
    """Such as the metadata of cameras and of Photoshop that some programs write empty."""
    data = make()
    assert find_damage(changed(data, 262, kind=1, count=0)) is None


def test_a_file_without_an_image_has_no_mask():
    """Its writer was killed before it wrote the place of the list of tags."""
    assert not has_mask(make()[:4] + bytes(4) + make()[8:])


@pytest.mark.parametrize("tag", [33550, 34735, 34737, 42113])
def test_values_of_tags_that_were_not_written_are_told(tag):
    data = make(nodata=65535)
    kind, count = struct.unpack_from("<HI", data, tags_of(data)[tag] + 2)
    (at,) = struct.unpack_from("<I", data, tags_of(data)[tag] + 8)
    size = {2: 1, 3: 2, 12: 8}[kind] * count
    assert size > 4
    assert f"its tag {tag} is zeros" in find_damage(data[:at] + bytes(size) + data[at + size :])
