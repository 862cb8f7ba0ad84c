"""Colours of classes and of uncertainty on maps."""

from __future__ import annotations

import colorsys
import itertools

from terralucas.report.colours import COLOURS

# Turns of the hue that keep any number of following colours apart.
_GOLDEN_RATIO = 0.618034
Colour = tuple[int, int, int]


def class_colours(n_classes: int) -> list[Colour]:
    """Return a colour for each class: those of the report, then further hues."""
    known = [_parse(text) for text in COLOURS[:n_classes]]
    hues = (number * _GOLDEN_RATIO % 1.0 for number in itertools.count(1))
    more = itertools.islice(hues, max(0, n_classes - len(COLOURS)))
    return known + [_to_bytes(colorsys.hls_to_rgb(hue, 0.45, 0.55)) for hue in more]


def ramp_colours(number: int) -> list[Colour]:
    """Return evenly spaced colours of matplotlib's viridis, from low to high values."""
    import matplotlib as mpl

    return [_to_bytes(colour[:3]) for colour in mpl.colormaps["viridis"].resampled(number)(range(number))]


def as_hex(colour: Colour) -> str:
    """Write a colour as #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _parse(text: str) -> Colour:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def _to_bytes(colour: tuple[float, ...]) -> Colour:
    red, green, blue = (round(255 * value) for value in colour)
    return red, green, blue
