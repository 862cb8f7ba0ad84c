"""Recognise the bands that the descriptions in a chip's file name, and compare them with `dataset.bands`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

Bands = frozenset[str]

# The near infrared of Landsat lies where the narrow one of Sentinel-2 is (HLS takes them as one), but many call it
# only "NIR".
_NIR = frozenset({"NIR_BROAD", "NIR_NARROW"})
_RED_EDGE = frozenset({"RED_EDGE_1", "RED_EDGE_2", "RED_EDGE_3"})
_SWIR = frozenset({"SWIR_1", "SWIR_2"})
# Words for bands, in small letters without anything between them: TerraMind's names, STAC's common names and others.
# A word that has several meanings allows each of them. A word without a band is a layer that TerraMind does not know.
_WORDS: dict[str, Bands] = {
    word: frozenset({band})
    for band, words in {
        "COASTAL_AEROSOL": "coastalaerosol coastal aerosol ultrablue",
        "BLUE": "blue",
        "GREEN": "green",
        "RED": "red",
        "RED_EDGE_1": "rededge1 rededge071 vre1",
        "RED_EDGE_2": "rededge2 rededge075 vre2",
        "RED_EDGE_3": "rededge3 rededge078 vre3",
        "NIR_BROAD": "nirbroad broadnir widenir",
        "NIR_NARROW": "nirnarrow narrownir nir8a",
        "WATER_VAPOR": "watervapor watervapour nir09",
        "SWIR_1": "swir1 swir16 shortwaveinfrared1",
        "SWIR_2": "swir2 swir22 shortwaveinfrared2",
    }.items()
    for word in words.split()
} | {"nir": _NIR, "nir08": _NIR, "nearinfrared": _NIR, "rededge": _RED_EDGE, "swir": _SWIR, "shortwaveinfrared": _SWIR}
_OTHER_LAYERS = "cirrus pan panchromatic thermal lwir tir alpha scl qa qa60 fmask cloud ndvi ndwi evi vv vh hh hv"
_WORDS |= dict.fromkeys(_OTHER_LAYERS.split(), frozenset[str]())
# What numbers mean. Sentinel-2 comes first, because HLS of Sentinel-2 has its numbers too.
SENTINEL_2 = {
    "1": "COASTAL_AEROSOL",
    "2": "BLUE",
    "3": "GREEN",
    "4": "RED",
    "5": "RED_EDGE_1",
    "6": "RED_EDGE_2",
    "7": "RED_EDGE_3",
    "8": "NIR_BROAD",
    "8a": "NIR_NARROW",
    "9": "WATER_VAPOR",
    "10": None,  # cirrus
    "11": "SWIR_1",
    "12": "SWIR_2",
}
_LANDSAT_8 = ["COASTAL_AEROSOL", "BLUE", "GREEN", "RED", "NIR", "SWIR_1", "SWIR_2", None, None, None, None]
_LANDSAT_5 = ["BLUE", "GREEN", "RED", "NIR", "SWIR_1", None, "SWIR_2"]


def _allow(band: str | None) -> Bands:
    return _NIR if band == "NIR" else frozenset() if band is None else frozenset({band})


# Readings of numbers: B2, B02, band 2; and SR_B2, as only products of Landsat have it.
_NUMBERS: tuple[Mapping[str, Bands], ...] = (
    {number: _allow(band) for number, band in SENTINEL_2.items()},
    {str(number): _allow(band) for number, band in enumerate(_LANDSAT_8, 1)},
)
_LANDSAT_NUMBERS: tuple[Mapping[str, Bands], ...] = (
    _NUMBERS[1],
    {str(number): _allow(band) for number, band in enumerate(_LANDSAT_5, 1)},
)
_LONGEST_WORD = 4


@lru_cache(maxsize=1024)
def find_contradiction(descriptions: tuple[str | None, ...], bands: tuple[str, ...]) -> str | None:
    """Compare the descriptions of bands in a file with the configured bands.

    Only descriptions that are recognised count: numbers of Sentinel-2, HLS and Landsat (B02, B8A, SR_B4, band 3),
    common names (blue, nir08, SWIR 1) and the names of `dataset.bands`, also within longer texts (`blue_B02`). Numbers
    have one meaning in all bands of a file; a file contradicts if it does with each meaning that its numbers can have.
    A word counts more than a number. `Band 1`, `Band 2`, ... in the order of the bands are positions and not names.

    Args:
        descriptions: description of each band in the file; None without one.
        bands: `dataset.bands`.

    Returns:
        What the file says and what was expected, for a message; None if nothing contradicts.
    """
    parsed = [_parse(text or "") for text in descriptions]
    if all(number == str(position) and kind == "band" for position, (_, kind, number) in enumerate(parsed, 1)):
        parsed = [(word, "", "") for word, _, _ in parsed]
    kinds = {kind for _, kind, _ in parsed}
    readings = []
    for numbers in _LANDSAT_NUMBERS if "srb" in kinds else _NUMBERS:
        if all(number in numbers for _, kind, number in parsed if kind):
            readings.append([_meaning(word, numbers.get(number)) for word, _, number in parsed])
    if not readings:
        readings = [[word for word, _, _ in parsed]]
    if any(_agrees(reading, bands) for reading in readings):
        return None
    named = [text or "nothing" for text in descriptions]
    said = [_write(allowed) for allowed in readings[0]]
    return f"describes its bands as {', '.join(named)} ({', '.join(said)}); expected {', '.join(bands)}"


def _parse(text: str) -> tuple[Bands | None, str, str]:
    """Return what the words of a description allow (None if nothing), and the kind and text of its band number."""
    tokens = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower())
    word: Bands | None = None
    kind = number = ""
    start = 0
    while start < len(tokens):
        for length in range(_LONGEST_WORD, 0, -1):
            joined = "".join(tokens[start : start + length])
            if joined in _WORDS:
                # "NIR narrow" says more than "NIR"; "blue or green" allows both; "red, pansharpened" is red.
                found = _WORDS[joined]
                word = found if word is None else (word & found) or (word | found)
                break
            if match := re.fullmatch(r"(b|band|srb)0?([0-9]{1,2}|8a)", joined):
                kind, number = match[1], match[2]
                break
        start += length
    return word, kind, number


def _meaning(word: Bands | None, number: Bands | None) -> Bands | None:
    """Return the bands that a description allows by its words and its number."""
    if word is None or number is None:
        return number if word is None else word
    return word & number or word


def _agrees(reading: Sequence[Bands | None], bands: Sequence[str]) -> bool:
    return all(allowed is None or band in allowed for allowed, band in zip(reading, bands, strict=True))


def _write(allowed: Bands | None) -> str:
    return "?" if allowed is None else " or ".join(sorted(allowed)) or "no band of TerraMind"
