"""Recognise the bands that the descriptions in a file name, and compare them with `dataset.bands`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from terralucas.data.rasters.band_words import (
    BAND,
    CAPITAL_OF_WORD,
    EDGE,
    FOREIGN_WORDS,
    LANDSAT_4_TO_7,
    LANDSAT_8_AND_9,
    LETTERS,
    NIR,
    NUMBER,
    NUMBERS_OF,
    REDS,
    SATELLITES,
    SENTINEL_2,
    WORDS,
    WORDS_OF_PLACES,
    Bands,
    Description,
    band_at,
    read_description,
    split_words,
    to_number,
)

# Names of a near infrared of which it is not known whether it is the broad or the narrow one.
_SOME_NIR = re.compile(r"n?nir[0-9a-z]?")
# A number of a band, perhaps with zeros, behind a word or nothing.
_BARE_NUMBER = re.compile(r"(.*?)[\s_.=-]*0?([0-9]+a?)", re.IGNORECASE)
# Where bands are in a file, counted from 0.
Positions = tuple[int, ...]


@dataclass(frozen=True)
class BandNames:
    """The descriptions of the bands of a file, or the names of the files of single bands.

    Only descriptions that are recognised count: numbers of Sentinel-2, HLS, Landsat and MODIS (B02, B8A, SR_B4, band 3,
    sur_refl_b01), common names (blue, nir08, SWIR 1; also in German, French, Italian and Spanish), letters (R, G, B, N)
    if all descriptions are letters or words, the names of `dataset.bands`, and wavelengths within 10 nm of a central
    one of Sentinel-2 (665 nm, 0.665 µm), also within longer texts. Mere numbers, if all descriptions are such, are
    wavelengths (665) or numbers of bands (04, 8A).

    Numbers of bands have one meaning in all bands of a file: that of the satellite whose name is there (LT05, LC08,
    S2A), or else any of those that they can have. A word counts more than a number, unless it may be of a place (Red
    Sea) and all names have it. `Band 1`, `Band 2`, ... and `b1`, `b2`, ... (as Earth Engine calls bands without a name)
    in the order of the bands are positions and not names, also beside bands that have a name.

    Attributes:
        descriptions: description of each band in the file; None without one.
        may_be_landsat: whether numbers without the name of a satellite may be those of Landsat: B5 is its near
            infrared, and the first red edge of Sentinel-2.
        of_one_file: whether the descriptions are of the bands of one file. Those of several files are no positions.
    """

    descriptions: tuple[str | None, ...]
    may_be_landsat: bool = True
    of_one_file: bool = True

    def find_contradiction(self, bands: Sequence[str], *, says: str = "describes") -> str | None:
        """Compare the descriptions with bands in their order. They contradict if they do with each satellite.

        Args:
            bands: the expected bands, one for each description.
            says: verb of the message: the file describes its bands, or shows them (in colours).

        Returns:
            What the file says and what was expected, for a message; None if nothing contradicts.
        """
        readings = list(_read(self).values())
        if any(_agrees(reading, bands) for reading in readings):
            return None
        named = [text or "nothing" for text in self.descriptions]
        said = [_write(allowed) for allowed in readings[0]]
        return f"{says} its bands as {', '.join(named)} ({', '.join(said)}); expected {', '.join(bands)}"

    def find_by_satellite(self, bands: Sequence[str]) -> Mapping[str, Positions | None]:
        """Return where bands are, by each satellite whose numbers of bands can be meant.

        The answers differ where numbers may be of Sentinel-2 or of Landsat, as B5 and B8, and for SR_B1, SR_B2, ... of
        Landsat, which counts its bands otherwise since Landsat 8.

        Returns:
            Satellite → position of each band; None unless each band is named once. The satellite is empty where numbers
            do not count.
        """
        return {satellite: _find(reading, bands) for satellite, reading in _read(self).items()}

    def find_positions(self, bands: Sequence[str]) -> Positions | None:
        """Return where bands are; None unless the descriptions name each band exactly once, in one way."""
        found = set(self.find_by_satellite(bands).values())
        return found.pop() if len(found) == 1 else None

    def find_satellites_meant(self, bands: Sequence[str]) -> tuple[str, ...]:
        """Return by which satellites the numbers are those of bands in their order.

        Args:
            bands: all bands of the file, in their order.

        Returns:
            The satellites; none where all that can be meant agree, because nothing is to be known then.
        """
        found = self.find_by_satellite(bands)
        if len(set(found.values())) == 1:
            return ()
        return tuple(satellite for satellite, places in found.items() if places == tuple(range(len(bands))))

    def name_each(self, bands: Sequence[str]) -> bool:
        """Return whether they name each band once in one way, so that pixels need not confirm the order of bands.

        Pixels must confirm B1, B2, ... in the order of the bands, because these may be positions.
        """
        if self.find_positions(bands) is None:
            return False
        if not self.of_one_file:
            return True
        by_number = [each for each in self._parsed if each.kind and each.word is None and each.foreign is None]
        may_count = bool(by_number) and _are_at_own_places(self._parsed)
        return not (may_count and all(each.kind in ("b", *BAND) and each.satellite is None for each in by_number))

    def find_named(self) -> Positions:
        """Return which bands have a description that names a band or another layer that is known (SCL, NDVI)."""
        first, *_ = _read(BandNames(self.without_positions())).values()
        return tuple(place for place, allowed in enumerate(first) if allowed is not None)

    def find_unknown(self) -> tuple[str, ...]:
        """Return descriptions that name no band or other layer that is known; none if all are alike or only count."""
        named = self.find_named()
        texts = [text for place, text in enumerate(self.without_positions()) if place not in named]
        unknown = tuple(text.strip() for text in texts if text and text.strip())
        given = [text.strip() for text in self.descriptions if text and text.strip()]
        # lyr.1, lyr.2, ... or 0, 1, ... only count.
        numbers = [int(number[0]) if (number := re.search(r"[0-9]{1,9}$", text)) else -1 for text in given]
        is_counted = numbers in ([*range(len(given))], [*range(1, len(given) + 1)])
        is_one_name = len({text.rstrip("0123456789") for text in given}) == 1
        return () if is_one_name and (is_counted or len(set(given)) == 1) else unknown

    def without_positions(self) -> tuple[str | None, ...]:
        """Return the descriptions with None for those that only count the bands: `Band 5` or `b5` of the fifth."""
        if self.of_one_file and _only_count([text or "" for text in self.descriptions]):
            return (None,) * len(self.descriptions)
        return tuple(
            None
            if each.may_be_position and each.number == str(number) and each.word is None and each.foreign is None
            else text
            for number, (text, each) in enumerate(zip(self.descriptions, self._parsed, strict=True), 1)
        )

    def find_satellite(self) -> str | None:
        """Return the satellite whose name is in the descriptions, as the names of products have it.

        Without one, only Sentinel-2 has B8A and B12, and SR_B1, SR_B2, ... are bands of Landsat.

        Returns:
            The satellite, or satellites of one kind such as Landsat 8 or 9; None without one, or if several are named.
        """
        texts = [text or "" for text in self.descriptions]
        found = {satellite for text in texts for satellite, pattern in SATELLITES if pattern.search(text)}
        if found:
            return found.pop() if len(found) == 1 else None
        parsed = self._parsed
        can_be = {name for name, numbers in NUMBERS_OF.items() if all(each.can_be(numbers) for each in parsed)}
        if can_be == {"Sentinel-2"} and not _are_at_own_places(parsed):
            return "Sentinel-2"
        return "Landsat" if can_be - {"Sentinel-2"} and any(each.kind in ("srb", "stb") for each in parsed) else None

    @property
    def _parsed(self) -> Sequence[Description]:
        return [read_description(text or "") for text in self.descriptions]


@lru_cache(maxsize=1024)
def _read(names: BandNames) -> Mapping[str, list[Bands | None]]:
    """Return what each description allows, by each satellite whose numbers of bands can be meant.

    Where no number can be meant in any way, and where single letters are meant, the satellite is empty.
    """
    texts = [text or "" for text in names.descriptions]
    if names.of_one_file and _only_count(texts):
        texts = [""] * len(texts)
    texts = _read_bare_wavelengths(texts) or _read_bare_numbers(texts, names.of_one_file) or texts
    if letters := _read_letters(texts):
        return {"": _settle(texts, letters)}
    parsed = [read_description(text) for text in _drop_words_of_places(texts)]
    may_count = all(each.may_be_position for each in parsed if each.kind)
    if may_count and names.of_one_file and _are_at_own_places(parsed):
        parsed = [replace(each, kind="", number="") for each in parsed]
    named = {each.satellite for each in parsed if each.satellite is not None}
    if any(text.strip().casefold() == "scl" for text in texts):
        # The scene classification that products of Sentinel-2 alone have.
        named.add("Sentinel-2")
    is_landsat = any(each.kind in ("srb", "stb") for each in parsed)
    if len(named) == 1:
        satellites = list(named)
    elif is_landsat:
        satellites = [LANDSAT_8_AND_9, LANDSAT_4_TO_7]
    else:
        satellites = ["Sentinel-2", *([LANDSAT_8_AND_9] if names.may_be_landsat else [])]
        # Their band 6 is thermal, and is often left out; Landsat 7 has a panchromatic band 8.
        if names.may_be_landsat and {each.number for each in parsed if each.kind} - {"8"} == set("123457"):
            satellites.append(LANDSAT_4_TO_7)
    possible = [name for name in satellites if all(each.can_be(NUMBERS_OF[name]) for each in parsed)]
    if not possible and is_landsat:
        # Some programs write SR_B8A.
        possible = ["Sentinel-2"]
    # "B5 red edge" is no near infrared.
    possible = [name for name in possible if all(each.fits(NUMBERS_OF[name]) for each in parsed)] or possible or [""]
    return {name: _settle(texts, [each.means(NUMBERS_OF.get(name, {})) for each in parsed]) for name in possible}


def _settle(texts: Sequence[str], reading: list[Bands | None]) -> list[Bands | None]:
    """Return what descriptions allow if no band occurs twice: one that has one meaning excludes it for the others.

    STAC calls the bands 8 and 8A `nir` and `nir08`; FORCE calls them BROADNIR and NIR.
    """
    reading = [
        NIR if allowed is None and any(map(_SOME_NIR.fullmatch, split_words(text))) else allowed
        for text, allowed in zip(texts, reading, strict=True)
    ]
    doubtful = [place for place, allowed in enumerate(reading) if allowed == NIR]
    narrow = [place for place in doubtful if "nir08" in split_words(texts[place])]
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


def _only_count(texts: Sequence[str]) -> bool:
    """Return whether descriptions are one name with a band in it, and a counter: green_space_1, green_space_2, ...

    R calls layers so, by the name of the file.
    """
    stems = {re.sub(r"[\s_.-]*[0-9]+$", "", text) for text in texts}
    counters = [re.search(r"[0-9]+$", text) for text in texts]
    if (
        len(texts) < 2
        or len(stems) != 1
        or [counter and counter[0] for counter in counters] != [str(number) for number, _ in enumerate(texts, 1)]
    ):
        return False
    parsed = [read_description(text) for text in texts]
    said = {(each.word, each.foreign, each.kind, each.number) for each in parsed}
    if len(said) == 1:
        return said != {(None, None, "", "")}
    # The words of red_edge_1, red_edge_2, red_edge_3 name bands, and those of swir_1, swir_2, swir_3, swir_4 do not.
    named = {allowed for allowed in _settle(texts, [each.word for each in parsed]) if allowed and len(allowed) == 1}
    return not any(each.kind for each in parsed) and len(named) < len(texts)


def _are_at_own_places(parsed: Sequence[Description]) -> bool:
    """Return whether bands have numbers, and each number is the position of its band."""
    numbered = [(str(place), each) for place, each in enumerate(parsed, 1) if each.kind]
    return bool(numbered) and all(each.number == place for place, each in numbered)


def _drop_words_of_places(texts: Sequence[str]) -> Sequence[str]:
    """Return texts without words that all of them have, such as Red Sea, where numbers of bands tell them apart."""
    tokens = [split_words(text) for text in texts]
    shared = set.intersection(*map(set, tokens)) if len(tokens) > 1 else set[str]()
    words = shared.intersection((*WORDS_OF_PLACES, *FOREIGN_WORDS))
    if any(EDGE.fullmatch(token) for own in tokens for token in own):
        words -= REDS
    if not words:
        return texts
    pattern = re.compile(rf"(?<![^\W_])(?:{'|'.join(words)})(?![^\W_])", re.IGNORECASE)
    shorter = [pattern.sub(" ", CAPITAL_OF_WORD.sub(" ", text)) for text in texts]
    return shorter if all(read_description(text).kind for text in shorter) else texts


def _find(reading: Sequence[Bands | None], bands: Sequence[str]) -> tuple[int, ...] | None:
    places = [[place for place, allowed in enumerate(reading) if allowed and band in allowed] for band in bands]
    if all(len(place) == 1 for place in places) and len({place[0] for place in places}) == len(bands):
        return tuple(place[0] for place in places)
    return None


def _read_letters(texts: Sequence[str]) -> list[Bands | None]:
    """Return what descriptions such as R, G, B, NIR allow; empty without two such letters, or with other letters.

    Beside them, words that name no band say nothing.
    """
    words = LETTERS | FOREIGN_WORDS | WORDS
    plain = ["".join(split_words(text)) for text in texts]
    given = [text for text in plain if text]
    others = [text for text in given if text not in words]
    if len(set(given) & LETTERS.keys()) < 2 or not all(text.isalpha() and len(text) > 1 for text in others):
        return []
    return [words.get(text) for text in plain]


def _read_bare_wavelengths(texts: Sequence[str]) -> list[str]:
    """Return the numbers in descriptions with their unit, if two or more are given and all are at bands of Sentinel-2.

    All may begin with one word: ACOLITE calls its layers rhos_492, rhos_559, ...
    """
    parts = [re.fullmatch(rf"(.*?)[\s_=-]*({NUMBER})", text.strip()) for text in texts if text.strip()]
    given = [part for part in parts if part is not None]
    if len(given) < 2 or len(given) < len(parts) or len({part[1] for part in given}) > 1:
        return []
    for unit, factor in (("nm", 1), ("um", 1000)):
        if all(band_at(to_number(part[2]) * factor) is not None for part in given):
            numbers = iter(given)
            return [f"{next(numbers)[2]} {unit}" if text.strip() else "" for text in texts]
    return []


def _read_bare_numbers(texts: Sequence[str], of_one_file: bool) -> list[str]:
    """Return descriptions with "b" before their number, if two or more are given and all are numbers of Sentinel-2.

    Numbers that count the layers of several files, or that are all alike, say nothing. If 8A is among them, all may
    begin with one word: R calls such columns X12, X11, X8A, ...
    """
    parts = [_BARE_NUMBER.fullmatch(text.strip()) for text in texts if text.strip()]
    given = [part for part in parts if part is not None]
    numbers = [part[2].lower() for part in given]
    if len(given) < 2 or len(given) < len(parts) or not all(number in SENTINEL_2 for number in numbers):
        return []
    # Other numbers behind a word may count layers.
    words = {part[1] for part in given}
    is_read_elsewhere = any(read_description(part[0]).kind for part in given)
    if words != {""} and (len(words) > 1 or "8a" not in numbers or is_read_elsewhere):
        return []
    counted = numbers == [str(place) for place, _ in enumerate(numbers, 1)]
    if len(set(numbers)) == 1 or (counted and not of_one_file):
        return []
    found = iter(numbers)
    return [f"b{next(found)}" if text.strip() else "" for text in texts]


def _agrees(reading: Sequence[Bands | None], bands: Sequence[str]) -> bool:
    return all(allowed is None or band in allowed for allowed, band in zip(reading, bands, strict=True))


def _write(allowed: Bands | None) -> str:
    return "?" if allowed is None else " or ".join(sorted(allowed)) or "no band of TerraMind"
