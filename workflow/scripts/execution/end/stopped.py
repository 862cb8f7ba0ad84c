"""The error that ends Snakemake with words for the user, and without lines of the project's own code."""

from __future__ import annotations

from snakemake.exceptions import WorkflowError


class StudyStoppedError(WorkflowError):  # type: ignore[misc]  # Snakemake has no types
    """Ends Snakemake with a message that says all that a user needs."""

    @property
    def __traceback__(self) -> None:
        """Nothing: Snakemake shows lines of rules from it, below the message."""
        return

    @__traceback__.setter
    def __traceback__(self, value: object) -> None:
        # `contextlib` sets it, where the error passes through a context.
        return
