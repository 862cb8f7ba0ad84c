"""Recognise the bands that the descriptions in a chip's file name, and compare them with `dataset.bands`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from unicodedata import combining, normalize

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
# Digital Earth Australia counts the short-wave infrared of Landsat from 1 (1610 nm), and that of Sentinel-2 from 2.
_WORDS |= {"nbartswir2": _SWIR, "nbartswir3": frozenset({"SWIR_2"}), "swir3": frozenset({"SWIR_2"})}
_WORDS |= {"nbartnir1": frozenset({"NIR_BROAD"}), "nbartnir2": frozenset({"NIR_NARROW"})}
_OTHER_LAYERS = (
    "cirrus pan panchromatic thermal lwir tir alpha scl qa qa60 qaaerosol aot wvp fmask cloud ndvi ndwi evi vv vh hh hv"
)
_WORDS |= dict.fromkeys(_OTHER_LAYERS.split(), frozenset[str]())
# Of places and products, if all names have them: Red Sea, Green Bay, cloud free. Not those of thermal or other layers,
# which may have numbers of their own.
_WORDS_OF_PLACES = ("red", "green", "blue", "coastal", "cloud", "clouds", "qa")
# Words of German, French, Italian and Spanish without accents. They may belong to a place in the name of a file, such
# as Casa Verde, so that a number of a band counts more.
_FOREIGN_WORDS: dict[str, Bands] = {
    word: allowed
    for allowed, words in (
        (frozenset({"BLUE"}), "blau bleu blu azzurro azul"),
        (frozenset({"GREEN"}), "grun gruen vert verde"),
        (frozenset({"RED"}), "rot rouge rosso rojo"),
        (_RED_EDGE, "rotekante bordrouge bordorosso borderojo"),
        (_NIR, "nahinfrarot nahesinfrarot pir procheinfrarouge vicinoinfrarosso infrarossovicino infrarrojocercano"),
        (_SWIR, "kurzwelligesinfrarot infrarougecourt infrarossoacortoonda infrarrojodeondacorta"),
    )
    for word in words.split()
}
# Words of red edges, in which red is of no place.
_EDGE, _REDS = re.compile(r"(?:edge|kante|bord|bordo|borde)\d*"), {"red", "rot", "rote", "rouge", "rosso", "rojo"}
# Single letters count only if all descriptions of a file are such letters, or other words for bands.
_LETTERS: dict[str, Bands] = {
    "r": frozenset({"RED"}),
    "g": frozenset({"GREEN"}),
    "b": frozenset({"BLUE"}),
    "n": _NIR,
    "s1": frozenset({"SWIR_1"}),
    "s2": frozenset({"SWIR_2"}),
}
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
# Landsat 4, 5 and 7: band 6 is thermal, 8 panchromatic.
_LANDSAT_5 = ["BLUE", "GREEN", "RED", "NIR", "SWIR_1", None, "SWIR_2", None]
# MODIS: band 5 (1240 nm) is like no band of Sentinel-2.
_MODIS = ["RED", "NIR", "BLUE", "GREEN", None, "SWIR_1", "SWIR_2"]

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


Numbers = Mapping[str, Bands]


def _count_from_1(bands: Sequence[str | None]) -> Numbers:
    return {str(number): _allow(band) for number, band in enumerate(bands, 1)}


_OF_SENTINEL_2: Numbers = {number: _allow(band) for number, band in SENTINEL_2.items()}
_OF_LANDSAT_8, _OF_LANDSAT_5, _OF_MODIS = map(_count_from_1, (_LANDSAT_8, _LANDSAT_5, _MODIS))
_NUMBERS_OF = {
    "Sentinel-2": _OF_SENTINEL_2,
    "Landsat 8 or 9": _OF_LANDSAT_8,
    "Landsat 4, 5 or 7": _OF_LANDSAT_5,
}
# What the names of products say of their satellite, and so of their numbers.
_SATELLITES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (satellite, re.compile(rf"(?<![a-z0-9])(?:{names})", re.IGNORECASE))
    for satellite, names in (
        ("Landsat 4, 5 or 7", r"L[TM]0?[45](?=_|\d{13})|LE0?7(?=_|\d{13})|landsat[ _-]?[457](?!\d)"),
        ("Landsat 8 or 9", r"L[CO]0?[89](?=_|\d{13})|landsat[ _-]?[89](?!\d)|HLS[._]L30"),
        # Also MSI, its instrument, and a tile with a date as its band files have them (those of HLS have points).
        (
            "Sentinel-2",
            r"S2[ABC]?(?=[_-])|S2L[12]|sentinel[ _-]?2|HLS[._]S30|MSI(?=[_-])|COPERNICUS_S2"
            r"|(?<!\.)T\d\d[C-X][A-Z]{2}_(?=\d{8}T)",
        ),
    )
)
# A band's number: B2, B02, band 2; S2B2; SR_B2 and ST_B6, as only products of Landsat have them; those of MODIS.
_BAND_NUMBER = re.compile(r"(?P<kind>b|band|srb|stb|surreflb|nadirreflectanceband)0?(?P<number>[0-9]{1,2}|8a)")
_BAND_NUMBER_OF_SENTINEL_2 = re.compile(r"s2[abc]?(?P<kind>b)0?(?P<number>[0-9]{1,2}|8a)")
_MODIS_KINDS = ("surreflb", "nadirreflectanceband")
_LONGEST_WORD = 4
# The place before a capital letter that begins a word.
_CAPITAL_OF_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


@lru_cache(maxsize=1024)
def find_contradiction(
    descriptions: tuple[str | None, ...],
    bands: tuple[str, ...],
    may_be_landsat: bool = True,
    *,
    of_one_file: bool = True,
    says: str = "describes",
) -> str | None:
    """Compare the descriptions of bands in a file with the configured bands.

    Only descriptions that are recognised count: numbers of Sentinel-2, HLS, Landsat and MODIS (B02, B8A, SR_B4, band 3,
    sur_refl_b01), common names (blue, nir08, SWIR 1; also in German, French, Italian and Spanish), letters (R, G, B, N)
    if all descriptions are letters or names, the names of `dataset.bands`, and wavelengths within 10 nm of a central
    one of Sentinel-2 (665 nm, 0.665 µm), also within longer texts. Mere numbers, if all descriptions are such, are
    wavelengths (665) or numbers of bands (04, 8A).

    Numbers of bands have one meaning in all bands of a file: that of the satellite whose name is there (LT05, LC08,
    S2A), or else any of those that they can have, and the file contradicts if it does with each of these. A word counts
    more than a number, unless it may be of a place (Red Sea) and all names have it. `Band 1`, `Band 2`, ... and `b1`,
    `b2`, ... (as Earth Engine calls bands without a name) in the order of the bands are positions and not names, also
    beside bands that have a name.

    Args:
        descriptions: description of each band in the file; None without one.
        bands: `dataset.bands`.
        may_be_landsat: whether numbers without the name of a satellite may be those of Landsat: B5 is its near
            infrared, and the first red edge of Sentinel-2.
        of_one_file: whether the descriptions are of the bands of one file. Those of several files are no positions.
        says: verb of the message: the file describes its bands, or shows them (in colours).

    Returns:
        What the file says and what was expected, for a message; None if nothing contradicts.
    """
    readings = list(_read(descriptions, may_be_landsat, of_one_file).values())
    if any(_agrees(reading, bands) for reading in readings):
        return None
    named = [text or "nothing" for text in descriptions]
    said = [_write(allowed) for allowed in readings[0]]
    return f"{says} its bands as {', '.join(named)} ({', '.join(said)}); expected {', '.join(bands)}"


def find_positions(
    descriptions: tuple[str | None, ...], bands: tuple[str, ...], may_be_landsat: bool = True, of_one_file: bool = True
) -> tuple[int, ...] | None:
    """Return where bands are in a file, by the descriptions of its bands.

    Args:
        descriptions: description of each band in the file; None without one.
        bands: names of the bands to find.
        may_be_landsat: see `find_contradiction`.
        of_one_file: see `find_contradiction`.

    Returns:
        Position of each band, counted from 0; None unless the descriptions name each band exactly once, in one way.
    """
    found = set(find_by_satellite(descriptions, bands, may_be_landsat, of_one_file).values())
    return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=1024)
def find_by_satellite(
    descriptions: tuple[str | None, ...], bands: tuple[str, ...], may_be_landsat: bool = True, of_one_file: bool = True
) -> Mapping[str, tuple[int, ...] | None]:
    """Return where bands are in a file, by each satellite whose numbers of bands can be meant.

    The answers differ where numbers may be of Sentinel-2 or of Landsat, as B5 and B8, and for SR_B1, SR_B2, ... of
    Landsat, which counts its bands otherwise since Landsat 8.

    Args:
        descriptions: see `find_positions`, as the other arguments.
        bands: names of the bands to find.
        may_be_landsat: see there.
        of_one_file: see there.

    Returns:
        Satellite → position of each band; None unless each band is named once. The satellite is empty where numbers do
        not count.
    """
    readings = _read(descriptions, may_be_landsat, of_one_file)
    return {satellite: _find(reading, bands) for satellite, reading in readings.items()}


@lru_cache(maxsize=1024)
def find_satellites_meant(
    descriptions: tuple[str | None, ...], bands: tuple[str, ...], may_be_landsat: bool = True
) -> tuple[str, ...]:
    """Return by which satellites the numbers of bands in a file are those of bands in their order.

    Args:
        descriptions: see `find_positions`, as the other arguments.
        bands: names of all bands of the file, in their order.
        may_be_landsat: see there.

    Returns:
        The satellites; none where all that can be meant agree, because nothing is to be known then.
    """
    found = find_by_satellite(descriptions, bands, may_be_landsat)
    if len(set(found.values())) == 1:
        return ()
    return tuple(satellite for satellite, places in found.items() if places == tuple(range(len(bands))))


@lru_cache(maxsize=1024)
def are_named(
    descriptions: tuple[str | None, ...], bands: tuple[str, ...], may_be_landsat: bool = True, of_one_file: bool = True
) -> bool:
    """Return whether descriptions name each band once in one way, so that pixels need not confirm the order of bands.

    Pixels must confirm B1, B2, ... in the order of the bands, because these may be positions.

    Args:
        descriptions: description of each band in the file; None without one.
        bands: names of the bands to find.
        may_be_landsat: see `find_contradiction`.
        of_one_file: see `find_contradiction`.
    """
    if find_positions(descriptions, bands, may_be_landsat, of_one_file) is None:
        return False
    if not of_one_file:
        return True
    parsed = [_parse(text or "") for text in descriptions]
    by_number = [each for each in parsed if each.kind and each.word is None and each.foreign is None]
    may_count = bool(by_number) and _are_at_own_places(parsed)
    return not (may_count and all(each.kind in ("b", "band") and each.satellite is None for each in by_number))


@lru_cache(maxsize=1024)
def find_named(descriptions: tuple[str | None, ...]) -> tuple[int, ...]:
    """Return which bands of a file have a description that names a band or another layer that is known (SCL, NDVI).

    Args:
        descriptions: description of each band in the file; None without one.

    Returns:
        Positions, counted from 0.
    """
    first, *_ = _read(drop_positions(descriptions)).values()
    return tuple(place for place, allowed in enumerate(first) if allowed is not None)


def drop_positions(descriptions: tuple[str | None, ...]) -> tuple[str | None, ...]:
    """Return descriptions with None for those that only count the bands of the file: `Band 5` or `b5` of the fifth.

    Args:
        descriptions: description of each band in one file; None without one.
    """
    parsed = [_parse(text or "") for text in descriptions]
    return tuple(
        None
        if each.may_be_position and each.number == str(number) and each.word is None and each.foreign is None
        else text
        for number, (text, each) in enumerate(zip(descriptions, parsed, strict=True), 1)
    )


@lru_cache(maxsize=1024)
def find_satellite(descriptions: tuple[str | None, ...]) -> str | None:
    """Return the satellite whose name is in descriptions of bands, as the names of products have it.

    Without one, only Sentinel-2 has B8A and B12, and SR_B1, SR_B2, ... are bands of Landsat.

    Args:
        descriptions: description of each band in the file; None without one.

    Returns:
        The satellite, or satellites of one kind such as Landsat 8 or 9; None without one, or if several are named.
    """
    texts = [text or "" for text in descriptions]
    found = {satellite for text in texts for satellite, pattern in _SATELLITES if pattern.search(text)}
    if found:
        return found.pop() if len(found) == 1 else None
    parsed = [_parse(text) for text in texts]
    may_be_landsat = any(all(each.can_be(numbers) for each in parsed) for numbers in (_OF_LANDSAT_8, _OF_LANDSAT_5))
    if not may_be_landsat and all(each.can_be(_OF_SENTINEL_2) for each in parsed) and not _are_at_own_places(parsed):
        return "Sentinel-2"
    return "Landsat" if may_be_landsat and any(each.kind in ("srb", "stb") for each in parsed) else None


def _find(reading: Sequence[Bands | None], bands: Sequence[str]) -> tuple[int, ...] | None:
    places = [[place for place, allowed in enumerate(reading) if allowed and band in allowed] for band in bands]
    if all(len(place) == 1 for place in places) and len({place[0] for place in places}) == len(bands):
        return tuple(place[0] for place in places)
    return None


@dataclass(frozen=True)
class _Described:
    """What a description says.

    Attributes:
        word: bands that its words allow; None if nothing in it is such a word.
        foreign: the same of words of other languages.
        kind: what stands before the number of a band; empty without a number.
        number: the number of a band.
        satellite: the satellite that it names, by which its number is meant; None without one.
        may_be_position: whether the number may only count the bands of the file: Band 1 or b1, but not B1.
    """

    word: Bands | None
    foreign: Bands | None
    kind: str
    number: str
    satellite: str | None
    may_be_position: bool = False

    @property
    def _own_numbers(self) -> Numbers | None:
        return None if self.satellite is None else _NUMBERS_OF[self.satellite]

    def means(self, numbers: Numbers) -> Bands | None:
        """Return the bands that the description allows, if numbers have this meaning; None if it says nothing."""
        number = self._means_by_number(numbers)
        word = self.foreign if self.word is None and number is None else self.word
        if word is None or number is None:
            return number if word is None else word
        return word & number or word

    def _means_by_number(self, numbers: Numbers) -> Bands | None:
        if self.kind == "stb":
            return frozenset()
        if not self.kind:
            return None
        return (_OF_MODIS if self.kind in _MODIS_KINDS else self._own_numbers or numbers).get(self.number)

    def fits(self, numbers: Numbers) -> bool:
        """Return whether the words of the description do not contradict its number, if numbers have this meaning."""
        number = self._means_by_number(numbers)
        return self.word is None or number is None or self.word == number or bool(self.word & number)

    def can_be(self, numbers: Numbers) -> bool:
        """Return whether a number of the description can have this meaning: SR_B6 cannot be thermal."""
        if not self.kind or self.kind in _MODIS_KINDS:
            return True
        meaning = (self._own_numbers or numbers).get(self.number)
        if meaning is None:
            return False
        return bool(meaning) if self.kind == "srb" else not meaning if self.kind == "stb" else True


def _read(
    descriptions: tuple[str | None, ...], may_be_landsat: bool = True, of_one_file: bool = True
) -> dict[str, list[Bands | None]]:
    """Return what each description allows, by each satellite whose numbers of bands can be meant.

    Where no number can be meant in any way, and where single letters are meant, the satellite is empty.
    """
    texts = [text or "" for text in descriptions]
    texts = _read_bare_wavelengths(texts) or _read_bare_numbers(texts, of_one_file) or texts
    if letters := _read_letters(texts):
        return {"": _settle(texts, letters)}
    parsed = [_parse(text) for text in _drop_words_of_places(texts)]
    may_count = of_one_file and _are_at_own_places(parsed) and all(each.may_be_position for each in parsed if each.kind)
    if may_count:
        parsed = [replace(each, kind="", number="") for each in parsed]
    named = {each.satellite for each in parsed if each.satellite is not None}
    if any(text.strip().casefold() == "scl" for text in texts):
        # The scene classification that products of Sentinel-2 alone have.
        named.add("Sentinel-2")
    is_landsat = any(each.kind in ("srb", "stb") for each in parsed)
    if len(named) == 1:
        satellites = list(named)
    elif is_landsat:
        satellites = ["Landsat 8 or 9", "Landsat 4, 5 or 7"]
    else:
        satellites = ["Sentinel-2", *(["Landsat 8 or 9"] if may_be_landsat else [])]
    possible = [name for name in satellites if all(each.can_be(_NUMBERS_OF[name]) for each in parsed)]
    if not possible and is_landsat:
        # Some programs write SR_B8A.
        possible = ["Sentinel-2"]
    # "B5 red edge" is no near infrared.
    possible = [name for name in possible if all(each.fits(_NUMBERS_OF[name]) for each in parsed)] or possible or [""]
    return {name: _settle(texts, [each.means(_NUMBERS_OF.get(name, {})) for each in parsed]) for name in possible}


def _settle(texts: Sequence[str], reading: list[Bands | None]) -> list[Bands | None]:
    """Return what descriptions allow if no band occurs twice: one that has one meaning excludes it for the others.

    STAC calls the bands 8 and 8A `nir` and `nir08`; FORCE calls them BROADNIR and NIR.
    """
    doubtful = [place for place, allowed in enumerate(reading) if allowed == _NIR]
    narrow = [place for place in doubtful if "nir08" in _tokens(texts[place])]
    settled = list(reading)
    if len(doubtful) == 2 and len(narrow) == 1:
        for place in doubtful:
            settled[place] = frozenset({"NIR_NARROW" if place in narrow else "NIR_BROAD"})
    before: list[Bands | None] = []
    while settled != before:
        before = settled
        certain = frozenset[str]().union(*(allowed for allowed in before if allowed and len(allowed) == 1))
        settled = [(allowed - certain) or allowed if allowed and len(allowed) > 1 else allowed for allowed in before]
    return settled


def _are_at_own_places(parsed: Sequence[_Described]) -> bool:
    """Return whether bands have numbers, and each number is the position of its band."""
    numbered = [(str(place), each) for place, each in enumerate(parsed, 1) if each.kind]
    return bool(numbered) and all(each.number == place for place, each in numbered)


def _drop_words_of_places(texts: Sequence[str]) -> Sequence[str]:
    """Return texts without words that all of them have, such as Red Sea, where numbers of bands tell them apart."""
    tokens = [_tokens(text) for text in texts]
    shared = set.intersection(*map(set, tokens)) if len(tokens) > 1 else set[str]()
    words = shared.intersection((*_WORDS_OF_PLACES, *_FOREIGN_WORDS))
    if any(_EDGE.fullmatch(token) for own in tokens for token in own):
        words -= _REDS
    if not words:
        return texts
    pattern = re.compile(rf"(?<![^\W_])(?:{'|'.join(words)})(?![^\W_])", re.IGNORECASE)
    shorter = [pattern.sub(" ", _CAPITAL_OF_WORD.sub(" ", text)) for text in texts]
    return shorter if all(_parse(text).kind for text in shorter) else texts


def _parse(text: str) -> _Described:
    satellites = [satellite for satellite, pattern in _SATELLITES if pattern.search(text)]
    word, foreign = _read_wavelength(text), None
    tokens = _tokens(_WAVELENGTH.sub(" ", text))
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
            if joined in _FOREIGN_WORDS:
                found = _FOREIGN_WORDS[joined]
                foreign = found if foreign is None else (foreign & found) or (foreign | found)
                break
            *before, last = tokens[start : start + length]
            if last.isdigit() and _BAND_NUMBER.fullmatch("".join(before)):
                # A number behind that of a band: Earth Engine calls a second B2 B2_1, which is not B21.
                continue
            match = _BAND_NUMBER.fullmatch(joined)
            if length == 1 and not match:
                match = _BAND_NUMBER_OF_SENTINEL_2.fullmatch(joined)
            if match:
                kind, number = match["kind"], match["number"]
                break
        start += length
    satellite = satellites[0] if len(satellites) == 1 else None
    may_be_position = kind == "band" or (
        kind == "b" and re.search(rf"(?<![^\W_])b0?{number}(?![^\W_])", text) is not None
    )
    return _Described(word, foreign, kind, number, satellite, may_be_position)


def _tokens(text: str) -> list[str]:
    """Return the words of a text in small letters without accents, also where a capital letter begins a word."""
    plain = "".join(letter for letter in normalize("NFKD", text) if not combining(letter))
    return re.findall(r"[a-z0-9]+", _CAPITAL_OF_WORD.sub(" ", plain).lower())


def _read_letters(texts: Sequence[str]) -> list[Bands | None]:
    """Return what descriptions such as R, G, B, NIR allow, if all that are given are letters or words for bands."""
    words = _LETTERS | _FOREIGN_WORDS | _WORDS
    plain = ["".join(_tokens(text)) for text in texts]
    given = [text for text in plain if text]
    if len(set(given) & _LETTERS.keys()) < 2 or not all(text in words for text in given):
        return []
    return [words[text] if text else None for text in plain]


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


def _read_bare_numbers(texts: Sequence[str], of_one_file: bool) -> list[str]:
    """Return descriptions with "b" before their number, if two or more are given and all are numbers of Sentinel-2.

    Numbers that count the layers of several files, or that are all alike, say nothing.
    """
    given = [text.strip() for text in texts if text.strip()]
    numbers = [text.lower().removeprefix("0") for text in given]
    if len(given) < 2 or not all(number in SENTINEL_2 for number in numbers):
        return []
    counted = numbers == [str(place) for place, _ in enumerate(numbers, 1)]
    if len(set(numbers)) == 1 or (counted and not of_one_file):
        return []
    return [f"b{text.strip()}" if text.strip() else "" for text in texts]


def _to_number(text: str) -> float:
    return float(text.replace(",", "."))


def _band_at(wavelength_nm: float) -> Bands | None:
    """Return the band at a wavelength; None if no band of Sentinel-2 has its centre there."""
    for centre, band in _WAVELENGTHS_NM.items():
        if abs(wavelength_nm - centre) <= _TOLERANCE_NM + 1e-6:
            return _allow(band)
    return None


def _agrees(reading: Sequence[Bands | None], bands: Sequence[str]) -> bool:
    return all(allowed is None or band in allowed for allowed, band in zip(reading, bands, strict=True))


def _write(allowed: Bands | None) -> str:
    return "?" if allowed is None else " or ".join(sorted(allowed)) or "no band of TerraMind"
