"""Tell whether a TIFF file has lost its end, or has damaged metadata.

GDAL reads on where tags or a mask lie behind the end of a file, or are zeros: it leaves them out, with their scale,
offset, value for missing data or place. So it does with metadata that are no XML. Formats: TIFF 6.0 (Adobe 1992),
section 2, and BigTIFF.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from mmap import mmap
from xml.etree import ElementTree

import numpy as np

_BEGINS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Bytes of a value of each type.
_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
# Unsigned integers of 2, 4 and 8 bytes.
_INTEGERS = {3: "u2", 4: "u4", 16: "u8"}
# Tags: what kind of image it is (bit 0: an overview, bit 2: a mask), and where its strips or tiles are, with their
# lengths.
_KIND, _OVERVIEW, _MASK = 254, 1, 4
_PLACES = {273: 279, 324: 325}
# Size of pixels, geokeys and their names (GeoTIFF 1.1, section 7), and GDAL's tag with the value of missing pixels.
_NEVER_ZEROS = (33550, 34735, 34737, 42113)
# GDAL's tag with scales, offsets and other metadata in XML.
_METADATA = 42112
# A file of more images, or one whose list of images never ends, is no raster.
_MOST_IMAGES = 1000


def find_damage(data: bytes | mmap) -> str | None:
    """Return in words what of a TIFF lies behind its end, is zeros, or is no XML; None if nothing is, or for others.

    The pixels of images are left to GDAL, which reports what it cannot read, but for those of masks.

    Args:
        data: the file.
    """
    if data[:4] not in _BEGINS:
        return None
    try:
        for image in _images(data):
            # TIFF 6.0 knows no empty list and no type 0. A copy that broke off in a file of the whole size has zeros.
            if not image or any(kind == 0 for kind, _, _ in image.values()):
                return "a list of its tags is zeros, as where a copy broke off"
            for tag, (kind, count, at) in image.items():
                end = at + _SIZES.get(kind, 0) * count
                if end > len(data):
                    return f"its tag {tag} reaches to byte {end} of {len(data)}"
                if tag in _NEVER_ZEROS and count > 1 and not any(data[at:end]):
                    return f"its tag {tag} is zeros, as where a copy broke off"
            if (end := _end_of_mask(data, image)) > len(data):
                return f"its mask reaches to byte {end} of {len(data)}"
            if _METADATA in image and (error := _find_error(_bytes(data, image[_METADATA]))) is not None:
                return f"its tag {_METADATA} with scale or offset is no XML: {error}"
    except struct.error:
        return f"the file ends at byte {len(data)}, before the end of its list of tags"
    except (ValueError, OverflowError) as error:
        return f"its tags contradict each other: {error}"
    return None


def has_mask(data: bytes | mmap) -> bool:
    """Return whether a TIFF without damage has a mask in it, whether GDAL can read it or not; false for other files."""
    if data[:4] not in _BEGINS:
        return False
    kinds = [_values(data, image[_KIND]) for image in list(_images(data))[1:] if _KIND in image]
    return any((kind & _MASK).any() and not (kind & _OVERVIEW).any() for kind in kinds)


# Type, number of values, and where they begin.
_Tags = dict[int, tuple[int, int, int]]


def _images(data: bytes | mmap) -> Iterator[_Tags]:
    """Yield the tags of each image of a file.

    Raises:
        struct.error: the file ends before the list of tags of an image.
    """
    order, is_big = _order(data), data[2:4] in (b"+\0", b"\0+")
    offset, entry = ("Q", "HHQ") if is_big else ("I", "HHI")
    number, size = ("Q", 20) if is_big else ("H", 12)
    inline = struct.calcsize(offset)
    (place,) = struct.unpack_from(order + offset, data, 8 if is_big else 4)
    for _ in range(_MOST_IMAGES):
        if not place:
            return
        (entries,) = struct.unpack_from(order + number, data, place)
        place += struct.calcsize(number)
        tags: _Tags = {}
        for at in range(place, place + size * entries, size):
            tag, kind, count = struct.unpack_from(order + entry, data, at)
            value = at + size - inline
            if _SIZES.get(kind, 0) * count > inline:
                (value,) = struct.unpack_from(order + offset, data, value)
            tags[tag] = kind, count, value
        yield tags
        (place,) = struct.unpack_from(order + offset, data, place + size * entries)


def _end_of_mask(data: bytes | mmap, image: _Tags) -> int:
    """Return where the pixels of a mask end; 0 for another image."""
    if _KIND not in image or not any(_values(data, image[_KIND]) & _MASK):
        return 0
    ends = [
        (_values(data, image[places]) + _values(data, image[lengths])).max(initial=0)
        for places, lengths in _PLACES.items()
        if places in image and lengths in image
    ]
    return int(max(ends, default=0))


def _find_error(text: bytes) -> str | None:
    """Return what is wrong with XML that says a scale or an offset; None if nothing is, or for other XML."""
    stripped = text.rstrip(b"\0")
    # Where a copy broke off, zeros follow. Some programs write the tag without anything in it.
    is_whole = len(text) - len(stripped) <= 1
    if len(text) <= 1 or (is_whole and b"scale" not in stripped and b"offset" not in stripped):
        return None
    try:
        ElementTree.fromstring(stripped)
    except ElementTree.ParseError as error:
        # GDAL does not mind letters in another coding than UTF-8.
        with contextlib.suppress(ElementTree.ParseError):
            ElementTree.fromstring(stripped.decode("latin-1"))
            return None
        return str(error)
    return None


def _bytes(data: bytes | mmap, tag: tuple[int, int, int]) -> bytes:
    _, count, at = tag
    return bytes(data[at : at + count])


def _values(data: bytes | mmap, tag: tuple[int, int, int]) -> np.ndarray:
    kind, count, at = tag
    dtype = np.dtype(_order(data) + _INTEGERS.get(kind, "u1"))
    return np.frombuffer(data, dtype, count, at).astype(np.int64)


def _order(data: bytes | mmap) -> str:
    return "<" if data[:1] == b"I" else ">"
