"""Colours of losses: a loss has the same colour in all figures and tables."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

# Okabe & Ito (2008) without yellow, which vanishes on white, then five colours of Paul Tol's "muted" set.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#000000", "#882255", "#999933", "#332288", "#7F7F7F", "#AA6644"),
)
# With more names than this, colours alone are hard to distinguish: later names are also drawn hollow or dashed.
SAFE_COLOURS = 6


def palette(names: Iterable[str]) -> dict[str, str]:
    """Return a hex colour for each name, safe for colour-blind readers, in the order in which names first appear."""
    return dict(zip(dict.fromkeys(names), itertools.cycle(COLOURS), strict=False))


def fills_of(names: Sequence[str]) -> dict[str, bool]:
    """Return for each name whether its marks are filled and its lines solid, instead of hollow and dashed."""
    return {name: index < SAFE_COLOURS for index, name in enumerate(names)}
