"""Sketch what a chip shows, so that copies of which some pixels were changed, masked or cut off can be found.

A chip is described by its squares of two by two pixels: the values of such a square, of all bands together, are almost
never the same at two places on Earth. Of each chip, the squares with the smallest hash values are kept (the sketch of
"bottom k"; Cohen & Kaplan 2007), so that the share of common squares of two chips is known from their sketches alone.
The hash of a square does not depend on the order of its pixels, and so not on flips and quarter turns of a chip.
"""

from __future__ import annotations

import numpy as np

# Squares of a sketch. The estimate of a share of 0.75 has a standard error of 0.04.
SKETCH = 128
# Chips with fewer different squares show too little: water whose values are cut off, or a few pixels.
_MIN_SQUARES = 64
# Values are compared in units of 0.0001, the DN of Sentinel-2, so that the type of numbers in a file does not matter.
_PER_REFLECTANCE = 10_000
# Far more than any reflectance, and exact in float32.
_MISSING, _MOST = np.int32(-(2**31)), 2e9
_LARGEST = 2**64 - 1
# The first factor of SplitMix64.
_FACTOR = np.uint64(0xBF58476D1CE4E5B9)


def hash_spectra(values: np.ndarray) -> np.ndarray:
    """Return a hash of the values of each pixel in all bands, (height, width) uint64.

    Values count in whole units of 0.0001, in which copies of other types of numbers are equal.

    Args:
        values: (bands, height, width) float32 reflectance, NaN for missing pixels.
    """
    pixel = np.zeros(values.shape[1:], dtype=np.uint64)
    for band in values:
        rounded = np.rint(band * np.float32(_PER_REFLECTANCE))
        np.clip(rounded, -_MOST, _MOST, out=rounded)
        np.copyto(rounded, _MISSING, where=np.isnan(rounded))
        # Half of a step of `_mix` for each band is enough, if the last one is whole.
        pixel ^= rounded.astype(np.int32).astype(np.uint64)
        pixel *= _FACTOR
        pixel ^= pixel >> np.uint64(32)
    _mix(pixel)
    return pixel


def sketch_squares(spectra: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return the smallest different hash values of the squares of a chip, at most `SKETCH`, in order (uint64).

    It is empty for a chip of few different squares. Squares with a missing pixel do not count.

    Args:
        spectra: (height, width) result of `hash_spectra`.
        present: (height, width) booleans, true for pixels with a value in every band.
    """
    squares = spectra[:-1, :-1] + spectra[1:, :-1] + spectra[:-1, 1:] + spectra[1:, 1:]
    usable = present[:-1, :-1] & present[1:, :-1] & present[:-1, 1:] & present[1:, 1:]
    mixed = squares.ravel() if usable.all() else squares[usable]
    _mix(mixed)
    # Sorting all of them takes a hundred times as long. About four times as many as are wanted are below this limit.
    limit = np.uint64(min(_LARGEST, _LARGEST // max(1, len(mixed)) * 4 * SKETCH))
    found = np.unique(mixed[mixed <= limit])
    if len(found) < SKETCH:  # equal squares
        found = np.unique(mixed)
    return found[:SKETCH] if len(found) >= _MIN_SQUARES else found[:0]


def _mix(values: np.ndarray) -> None:
    """Mix the bits of 64-bit numbers in place: the step of SplitMix64 (Steele, Lea & Flood 2014)."""
    values += np.uint64(0x9E3779B97F4A7C15)
    values ^= values >> np.uint64(30)
    values *= _FACTOR
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
