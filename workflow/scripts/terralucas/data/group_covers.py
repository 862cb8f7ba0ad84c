"""Find groups of chips with which each part of a split has each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# The program has an answer within a second, but for a few studies whose classes lie in very few groups.
_MOST_SECONDS = 30.0


def find_cover(
    counts: np.ndarray,
    classes: Sequence[int],
    shares: Sequence[float],
    least: Sequence[int],
    random: np.random.Generator,
) -> dict[int, int] | None:
    """Return small groups with which each part has some classes; None if the groups do not allow it.

    An integer program finds groups, each in one part at most. Where the parts have different shares, they are the
    smallest, relative to the shares. Parts of equal shares can be exchanged with each other, so that the proof that
    groups are the smallest would take hours.

    Args:
        counts: (groups, classes) chips.
        classes: the classes to cover, as columns.
        shares: shares of the parts.
        least: groups of each class that each part needs.
        random: generator on which it depends which groups are found.

    Returns:
        Row of a group → its part.
    """
    # Imported late, because few splits need it.
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, kron

    parts = len(shares)
    rows = random.permutation(np.flatnonzero(counts[:, classes].any(axis=1)))
    has_class, sizes = counts[rows][:, classes] > 0, counts[rows].sum(axis=1)
    # Variables: group 1 in part 1, in part 2, ..., group 2 in part 1, ...
    cost = np.outer(sizes, 1.0 / np.asarray(shares)).ravel()
    in_one_part = kron(csr_array(np.eye(len(rows))), np.ones((1, parts)))
    in_each_part = kron(csr_array(has_class.T.astype(float)), np.eye(parts))
    found = milp(
        np.zeros_like(cost) if len(set(shares)) == 1 else cost,
        integrality=np.ones_like(cost),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(in_one_part, ub=1),
            LinearConstraint(in_each_part, lb=np.tile(least, len(classes))),
        ],
        options={"time_limit": _MOST_SECONDS, "mip_rel_gap": 0.1},
    )
    if found.x is None:
        return None
    chosen = np.rint(found.x).reshape(len(rows), parts).astype(bool)
    part_of = np.where(chosen.any(axis=1), chosen.argmax(axis=1), -1)
    for group in np.argsort(-sizes, kind="stable"):
        # What the others cover without it needs no place before all groups are divided.
        part = int(part_of[group])
        part_of[group] = -1
        if part >= 0 and (has_class[part_of == part].sum(axis=0) < least[part]).any():
            part_of[group] = part
    return {int(row): int(part) for row, part in zip(rows, part_of, strict=True) if part >= 0}
