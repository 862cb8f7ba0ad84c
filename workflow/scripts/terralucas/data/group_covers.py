"""Find groups of chips with which each part of a split has each class."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np

from terralucas.errors import StudyError

# The program ends at once for all but a few studies, whose classes lie in very few groups. A limit of time would make
# the answer depend on what else runs on the machine. A node of 450 variables takes some 8 ms, and one of more variables
# longer, so that this limit is a minute or two.
_MOST_NODES_AND_VARIABLES, _FEWEST_NODES = 4_500_000, 100
# Share of these nodes for the search for the smallest groups.
_SHARE_FOR_SMALLEST = 0.1
_INFEASIBLE = 2

logger = logging.getLogger(__name__)


class SearchLimitError(StudyError):
    """The search for groups ended at its limit; there may be such groups."""


def find_cover(
    counts: np.ndarray,
    classes: Sequence[int],
    shares: Sequence[float],
    least: Sequence[int],
    random: np.random.Generator,
) -> dict[int, int] | None:
    """Return small groups with which each part has some classes; None if the groups do not allow it.

    An integer program finds groups, each in one part at most. Where the parts have different shares, they are about the
    smallest, relative to the shares. Where the shares are equal, any groups that fit are returned: such parts can be
    exchanged with each other, so that the proof that groups are the smallest would take hours.

    Args:
        counts: (groups, classes) chips.
        classes: the classes to cover, as columns.
        shares: shares of the parts.
        least: groups of each class that each part needs.
        random: generator on which it depends which groups are found.

    Returns:
        Row of a group → its part.

    Raises:
        SearchLimitError: the search took too many steps.
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
    constraints = [
        LinearConstraint(in_one_part, ub=1),
        LinearConstraint(in_each_part, lb=np.tile(least, len(classes))),
    ]
    # Where the search for the smallest groups has found none at its limit, any will do.
    most = max(_MOST_NODES_AND_VARIABLES // len(cost), _FEWEST_NODES)
    searches = [(np.zeros_like(cost), most)]
    if len(set(shares)) > 1:
        searches.insert(0, (cost, math.ceil(_SHARE_FOR_SMALLEST * most)))
    logger.info("Searching for blocks with which each part has each class")
    for cost_of_groups, nodes in searches:
        found = milp(
            cost_of_groups,
            integrality=np.ones_like(cost),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"node_limit": nodes, "mip_rel_gap": 0.1},
        )
        if found.status == _INFEASIBLE:
            return None
        if found.x is not None:
            break
    else:
        raise SearchLimitError(
            "No split was found in which each part has every class.",
            found=f"none in {most:,} steps of the search for blocks; there may be one",
            expected="blocks of each class for each part",
            remedy="set another split.random_state, use smaller blocks (split.block_km), fewer folds (split.folds) or "
            "more chips",
        )
    chosen = np.rint(found.x).reshape(len(rows), parts).astype(bool)
    part_of = np.where(chosen.any(axis=1), chosen.argmax(axis=1), -1)
    for group in np.argsort(-sizes, kind="stable"):
        # What the others cover without it needs no place before all groups are divided.
        part = int(part_of[group])
        part_of[group] = -1
        if part >= 0 and (has_class[part_of == part].sum(axis=0) < least[part]).any():
            part_of[group] = part
    return {int(row): int(part) for row, part in zip(rows, part_of, strict=True) if part >= 0}
