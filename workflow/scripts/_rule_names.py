"""Names of rules that the workflow treats otherwise than the others."""

from __future__ import annotations

# Each job of these is one run of the study.
RUN_RULES = ("train_run", "tune_run")
