"""The names and values in the columns of tables: verdicts, families, kinds of interval, components."""

from __future__ import annotations

SCHEMA_VERSION = 3
# The columns that name a recipe, in every table.
RECIPE = ["backbone", "loss", "decoder"]
# Columns of text. Codes and names that a user chose can look like numbers, such as 01.
TEXTS = (
    *RECIPE,
    *("run", "study", "class_code", "class_name", "true_code", "true_name", "predicted_code", "predicted_name"),
    *("contrast", "factor", "a", "b", "scope", "claim", "says", "control", "control_backbone", "kind", "name", "bands"),
)
# The value of a control in the column `loss`, which for a recipe has the name of its loss.
CONTROL = "control"
Recipe = tuple[str, str, str]
Difference = tuple[str, str, str]  # factor, a, b
SHOWN, EQUIVALENT, INCONCLUSIVE = "difference shown", "equivalent within margin", "inconclusive"
# Families of contrasts. p values are adjusted within a family and score.
AVERAGED, CELL, INTERACTION = "averaged", "cell", "interaction"
# A claim of a difference can be supported by a difference that does not matter, and refuted by equivalence.
SUPPORTED, SUPPORTED_BUT_SMALL = "supported", "supported, but smaller than the margin"
REFUTED, REFUTED_AS_EQUIVALENT, REFUTED_BUT_SMALL = (
    "refuted",
    "refuted: equivalent",
    "refuted, by a difference smaller than the margin",
)
# Roles of scores in contrasts.csv: the question is answered in the primary score.
PRIMARY, SECONDARY = "primary", "secondary"
RELATION_HIGHER, RELATION_LOWER, RELATION_EQUIVALENT = "higher", "lower", "equivalent"
# What a crossed interval is for; keys are the first part of the names in the column `crossed_interval`.
CROSSED_MEANING = {"crossed": "new seeds and new chips", "chips": "new chips alone"}
NADEAU_BENGIO = "nadeau_bengio_t"
FIXED_SPLIT = "t_fixed_split"
SPLIT_AND_INITIALISATION = "split, initialisation and order"
INITIALISATION = "initialisation and order"
SPLIT = "split"
CHIPS = "test chips"
FAILED, MISSING = "failed", "missing"
EQUAL_MICRO = "macro_accuracy_at_equal_micro"
CALIBRATION_STAGES = ("before", "after")
CALIBRATION_SCORES = ("nll", "brier", "ece", "classwise_ece")
CALIBRATION_ERRORS = ("ece", "classwise_ece")
ALL_CLASSES = "all"
# Kinds of bands that are permuted together, in importance.csv.
BAND_GROUP, SINGLE_BAND = "group", "band"
WITHOUT = "without "


def crossed_kind(method: object) -> str:
    """Return the kind of a crossed interval, a key of `CROSSED_MEANING`, from the name of its method in a table."""
    return str(method).partition("_")[0]


def difference_name(difference: Difference) -> str:
    """Return the name of a difference in the column `contrast`."""
    return f"{difference[1]} − {difference[2]}"


def interaction_name(first: Difference, second: Difference) -> str:
    """Return the name of an interaction in the column `contrast`."""
    sign = "−" if first[0] == second[0] else "×"
    return f"({difference_name(first)}) {sign} ({difference_name(second)})"


def control_as_recipe(control: str) -> Recipe:
    """Return the values of a control in the columns that name a recipe.

    They are its backbone (`none` if it reads no features), the loss `control`, and the kind of control as the decoder.

    Args:
        control: name of the control, such as `majority` or `knn/tiny`.
    """
    kind, _, backbone = control.partition("/")
    return backbone or "none", CONTROL, kind
