"""Tell a wrong order of bands by what the chips show: vegetation and soil reflect each wavelength in their own way.

No single chip decides. A relation between bands, such as "NIR is brighter than RED", counts only in chips that show it
or its opposite clearly. An order is wrong only if almost all of these chips contradict a relation of brightness (or how
much it varies), and another order of the same bands contradicts none. Correlations say which other order; without
brightness they are only said. Water, snow and clouds show no relation clearly: chips of nothing else decide nothing.

Reflectance of vegetation and soil: Jensen (2007), Remote Sensing of the Environment, 2nd edition, chapters 11 and 14.
docs/own-data.md says which wrong orders are found among real chips, and with which figures.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from terralucas.data.chips.band_levels import are_possible
from terralucas.data.chips.sampling import find_quantiles, sample_pixels
from terralucas.errors import StudyError

VISIBLE = ("COASTAL_AEROSOL", "BLUE", "GREEN", "RED")
# Bands on the bright side of the red edge. WATER_VAPOR is no member: at the top of the atmosphere it is dark.
NEAR_INFRARED = ("NIR_BROAD", "NIR_NARROW")
_INFRARED = ("RED_EDGE_2", "RED_EDGE_3", *NEAR_INFRARED)
# A chip whose brightest band has a smaller median is water or shadow, whose dark bands have any order.
_MIN_REFLECTANCE = 0.15
# Fewer pixels give no correlation.
_MIN_PIXELS = 64
# Correlations differ clearly if their Fisher transforms differ by so much.
_MIN_Z_DIFFERENCE = 0.1
_MAX_CORRELATION = 0.999
# Reflectance below 0 occurs in shadow after a correction of the atmosphere, and has no logarithm.
_SMALLEST = 1e-3
# A relation is contradicted if, of at least `MIN_CHIPS` chips that show it or its opposite clearly, at most this share
# shows it. In another order, at least `_KEPT` must show half of the relations, and each relation of brightness that the
# declared one contradicts.
_CONTRADICTED, _KEPT = 0.1, 0.5
MIN_CHIPS = 10
# Other orders are all tried up to this number of bands, and found by exchanging two bands at a time beyond it.
_MOST_FOR_ALL_ORDERS = 7
# Chips that are looked at, to see whether their bands have possible levels in another order.
_LEVELS_LOOKED_AT = 100
# Orders that fit, of which the message shows the first.
_SHOWN = 3


@dataclass(frozen=True)
class Spectrum:
    """What a chip shows of its bands, in their order on disk.

    Attributes:
        median: (bands,) median reflectance over the pixels that have a value in every band.
        spread: (bands,) reflectance between the 10 % and the 90 % quantile of these pixels.
        correlation: (bands, bands) Pearson's correlation over these pixels; 0 with a band that does not vary.
    """

    median: np.ndarray
    spread: np.ndarray
    correlation: np.ndarray


@dataclass(frozen=True)
class Relation:
    """A relation between bands that land shows.

    With `than`, `band` is closer correlated with `other` than with `than`, pixel by pixel. Otherwise, `band` has more
    than `factor` times the median, or with `is_spread` the spread, of `other`.
    """

    band: str
    other: str
    than: str | None = None
    factor: float = 1.0
    is_spread: bool = False

    def __str__(self) -> str:
        if self.than is None:
            return f"{self.band} {'more varied' if self.is_spread else 'brighter'} than {self.other}"
        return f"{self.band} more like {self.other} than like {self.than}"


@dataclass(frozen=True)
class WrongOrder:
    """An order of bands that the chips contradict.

    Attributes:
        contradicted: for each relation that is contradicted, the numbers of chips that show it and that show it or its
            opposite.
        fitting: orders on disk that fit better, the best first; empty if there is none.
    """

    contradicted: tuple[tuple[Relation, int, int], ...]
    fitting: tuple[tuple[str, ...], ...]

    @property
    def is_certain(self) -> bool:
        """Whether another order fits, and the declared one cannot be right.

        Correlations alone are not certain: shade makes all bands alike, as in a forest on slopes.
        """
        return bool(self.fitting) and any(relation.than is None for relation, _, _ in self.contradicted)

    @property
    def found_text(self) -> str:
        """What the chips show."""
        shown = [f"{relation} in {holds} of {clear} chips" for relation, holds, clear in self.contradicted[:_SHOWN]]
        return "; ".join(shown) + (f"; and {len(self.contradicted) - _SHOWN} more" if len(shown) > _SHOWN else "")

    @property
    def fitting_text(self) -> str:
        """The orders that fit."""
        shown = " or ".join(f"[{', '.join(order)}]" for order in self.fitting[:_SHOWN])
        more = len(self.fitting) - _SHOWN
        return shown + (f" or {more} more" if more > 0 else "")


def measure_spectrum(values: np.ndarray) -> Spectrum | None:
    """Measure what a chip shows of its bands.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels.

    Returns:
        None if fewer than 64 of the pixels that are looked at have a value in every band.
    """
    pixels = sample_pixels(values).reshape(len(values), -1)
    present = np.isfinite(pixels).all(axis=0)
    pixels = pixels if present.all() else pixels[:, present]
    if pixels.shape[1] < _MIN_PIXELS:
        return None
    centred = pixels - pixels.mean(axis=1, keepdims=True, dtype=np.float64)
    length = np.sqrt(np.square(centred).sum(axis=1))
    unit = np.divide(centred, length[:, None], out=np.zeros_like(centred), where=length[:, None] > 0)
    low, median, high = find_quantiles(pixels, [0.1, 0.5, 0.9]).astype(np.float32)
    return Spectrum(median, high - low, (unit @ unit.T).astype(np.float32))


def relations_of(bands: Sequence[str]) -> list[Relation]:
    """Return the relations that land shows between bands."""
    relations = [Relation(near, dark, factor=1.5) for near in _INFRARED for dark in VISIBLE]
    relations += [
        Relation("RED_EDGE_1", "RED", factor=1.2),
        Relation("RED_EDGE_2", "RED_EDGE_1", factor=1.1),
        Relation("RED_EDGE_3", "RED_EDGE_2", factor=1.05),
        Relation("SWIR_1", "SWIR_2", factor=1.2),
        # The air adds light to the blue bands and takes contrast from them.
        Relation("RED", "BLUE", factor=1.15, is_spread=True),
        Relation("RED", "COASTAL_AEROSOL", factor=1.15, is_spread=True),
        Relation("SWIR_2", "RED", "BLUE"),
        Relation("SWIR_2", "RED", "GREEN"),
        Relation("SWIR_2", "SWIR_1", "BLUE"),
        Relation("SWIR_2", "SWIR_1", "GREEN"),
    ]
    for first, second in itertools.permutations(("BLUE", "GREEN", "RED"), 2):
        relations += [Relation(first, second, far) for far in (*_INFRARED, "SWIR_1")]
    for near in _INFRARED:
        relations += [
            Relation(near, "GREEN", "BLUE"),
            Relation(near, "GREEN", "RED"),
            Relation(near, "SWIR_1", "SWIR_2"),
            Relation("SWIR_2", "SWIR_1", near),
        ]
    for near, also_near in itertools.permutations(_INFRARED[1:], 2):
        relations += [Relation(near, also_near, far) for far in ("BLUE", "GREEN", "RED", "SWIR_1", "SWIR_2")]
    present = {*bands, None}
    return [each for each in relations if {each.band, each.other, each.than} <= present]


def require_order(spectra: Sequence[Spectrum], bands: Sequence[str], whose: str, remedy: str) -> str | None:
    """Raise an error if the chips show that their bands have another order than the declared one.

    Args:
        spectra: what each chip shows of its bands.
        bands: the declared order.
        whose: whose bands these are, for messages.
        remedy: what to do; `{orders}` in it becomes the orders that fit.

    Returns:
        A sentence if the order is contradicted, but not for certain; otherwise None.

    Raises:
        StudyError: it is certain.
    """
    wrong = find_wrong_order(spectra, bands)
    if wrong is None:
        return None
    declared = ", ".join(bands)
    if not wrong.is_certain:
        fits = f"{wrong.fitting_text} fits" if wrong.fitting else "no order of these bands fits"
        return (
            f"the bands of {whose} may not be {declared} in this order: {wrong.found_text}; land shows each in most "
            f"chips. {fits[0].upper()}{fits[1:]}: look up the order in the program that wrote the files"
        )
    raise StudyError(
        f"The bands of {whose} have another order than {declared}.",
        found=wrong.found_text,
        expected="each in most chips, because vegetation and soil show it",
        remedy=remedy.format(orders=wrong.fitting_text),
    )


def can_be_told(bands: Sequence[str]) -> bool:
    """Return whether chips can show a wrong order: visible bands alone are too much alike."""
    return len(bands) < 2 or not set(bands) <= set(VISIBLE)


def find_wrong_order(spectra: Sequence[Spectrum], bands: Sequence[str]) -> WrongOrder | None:
    """Compare the declared order of bands with what the chips show.

    Args:
        spectra: what each chip shows; missing chips do not count.
        bands: the declared order.

    Returns:
        None if no relation is contradicted, or a single one and no other order fits, or if too few chips show any.
    """
    relations = relations_of(bands)
    evidence = _Evidence.of(spectra)
    if evidence is None or not relations:
        return None
    score = _Score(evidence, relations, bands)
    declared = tuple(range(len(bands)))
    broken = score.shares(declared) <= _CONTRADICTED
    if not broken.any():
        return None
    counts = score.counts(declared)
    contradicted = [(relations[i], int(counts[i, 0]), int(counts[i, 1])) for i in np.flatnonzero(broken)]
    # Relations of brightness come first, because everybody can check them.
    contradicted.sort(key=lambda each: (each[0].than is not None, -each[2]))
    fitting = [
        order
        for order in _other_orders(declared, score)
        if score.fits(order, declared) and evidence.are_possible(order, bands)
    ]
    if not fitting and len(contradicted) < 2:
        return None
    # Of orders that fit about as well, the one with the fewest moved bands is the likeliest.
    moved = {order: sum(a != b for a, b in zip(order, declared, strict=True)) for order in fitting}
    fitting.sort(key=lambda order: (-round(score.total(order)), moved[order], -score.total(order), order))
    # An order gives the position on disk of each declared band; its inverse the band at each position.
    named = [tuple(bands[i] for i in np.argsort(order)) for order in fitting]
    return WrongOrder(tuple(contradicted), tuple(named))


@dataclass(frozen=True)
class _Evidence:
    """Bright chips: logarithms of `Spectrum.median` and `spread` (n, bands), Fisher's z of `correlation`."""

    log_median: np.ndarray
    log_spread: np.ndarray
    z: np.ndarray

    @classmethod
    def of(cls, spectra: Sequence[Spectrum]) -> _Evidence | None:
        bright = [each for each in spectra if each.median.max() >= _MIN_REFLECTANCE]
        if len(bright) < MIN_CHIPS:
            return None
        medians, spreads = (
            np.log(np.maximum([getattr(each, name) for each in bright], _SMALLEST)) for name in ("median", "spread")
        )
        correlations = np.clip([each.correlation for each in bright], -_MAX_CORRELATION, _MAX_CORRELATION)
        return cls(medians, spreads, np.arctanh(correlations))

    def are_possible(self, order: Sequence[int], bands: Sequence[str]) -> bool:
        """Return whether no band of most chips is too dark or bright to be ground, with the bands in this order.

        Otherwise a band has another unit or scale than the others, and no order is right.
        """
        step = -(-len(self.log_median) // _LEVELS_LOOKED_AT)
        medians = np.exp(self.log_median[::step][:, order])
        return 2 * sum(are_possible(each, bands) for each in medians) >= len(medians)


class _Score:
    """How many chips show each relation, for any order of the bands on disk."""

    def __init__(self, evidence: _Evidence, relations: Sequence[Relation], bands: Sequence[str]) -> None:
        self._evidence = evidence
        place = {band: i for i, band in enumerate(bands)}
        self._relations = relations
        self._is_level = np.array([each.than is None for each in relations])
        self._places = [
            (place[each.band], place[each.other], place[each.other if each.than is None else each.than])
            for each in relations
        ]
        self._known: dict[tuple[int, ...], tuple[int, int]] = {}

    def counts(self, order: Sequence[int]) -> np.ndarray:
        """Return (relations, 2) numbers of chips that show a relation, and that show it or its opposite, clearly."""
        return np.array([self._count(i, *(order[place] for place in places)) for i, places in enumerate(self._places)])

    def shares(self, order: Sequence[int]) -> np.ndarray:
        """Return the share of chips that show each relation; NaN if too few show it or its opposite."""
        holds, clear = self.counts(order).T
        return np.where(clear >= max(MIN_CHIPS, len(self._evidence.z) / 2), holds / np.maximum(clear, 1), np.nan)

    def fits(self, order: Sequence[int], declared: Sequence[int]) -> bool:
        """Return whether an order is clearly better than the declared one.

        It contradicts no brightness or spread, keeps those that the declared order contradicts, contradicts fewer
        relations in all, and looks like land: the chips show at least half of the relations.
        """
        shares, of_declared = self.shares(order), self.shares(declared)
        wrong, broken = shares <= _CONTRADICTED, of_declared <= _CONTRADICTED
        return (
            not wrong[self._is_level].any()
            and bool((shares[broken & self._is_level] >= _KEPT).all())
            and int(wrong.sum()) < int(broken.sum())
            and int((shares >= _KEPT).sum()) >= len(shares) / 2
            and self.total(order) > self.total(declared)
        )

    def total(self, order: Sequence[int]) -> float:
        """Return the sum over the relations of how far most chips are for them, -0.5 to 0.5."""
        return float(np.nansum(self.shares(order) - 0.5))

    def _count(self, number: int, band: int, other: int, than: int) -> tuple[int, int]:
        key = (number, band, other, than)
        if key not in self._known:
            relation, evidence = self._relations[number], self._evidence
            if relation.than is None:
                logs = evidence.log_spread if relation.is_spread else evidence.log_median
                difference, limit = logs[:, band] - logs[:, other], float(np.log(relation.factor))
            else:
                difference, limit = evidence.z[:, band, other] - evidence.z[:, band, than], _MIN_Z_DIFFERENCE
            holds = int((difference > limit).sum())
            self._known[key] = (holds, holds + int((difference < -limit).sum()))
        return self._known[key]


def _other_orders(declared: tuple[int, ...], score: _Score) -> list[tuple[int, ...]]:
    """Return orders that may fit better: all of few bands, otherwise those that exchanges of two bands reach."""
    if len(declared) <= _MOST_FOR_ALL_ORDERS:
        return [order for order in itertools.permutations(declared) if order != declared]
    found = set[tuple[int, ...]]()
    for start in (declared, declared[::-1]):
        best, total = start, score.total(start)
        while True:
            nearby = [(score.total(order), order) for order in _exchanged(best)]
            found.update(order for _, order in nearby)
            better, order = max(nearby)
            if better <= total:
                break
            best, total = order, better
    return sorted(found - {declared})


def _exchanged(order: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the orders in which two bands are exchanged."""
    orders = []
    for i, j in itertools.combinations(range(len(order)), 2):
        other = list(order)
        other[i], other[j] = other[j], other[i]
        orders.append(tuple(other))
    return orders
