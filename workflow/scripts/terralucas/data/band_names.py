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


# Central wavelengths of Sentinel-2 in nm, nominal and, if they differ by some nm, those of Sentinel-2A; 1375 is cirrus,
# and 655 the red of Landsat 8, whose other bands are within the tolerance of those of Sentinel-2.
_WAVELENGTHS_NM = {
    443: "COASTAL_AEROSOL",
    490: "BLUE",
    492: "BLUE",
    560: "GREEN",
    655: "RED",
    665: "RED",
    705: "RED_EDGE_1",
    740: "RED_EDGE_2",
    783: "RED_EDGE_3",
    833: "NIR_BROAD",
    842: "NIR_BROAD",
    865: "NIR_NARROW",
    945: "WATER_VAPOR",
    1375: None,
    1610: "SWIR_1",
    1614: "SWIR_1",
    2190: "SWIR_2",
    2202: "SWIR_2",
}
_TOLERANCE_NM = 10.0
_NUMBER = r"[0-9]+(?:[.,][0-9]+)?"
# The second number of a range such as 650-680 nm is no centre.
_WAVELENGTH = re.compile(
    rf"(?<![0-9.,])(?P<from>{_NUMBER}\s*(?:-|–|to)\s*)?(?P<number>{_NUMBER})[\s_]*"
    r"(?:(?P<nm>nm|nanomet(?:er|re)s?)|[uµμ]m|microns?|micromet(?:er|re)s?)(?![a-z])",
    re.IGNORECASE,
)


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
    common names (blue, nir08, SWIR 1), the names of `dataset.bands`, and wavelengths within 10 nm of a central one of
    Sentinel-2 (665 nm, 0.665 µm; 665 alone if all descriptions are such numbers), also within longer texts. Numbers of
    bands have one meaning in all bands of a file; a file contradicts if it does with each meaning that its numbers can
    have. A word counts more than a number. `Band 1`, `Band 2`, ... in the order of the bands are positions and not
    names.

    Args:
        descriptions: description of each band in the file; None without one.
        bands: `dataset.bands`.

    Returns:
        What the file says and what was expected, for a message; None if nothing contradicts.
    """
    readings = _read(descriptions)
    if any(_agrees(reading, bands) for reading in readings):
        return None
    named = [text or "nothing" for text in descriptions]
    said = [_write(allowed) for allowed in readings[0]]
    return f"describes its bands as {', '.join(named)} ({', '.join(said)}); expected {', '.join(bands)}"


def find_positions(descriptions: tuple[str | None, ...], bands: tuple[str, ...]) -> tuple[int, ...] | None:
    """Return where bands are in a file, by the descriptions of its bands.

    Numbers that can be of Sentinel-2 or of Landsat are those of Sentinel-2: B5 is a red edge and no near infrared.

    Args:
        descriptions: description of each band in the file; None without one.
        bands: names of the bands to find.

    Returns:
        Position of each band, counted from 0; None unless the descriptions name each band exactly once.
    """
    reading = _read(descriptions)[0]
    places = [[place for place, allowed in enumerate(reading) if allowed and band in allowed] for band in bands]
    if all(len(place) == 1 for place in places) and len({place[0] for place in places}) == len(bands):
        return tuple(place[0] for place in places)
    return None


def _read(descriptions: tuple[str | None, ...]) -> list[list[Bands | None]]:
    """Return what each description allows, once for each meaning that the numbers of bands can have."""
    texts = [text or "" for text in descriptions]
    if bare := _read_bare_wavelengths(texts):
        texts = bare
    parsed = [_parse(text) for text in texts]
    if all(number == str(position) and kind == "band" for position, (_, kind, number) in enumerate(parsed, 1)):
        parsed = [(word, "", "") for word, _, _ in parsed]
    kinds = {kind for _, kind, _ in parsed}
    readings = []
    for numbers in _LANDSAT_NUMBERS if "srb" in kinds else _NUMBERS:
        if all(number in numbers for _, kind, number in parsed if kind):
            readings.append([_meaning(word, numbers.get(number)) for word, _, number in parsed])
    if not readings:
        readings = [[word for word, _, _ in parsed]]
    return readings


def _parse(text: str) -> tuple[Bands | None, str, str]:
    """Return what the words of a description allow (None if nothing), and the kind and text of its band number."""
    word = _read_wavelength(text)
    text = _WAVELENGTH.sub(" ", text)
    tokens = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower())
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


def _read_wavelength(text: str) -> Bands | None:
    """Return the band of the central wavelength in a description; None without one, or if it names several bands."""
    found = {
        _band_at(_to_number(match["number"]) * (1 if match["nm"] else 1000))
        for match in _WAVELENGTH.finditer(text)
        if not match["from"]
    } - {None}
    return found.pop() if len(found) == 1 else None


def _read_bare_wavelengths(texts: Sequence[str]) -> list[str]:
    """Return descriptions with their unit, if at least two are given and all are numbers at bands of Sentinel-2."""
    given = [text.strip() for text in texts if text.strip()]
    if len(given) < 2 or not all(re.fullmatch(_NUMBER, text) for text in given):
        return []
    for unit, factor in (("nm", 1), ("um", 1000)):
        if all(_band_at(_to_number(text) * factor) is not None for text in given):
            return [f"{text} {unit}" if text.strip() else "" for text in texts]
    return []


def _to_number(text: str) -> float:
    return float(text.replace(",", "."))


def _band_at(wavelength_nm: float) -> Bands | None:
    """Return the band at a wavelength; None if no band of Sentinel-2 has its centre there."""
    for centre, band in _WAVELENGTHS_NM.items():
        if abs(wavelength_nm - centre) <= _TOLERANCE_NM + 1e-6:
            return _allow(band)
    return None


def _meaning(word: Bands | None, number: Bands | None) -> Bands | None:
    """Return the bands that a description allows by its words and its number."""
    if word is None or number is None:
        return number if word is None else word
    return word & number or word


def _agrees(reading: Sequence[Bands | None], bands: Sequence[str]) -> bool:
    return all(allowed is None or band in allowed for allowed, band in zip(reading, bands, strict=True))


def _write(allowed: Bands | None) -> str:
    return "?" if allowed is None else " or ".join(sorted(allowed)) or "no band of TerraMind"
