"""What the words, the number and the wavelength in the description of one band say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import combining, normalize

Bands = frozenset[str]

# The near infrared of Landsat lies where the narrow one of Sentinel-2 is (HLS takes them as one), but many call it
# only "NIR".
NIR = frozenset({"NIR_BROAD", "NIR_NARROW"})
_RED_EDGE = frozenset({"RED_EDGE_1", "RED_EDGE_2", "RED_EDGE_3"})
_SWIR = frozenset({"SWIR_1", "SWIR_2"})
# Words for bands, in small letters without anything between them: TerraMind's names, STAC's common names and others.
# A word that has several meanings allows each of them. A word without a band is a layer that TerraMind does not know.
WORDS: dict[str, Bands] = {
    word: frozenset({band})
    for band, words in {
        "COASTAL_AEROSOL": "coastalaerosol coastal aerosol ultrablue",
        "BLUE": "blue",
        "GREEN": "green",
        "RED": "red",
        "RED_EDGE_1": "rededge1 rededge071 vre1 re1",
        "RED_EDGE_2": "rededge2 rededge075 vre2 re2",
        "RED_EDGE_3": "rededge3 rededge078 vre3 re3",
        "NIR_BROAD": "nirbroad broadnir widenir",
        # Earth Engine calls B8A the fourth red edge.
        "NIR_NARROW": "nirnarrow narrownir nir8a rededge4 vre4 re4",
        "WATER_VAPOR": "watervapor watervapour nir09",
        "SWIR_1": "swir1 swir16 shortwaveinfrared1",
        "SWIR_2": "swir2 swir22 shortwaveinfrared2",
    }.items()
    for word in words.split()
} | {"nir": NIR, "nir08": NIR, "nearinfrared": NIR, "rededge": _RED_EDGE, "swir": _SWIR, "shortwaveinfrared": _SWIR}
# Digital Earth Australia counts the short-wave infrared of Landsat from 1 (1610 nm), and that of Sentinel-2 from 2.
WORDS |= {"nbartswir2": _SWIR, "nbartswir3": frozenset({"SWIR_2"}), "swir3": frozenset({"SWIR_2"})}
WORDS |= {"nbartnir1": frozenset({"NIR_BROAD"}), "nbartnir2": frozenset({"NIR_NARROW"})}
_OTHER_LAYERS = (
    "cirrus pan panchromatic thermal lwir tir alpha scl qa qa60 qaaerosol aot wvp fmask cloud ndvi ndwi evi vv vh hh hv"
)
WORDS |= dict.fromkeys(_OTHER_LAYERS.split(), frozenset[str]())
# Of places and products, if all names have them: Red Sea, Green Bay, cloud free, pan-sharpened. Not those of thermal
# layers, which have numbers of their own.
WORDS_OF_PLACES = ("red", "green", "blue", "coastal", "cloud", "clouds", "qa", "scl", "fmask", "alpha", "pan")
# Words of German, French, Italian, Spanish, Portuguese, Dutch and Polish without accents. They may belong to a place in
# the name of a file, such as Casa Verde, so that a number of a band counts more.
FOREIGN_WORDS: dict[str, Bands] = {
    word: allowed
    for allowed, words in (
        (frozenset({"BLUE"}), "blau bleu blu azzurro azul blauw niebieski"),
        (frozenset({"GREEN"}), "grun gruen vert verde groen zielony"),
        (frozenset({"RED"}), "rot rouge rosso rojo vermelho rood czerwony"),
        (_RED_EDGE, "rotekante bordrouge bordorosso borderojo"),
        (NIR, "nahinfrarot nahesinfrarot pir procheinfrarouge vicinoinfrarosso infrarossovicino infrarrojocercano"),
        (_SWIR, "kurzwelligesinfrarot infrarougecourt infrarossoacortoonda infrarrojodeondacorta"),
    )
    for word in words.split()
}
# Words of red edges, in which red is of no place.
EDGE = re.compile(r"(?:edge|kante|bord|bordo|borde)\d*")
REDS = {"red", "rot", "rote", "rouge", "rosso", "rojo", "vermelho", "rood"}
# Single letters, and `ir`, count only beside others of these, where no description has another letter or a number.
LETTERS: dict[str, Bands] = {
    "c": frozenset({"COASTAL_AEROSOL"}),
    "r": frozenset({"RED"}),
    "g": frozenset({"GREEN"}),
    "v": frozenset({"GREEN"}),
    "b": frozenset({"BLUE"}),
    "n": NIR,
    "i": NIR,
    "ir": NIR,
    "s1": frozenset({"SWIR_1"}),
    "s2": frozenset({"SWIR_2"}),
}
# Satellites whose bands have the same numbers, as messages and records name them.
LANDSAT_8_AND_9, LANDSAT_4_TO_7 = "Landsat 8 or 9", "Landsat 4, 5 or 7"
_MSS_FROM_4, _MSS_FROM_1 = "the MSS of Landsat 4 or 5", "the MSS of Landsat 1, 2 or 3"
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
# The Multispectral Scanner: the first near infrared (750 nm) is like no band of TerraMind.
_MSS = ["GREEN", "RED", None, "NIR"]
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
NUMBER = r"[0-9]+(?:[.,][0-9]+)?"
# Largest width of a band, as a share of its centre: that of panchromatic ranges is more.
_WIDEST = 0.2
# One number, or a range such as 650-680 nm.
_WAVELENGTH = re.compile(
    rf"(?<![0-9.,])(?:(?P<start>{NUMBER})\s*(?:-|–|to)\s*)?(?P<number>{NUMBER})[\s_]*"
    r"(?:(?P<nm>nm|nanomet(?:er|re)s?)|[uµμ]m|microns?|micromet(?:er|re)s?)(?![a-z])",
    re.IGNORECASE,
)


def _allow(band: str | None) -> Bands:
    return NIR if band == "NIR" else frozenset() if band is None else frozenset({band})


Numbers = Mapping[str, Bands]


def _count_from_1(bands: Sequence[str | None]) -> Numbers:
    return {str(number): _allow(band) for number, band in enumerate(bands, 1)}


_OF_SENTINEL_2: Numbers = {number: _allow(band) for number, band in SENTINEL_2.items()}
_OF_LANDSAT_8, _OF_LANDSAT_5, _OF_MODIS = map(_count_from_1, (_LANDSAT_8, _LANDSAT_5, _MODIS))
# On the first three satellites, the scanner's bands were counted from 4.
_OF_MSS_FROM_4 = _count_from_1(_MSS)
_OF_MSS_FROM_1 = {str(int(number) + 3): allowed for number, allowed in _OF_MSS_FROM_4.items()}
NUMBERS_OF = {
    "Sentinel-2": _OF_SENTINEL_2,
    LANDSAT_8_AND_9: _OF_LANDSAT_8,
    LANDSAT_4_TO_7: _OF_LANDSAT_5,
    _MSS_FROM_4: _OF_MSS_FROM_4,
    _MSS_FROM_1: _OF_MSS_FROM_1,
}
# What the names of products say of their satellite, and so of their numbers.
SATELLITES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (satellite, re.compile(rf"(?<![a-z0-9])(?:{names})", re.IGNORECASE))
    for satellite, names in (
        (_MSS_FROM_4, r"LM0?[45](?=_|\d{13})|landsat[ _-]?[45][ _-]?mss"),
        (_MSS_FROM_1, r"LM0?[123](?=_|\d{13})|landsat[ _-]?[123][ _-]?mss"),
        (LANDSAT_4_TO_7, r"LT0?[45](?=_|\d{13})|LE0?7(?=_|\d{13})|landsat[ _-]?[457](?!\d|[ _-]?mss)"),
        (LANDSAT_8_AND_9, r"L[CO]0?[89](?=_|\d{13})|landsat[ _-]?[89](?!\d)|HLS[._]L30"),
        # Also MSI, its instrument, and a tile with a date as its band files have them (those of HLS have points).
        (
            "Sentinel-2",
            r"S2[ABC]?(?=[_-])|S2L[12]|sentinel[ _-]?2|HLS[._]S30|MSI(?=[_-])|COPERNICUS_S2"
            r"|(?<!\.)T\d\d[C-X][A-Z]{2}_(?=\d{8}T)",
        ),
    )
)
# "Band" in English, French, Italian and Spanish, and German.
BAND = ("band", "bande", "banda", "channel", "canal", "canale", "kanal")
# A band's number: B2, B02, band 2; S2B2; SR_B2 and ST_B6, as only products of Landsat have them; those of MODIS.
_BAND_NUMBER = re.compile(
    rf"(?P<kind>b|{'|'.join(BAND)}|srb|stb|surreflb|nadirreflectanceband)0?(?P<number>[0-9]{{1,2}}|8a)"
)
_BAND_NUMBER_OF_SENTINEL_2 = re.compile(r"s2[abc]?(?P<kind>b)0?(?P<number>[0-9]{1,2}|8a)")
_MODIS_KINDS = ("surreflb", "nadirreflectanceband")
_LONGEST_WORD = 4
# The place before a capital letter that begins a word.
CAPITAL_OF_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class Description:
    """What a description says.

    Attributes:
        word: bands that its words allow; None if nothing in it is such a word.
        foreign: the same of words of other languages.
        kind: what stands before the number of a band in small letters; empty without a number.
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
        return None if self.satellite is None else NUMBERS_OF[self.satellite]

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


@lru_cache(maxsize=4096)
def read_description(text: str) -> Description:
    """Return what a description says."""
    satellites = [satellite for satellite, pattern in SATELLITES if pattern.search(text)]
    word, foreign = _read_wavelength(text), None
    tokens = split_words(_WAVELENGTH.sub(" ", text))
    kind = number = ""
    may_be_position = False
    start = 0
    while start < len(tokens):
        for length in range(_LONGEST_WORD, 0, -1):
            joined = "".join(tokens[start : start + length])
            if joined in WORDS:
                # "NIR narrow" says more than "NIR"; "blue or green" allows both; "red, pansharpened" is red.
                found = WORDS[joined]
                word = found if word is None else (word & found) or (word | found)
                break
            if joined in FOREIGN_WORDS:
                found = FOREIGN_WORDS[joined]
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
                counts = _may_count(match["kind"], match["number"], text)
                # "B04 (band 1)" is the first band of its file, and band 4 of the satellite.
                if not kind or may_be_position or not counts:
                    kind, number, may_be_position = match["kind"], match["number"], counts
                break
        start += length
    if "cirrus" in tokens:
        # "SWIR - Cirrus", as ESA calls B10.
        word = frozenset()
    elif number == "8a" and word == _RED_EDGE:
        # "Vegetation red edge", as ESA calls B8A, too.
        word = frozenset({"NIR_NARROW"})
    satellite = satellites[0] if len(satellites) == 1 else None
    return Description(word, foreign, kind, number, satellite, may_be_position)


def _may_count(kind: str, number: str, text: str) -> bool:
    """Return whether the number of a band may be its position in the file: Band 1 or b1, but not B1."""
    return kind in BAND or (kind == "b" and re.search(rf"(?<![^\W_])b0?{number}(?![^\W_])", text) is not None)


def split_words(text: str) -> list[str]:
    """Return the words of a text in small letters without accents, also where a capital letter begins a word."""
    plain = "".join(letter for letter in normalize("NFKD", text) if not combining(letter))
    return re.findall(r"[a-z0-9]+", CAPITAL_OF_WORD.sub(" ", plain).lower())


def _read_wavelength(text: str) -> Bands | None:
    """Return the band of the central wavelength in a description, or of the middle of a range; None without one, or if
    it names several bands."""
    found = {_band_of(match) for match in _WAVELENGTH.finditer(text)} - {None}
    return found.pop() if len(found) == 1 else None


def _band_of(match: re.Match[str]) -> Bands | None:
    scale = 1 if match["nm"] else 1000
    end = to_number(match["number"]) * scale
    start = end if match["start"] is None else to_number(match["start"]) * scale
    centre = (start + end) / 2
    return band_at(centre) if abs(end - start) <= _WIDEST * centre else None


def to_number(text: str) -> float:
    return float(text.replace(",", "."))


def band_at(wavelength_nm: float) -> Bands | None:
    """Return the band at a wavelength; None if no band of Sentinel-2 has its centre there."""
    for centre, band in _WAVELENGTHS_NM.items():
        if abs(wavelength_nm - centre) <= _TOLERANCE_NM + 1e-6:
            return _allow(band)
    return None
