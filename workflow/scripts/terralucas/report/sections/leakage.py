"""The section “Leakage”: the overlap of test chips with training chips."""

from __future__ import annotations

import pandas as pd

from terralucas.report.page_tables import Column, PageTable, Row, TableCell
from terralucas.report.wording import NO_PLACES, range_text
from terralucas.tables.scores import PERCENT, PERCENT_SIGN

# If more than this share of test chips overlap training chips, the report warns the reader.
_LARGE_SHARE = 0.5


def leakage_sentences(overlap: pd.DataFrame) -> list[str]:
    """Say how many test chips overlap a training chip."""
    if overlap.empty:
        return [NO_PLACES]
    shares = overlap["share_overlapping"]
    total = overlap["n_overlapping"].sum() / overlap["n_test"].sum()
    span = range_text([PERCENT.text(shares.min()), PERCENT.text(shares.max())])
    over = f" ({span}{PERCENT_SIGN} by seed)" if len(overlap) > 1 else ""
    if total == 0:
        return ["No test chip shares ground with a training chip."]
    sentence = f"{PERCENT.text(total)}{PERCENT_SIGN} of the test chips share ground with a training chip{over}."
    if total > _LARGE_SHARE:
        sentence += " Most test chips therefore show ground that training has partly seen."
    return [
        sentence,
        "Distant chips lie in other places and have other classes, so a lower score there does not prove leakage.",
    ]


def overlap_page_table(overlap: pd.DataFrame) -> PageTable | None:
    """Make a table of the overlap and the distances of each seed; None without coordinates."""
    if overlap.empty:
        return None
    columns = [Column("Test chips"), Column("Share ground", "with a training chip"), Column("Share", "%")]
    columns += [Column(f"Distance, {name}", "km, to the nearest training chip") for name in ("least", "median", "most")]
    rows = [
        Row(
            (f"seed {row['seed']}",),
            [
                TableCell(f"{row['n_test']:,}", order=row["n_test"]),
                TableCell(f"{row['n_overlapping']:,}", order=row["n_overlapping"]),
                TableCell(PERCENT.text(row["share_overlapping"]), order=row["share_overlapping"]),
                *(
                    TableCell(f"{row[f'distance_m_{end}'] / 1000:.1f}", order=row[f"distance_m_{end}"])
                    for end in ("min", "median", "max")
                ),
            ],
        )
        for row in overlap.to_dict("records")
    ]
    side = overlap["chip_side_m"].iloc[0] / 1000
    caption = f"Test chips whose square on the ground ({side:.2f} km a side) meets that of a training chip."
    return PageTable(caption, columns, rows, Column("Split", is_text=True))
