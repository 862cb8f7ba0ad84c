"""Names of rules that the workflow treats otherwise than the others."""

from __future__ import annotations

# Each job of these is one run of the study.
RUN_RULES = ("train_run", "tune_run")
# Each job of these may take hours.
LONG_RULES = (*RUN_RULES, "extract_features")
# Each job of these makes a part of a prediction or a map, which is deleted when the whole is there.
# With the word for what has become of a finished part.
PART_RULES = {"predict_part": "predicted", "map_part": "mapped"}
