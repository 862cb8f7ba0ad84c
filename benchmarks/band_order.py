"""Count which wrong orders of bands the check of chips finds, and how often it is wrong about the right order.

    PYTHONPATH=workflow/scripts:tests python -m benchmarks.band_order [FOLDER]

FOLDER has a folder of chips for each class, such as EuroSAT's, in the bands BLUE, GREEN, RED, NIR_NARROW, SWIR_1 and
SWIR_2, as DN. Without it, only simulated chips are measured: those of the demo, and mixtures in 12 bands.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import rasterio

from helpers.land import BANDS, KINDS, draw_land
from terralucas.data.indexing.band_order import Spectrum, find_wrong_order, measure_spectrum
from terralucas.data.simulation.simulate import Landscape, draw_points, load_covers

Group = dict[str, list[np.ndarray]]
SIX = ("BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2")
# TABLE_BANDS of the simulation are RED, GREEN, BLUE and so on.
ORDER_OF_SIMULATION = [2, 1, 0, 3, 4, 5]
SETS = {
    "RGB + NIR": SIX[:4],
    "RGB + SWIR": (*SIX[:3], *SIX[4:]),
    "6 of HLS": SIX,
    "10 (10 and 20 m)": tuple(band for band in BANDS if band not in ("COASTAL_AEROSOL", "WATER_VAPOR")),
    "12": BANDS,
}
# Of more bands: all exchanges of two bands, and so many random orders.
MOST_FOR_ALL_ORDERS, RANDOM_ORDERS = 6, 60
SUBSETS = 500


def real_chips(folder: Path) -> Group:
    """Read the chips of each class."""
    chips: Group = {}
    for path in sorted(folder.glob("*/*.tif")):
        with rasterio.open(path) as source:
            chips.setdefault(path.parent.name, []).append(source.read().astype(np.float32) / 10_000)
    return chips


def demo_chips(number: int = 400, side: int = 32) -> Group:
    """Draw chips of each class as the demo does."""
    landscape, chips = Landscape(load_covers(), side), Group()
    for i, point in enumerate(draw_points(number, np.random.default_rng([0, 0]))):
        drawn = landscape.draw(point, np.random.default_rng([0, 1, i]))[ORDER_OF_SIMULATION].astype(np.float32)
        chips.setdefault(str(point.code), []).append(drawn / 10_000 if drawn.max() > 100 else drawn)
    return chips


# Changes of chips that keep their bands what they are.
def as_surface(chip: np.ndarray) -> np.ndarray:
    """Take the light of the air away, so that the darkest pixels of each band are near 0."""
    return chip - np.maximum(np.quantile(chip, 0.01, axis=(1, 2), keepdims=True) - 0.01, 0)


def coarser_infrared(chip: np.ndarray) -> np.ndarray:
    """Give the bands after the third 20 m in place of 10 m."""
    coarse = chip[3:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)
    return np.concatenate([chip[:3], coarse[:, : chip.shape[1], : chip.shape[2]]])


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as they are": lambda chip: chip,
    "without the light of the air": as_surface,
    "with an offset of 1,000 DN": lambda chip: chip + np.float32(0.1),
    "infrared at 20 m": coarser_infrared,
    "the middle 16 x 16 px": lambda chip: chip[:, 8:24, 8:24],
    "half as bright": lambda chip: chip / 2,
}


def measure(chips: Sequence[np.ndarray]) -> list[Spectrum]:
    """Measure what each chip shows."""
    return [spectrum for spectrum in map(measure_spectrum, chips) if spectrum is not None]


def take(spectra: Sequence[Spectrum], order: Sequence[int]) -> list[Spectrum]:
    """Return what the chips would show with some of their bands, in another order."""
    places = list(order)
    return [Spectrum(s.median[places], s.spread[places], s.correlation[np.ix_(places, places)]) for s in spectra]


def wrong_orders(number: int) -> Iterator[tuple[int, ...]]:
    """Yield all wrong orders of few bands; of many, all exchanges of two bands and some random ones."""
    right = tuple(range(number))
    if number <= MOST_FOR_ALL_ORDERS:
        yield from (order for order in itertools.permutations(right) if order != right)
        return
    for i, j in itertools.combinations(right, 2):
        yield tuple(j if k == i else i if k == j else k for k in right)
    random = np.random.default_rng(0)
    yield from (tuple(random.permutation(number).tolist()) for _ in range(RANDOM_ORDERS))


def count_found(spectra: Sequence[Spectrum], bands: Sequence[str]) -> str:
    """Count the wrong orders that are refused, with the right one among the first three that the message has."""
    total = refused = said = named = 0
    missed: list[str] = []
    for order in wrong_orders(len(bands)):
        wrong, total = find_wrong_order(take(spectra, order), bands), total + 1
        if wrong is not None and wrong.is_certain:
            refused += 1
            named += tuple(bands[place] for place in order) in wrong.fitting[:3]
            continue
        said += wrong is not None
        moved = [f"{bands[place]} as {band}" for place, band in zip(order, bands, strict=True) if bands[place] != band]
        missed.append(", ".join(moved))
    text = f"{refused} of {total} wrong orders refused ({named} with the right one), {said} more said"
    return text + "".join(f"\n      missed: {each}" for each in missed[:8])


def join(groups: dict[str, list[Spectrum]], names: Iterable[str]) -> list[Spectrum]:
    """Return the spectra of some classes."""
    return [spectrum for name in names for spectrum in groups[name]]


def count_alarms(groups: dict[str, list[Spectrum]], bands: Sequence[str]) -> str:
    """Count how often the right order is doubted: all chips, each class, and subsets of one to three classes."""
    random, pools = np.random.default_rng(0), [join(groups, groups), *groups.values()]
    for _ in range(SUBSETS):
        names = random.choice(list(groups), random.integers(1, 4), replace=False)
        pool = join(groups, names)
        size = min(len(pool), int(random.integers(10, 31)))
        pools.append([pool[i] for i in random.choice(len(pool), size, replace=False)])
    wrong = [find_wrong_order(pool, bands) for pool in pools]
    doubted = [each for each in wrong if each is not None]
    return f"{len(doubted)} of {len(pools)} groups doubted, {sum(each.is_certain for each in doubted)} refused"


def main() -> None:
    """Measure all kinds of chips."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER")
    folder = parser.parse_args().folder
    kinds = {"demo": (demo_chips(), SIX), "mixtures": ({kind: draw_land(kind, 40) for kind in KINDS}, BANDS)}
    if folder is not None:
        kinds = {"real": (real_chips(folder), SIX), **kinds}
    for name, (chips, bands) in kinds.items():
        print(f"{name}: {sum(map(len, chips.values()))} chips in {len(chips)} classes")
        groups = {kind: measure(each) for kind, each in chips.items()}
        for label, chosen in SETS.items():
            if set(chosen) <= set(bands):
                places = [bands.index(band) for band in chosen]
                print(f"  {label}: {count_found(take(join(groups, groups), places), chosen)}", flush=True)
        for label, change in CHANGES.items():
            changed = {kind: measure([change(chip) for chip in each]) for kind, each in chips.items()}
            print(f"  right order, {label}: {count_alarms(changed, bands)}", flush=True)


if __name__ == "__main__":
    main()
