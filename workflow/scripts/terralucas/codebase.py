"""Which modules of the core a script runs, found from its import statements."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def modules_of(script: Path) -> list[Path]:
    """All modules of this package that a script imports, directly or through others, at any depth of the code.

    Rules name them as inputs, so that an edited module reruns exactly what runs it, and no one has to keep a list.

    Args:
        script: a Python file.

    Returns:
        Paths in alphabetical order.
    """
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        for module in _imports(waiting.pop()):
            if module not in found:
                found.add(module)
                waiting.append(module)
    return sorted(found)


def fingerprint(paths: Iterable[str | Path]) -> str:
    """Hex SHA-256 over the contents of code files, independent of where they lie."""
    digest = hashlib.sha256()
    for path in sorted(map(Path, paths), key=lambda path: path.name):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    prefix = PACKAGE.name + "."
    modules = (PACKAGE / f"{name.removeprefix(prefix)}.py" for name in names if name.startswith(prefix))
    return tuple(sorted(module for module in modules if module.is_file()))
