"""A check before a function of Snakemake or of a plugin is replaced: it must be the one that the replacement knows."""

from __future__ import annotations

import inspect
from typing import Any

from terralucas.errors import StudyError


def require_parameters(owner: Any, name: str, expected: tuple[str, ...]) -> None:
    """Stop if a function of another package is not there, or takes other parameters than expected.

    Args:
        owner: the module or class that has the function.
        name: of the function.
        expected: names of its parameters, in their order.

    Raises:
        StudyError: it is another function than the one that the project was tested with.
    """
    function = getattr(owner, name, None)
    if function is None:
        found = "no such function"
    elif tuple(inspect.signature(function).parameters) != expected:
        found = f"{name}{inspect.signature(function)}"
    else:
        return
    raise StudyError(
        f"This version of {owner.__name__} cannot be used: the study has to replace its function {name}.",
        found=found,
        expected=f"{name}({', '.join(expected)})",
        remedy="install the versions in requirements.lock",
    )
