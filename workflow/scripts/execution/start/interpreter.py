"""Check whether this Python, in this place, can run the workflow: before the environment exists, and before any job.

The Makefile runs this file with any Python 3, so that it uses nothing but the standard library, and no new syntax.
"""

import re
import sys

# First Python that works, and first that does not: for 3.14, the lock has packages without wheels. pyproject.toml says
# the same.
FIRST, TOO_NEW = (3, 11), (3, 14)


def describe_version(version: tuple) -> str:  # type: ignore[type-arg]  # old Pythons read it
    """Return what is wrong with a version of Python, or an empty text."""
    if FIRST <= version < TOO_NEW:
        return ""
    last = f"{TOO_NEW[0]}.{TOO_NEW[1] - 1}"
    return (
        "This Python cannot run the project.\n"
        f"  found: Python {version[0]}.{version[1]} ({sys.executable})\n"
        f"  expected: Python {FIRST[0]}.{FIRST[1]} to {last}\n"
        f"  what to do: name another Python, such as `make setup PYTHON=python{last}`"
    )


def describe_path(executable: str) -> str:
    """Return why jobs cannot be started with a Python at this path, or an empty text.

    Snakemake does not quote the path in the command lines of its jobs.
    """
    found = sorted(set(re.findall(r"[^\w@%+=:,./-]", executable)))
    if not found:
        return ""
    shown = ", ".join("a blank" if character == " " else character for character in found)
    return (
        "Jobs cannot be started with this Python: Snakemake does not quote its path.\n"
        f"  found: {shown} in {executable}\n"
        "  expected: a path of letters, digits and the characters . _ - + @ % = : , /\n"
        "  what to do: move the project (with its .venv) to a folder without them, and set it up there"
    )


def describe_optimization(level: int) -> str:
    """Return why jobs fail where Python leaves out docstrings (`-OO`), or an empty text.

    Libraries that the models need compose their docstrings when they are imported.
    """
    if level < 2:
        return ""
    return (
        "This Python leaves out docstrings, without which PyTorch's libraries cannot be imported.\n"
        "  found: PYTHONOPTIMIZE=2, or the option -OO\n"
        "  expected: neither\n"
        "  what to do: unset PYTHONOPTIMIZE"
    )


if __name__ == "__main__":
    # The Makefile names the Python that it is about to make.
    sys.exit(describe_version(sys.version_info[:2]) or describe_path(sys.argv[1]) or None)
