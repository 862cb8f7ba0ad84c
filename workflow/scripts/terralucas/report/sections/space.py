"""The section “Space”: whether neighbouring chips are right or wrong together, and what that does to the intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd

from terralucas.report.page_tables import Column, PageTable, Row, TableCell, recipe_row, recipe_rows, rows_of_groups
from terralucas.report.wording import count_text
from terralucas.tables.scores import NUMBER, SCORES
from terralucas.tables.vocabulary import ALL_CLASSES, AVERAGED, RECIPE

# An interval that is wider by this factor in blocks is told to be too narrow without them.
WIDER = 1.2
# Below this factor the difference is within what the chance of the draws moves.
NO_WIDER = 1.1
ELSEWHERE = "No interval of this page speaks of another landscape: the chips are a sample of this one."
INDEPENDENT = "All intervals of this page take the chips as independent, given their class."


def correlated_recipes(correlation: pd.DataFrame) -> tuple[int, int]:
    """Return for how many recipes the nearest chips are right or wrong together, and how many recipes were tested.

    A recipe counts if Moran's I of its nearest distance with enough pairs lies above what independent chips would show.
    """
    known = correlation[correlation["moran_i"].notna()].sort_values("distance_km_low", kind="stable")
    nearest = known.drop_duplicates(RECIPE)
    return int((nearest["moran_i"] > nearest["independent_high"]).sum()), len(nearest)


def widening(spatial: pd.DataFrame) -> float | None:
    """Return by how much the widest interval of an averaged contrast or recipe in blocks exceeds the one without.

    It is the median over recipes and contrasts, for each the widest of all sizes; None where nothing can be compared.
    """
    ratios = spatial.dropna(subset=["ratio"])
    if ratios.empty:
        return None
    return float(ratios.groupby([*RECIPE, "contrast", "metric"], dropna=False)["ratio"].max().median())


def add_ratios(spatial: pd.DataFrame, summary: pd.DataFrame, contrasts: pd.DataFrame) -> pd.DataFrame:
    """Add to spatial.csv the column `ratio`: width of the interval in blocks over that of the crossed interval."""
    own = summary[summary["classes"] == ALL_CLASSES].assign(contrast="")
    asked = contrasts[(contrasts["classes"] == ALL_CLASSES) & (contrasts["family"] == AVERAGED)]
    asked = asked.assign(**dict.fromkeys(RECIPE, ""))
    keys = [*RECIPE, "contrast", "metric"]
    both = pd.concat([each[[*keys, "crossed_low", "crossed_high"]] for each in (own, asked)], ignore_index=True)
    names = spatial[[*RECIPE, "contrast"]].astype(object)
    table = spatial.assign(**names.where(names.notna(), "")).merge(both, on=keys, how="left")
    crossed = table["crossed_high"] - table["crossed_low"]
    table["ratio"] = ((table["high"] - table["low"]) / crossed).where(crossed > 0)
    return table


def space_sentences(spatial: pd.DataFrame, correlation: pd.DataFrame, block_km: float | None) -> list[str]:
    """Say what the intervals assume about neighbouring chips, whether it holds, and what it costs if not.

    Args:
        spatial: spatial.csv with the column of `add_ratios`.
        correlation: correlation.csv.
        block_km: side of the blocks of the split, or None.
    """
    assumed = (
        f"The intervals of this page resample whole blocks of {block_km:g} km, the units of the split."
        if block_km
        else INDEPENDENT
    )
    if correlation.empty:
        return [f"{assumed} Without coordinates nothing shows whether that holds.", ELSEWHERE]
    found, of = correlated_recipes(correlation)
    sentences = [assumed]
    if of:
        sentences.append(
            f"Within a class, the nearest chips are right or wrong together more than by chance for {found} of "
            f"{count_text(of, 'recipe')} (Moran’s I)."
        )
    factor = widening(spatial)
    if factor is None:
        sentences.append("The study has too few blocks of ground for intervals that resample blocks.")
    else:
        advice = (
            " Quote the wider ones."
            if factor > WIDER
            else " That is no more than the chance of the draws moves them."
            if factor < NO_WIDER
            else ""
        )
        sentences.append(
            f"With ground resampled in blocks instead of chips, the widest of the sizes below makes the interval of "
            f"the median recipe or contrast {factor:.2f} times as wide.{advice}"
        )
    return [*sentences, ELSEWHERE]


def correlation_page_table(correlation: pd.DataFrame) -> PageTable | None:
    """Make a table of Moran's I by distance; None without coordinates."""
    if correlation.empty:
        return None
    bins = correlation[["distance_km_low", "distance_km_high"]].drop_duplicates()
    columns = [Column(f"{low:g} to {high:g} km") for low, high in bins.itertuples(index=False)]
    rows = recipe_rows(correlation, lambda recipe: [_correlation_cell(row) for _, row in recipe.iterrows()])
    caption = (
        "Moran’s I of right and wrong predictions between chips of one class, by their distance: 0 without "
        "correlation. In brackets: the range for independent chips. ↑ lies above it."
    )
    return PageTable(caption, columns, rows)


def _correlation_cell(row: pd.Series) -> TableCell:
    if pd.isna(row["moran_i"]):
        return TableCell("—", (count_text(int(row["n_pairs"]), "pair"),))
    chance = f"[{NUMBER.signed(row['independent_low'])}, {NUMBER.signed(row['independent_high'])}]"
    above = row["moran_i"] > row["independent_high"]
    return TableCell(f"{'↑ ' if above else ''}{NUMBER.signed(row['moran_i'])}", (chance,), row["moran_i"])


def spatial_page_table(spatial: pd.DataFrame) -> PageTable | None:
    """Make a table of the intervals in blocks of the averaged contrasts and recipes; None without any."""
    if spatial.empty:
        return None
    sizes = spatial[["block_km", "n_blocks"]].drop_duplicates()
    columns = [Column("Score", is_text=True), Column("Estimate"), Column("As elsewhere", "crossed")]
    columns += [Column(f"Blocks of {km:g} km", count_text(int(n), "block")) for km, n in sizes.itertuples(index=False)]

    def row_of(own: pd.DataFrame) -> Row:
        first = own.iloc[0]
        score, is_contrast = SCORES[first["metric"]], bool(first["contrast"])
        text = score.gap if is_contrast else score.interval
        number = score.signed if is_contrast else score.text
        cells = [
            TableCell(score.label),
            TableCell(number(first["estimate"]), order=first["estimate"]),
            TableCell(text(first["crossed_low"], first["crossed_high"]) or "—"),
        ]
        by_size = own.set_index("block_km")
        for km in sizes["block_km"]:
            row = by_size.loc[km] if km in by_size.index else None
            shown = "" if row is None else text(row["low"], row["high"])
            ratio = np.nan if row is None else row["ratio"]
            cells.append(TableCell(shown or "—", (f"× {ratio:.2f}",) if np.isfinite(ratio) else (), ratio))
        return Row((first["contrast"],), cells) if is_contrast else recipe_row(first, cells)

    rows = rows_of_groups(spatial, ["contrast", *RECIPE, "metric"], row_of)
    caption = (
        "Intervals with whole squares of ground as units of the bootstrap, and their width over that of the crossed "
        "interval. Squares smaller than the range of the correlation are too small, and few squares say little: quote "
        "the widest."
    )
    return PageTable(caption, columns, rows, Column("Contrast or recipe", is_text=True))
