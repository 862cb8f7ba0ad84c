"""Which code a rule runs, and a fingerprint of what that code does."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
SCRIPTS = PACKAGE.parent
# Helpers of the scripts that change no result: logs, exit codes, no network.
_WITHOUT_EFFECT = {SCRIPTS / "_job.py", SCRIPTS / "_offline.py"}


def code_of(script: Path) -> list[Path]:
    """Return the script, all modules of this project that it imports at any depth, and the files that these read.

    Imports inside functions count. The `__init__` of each package on the way counts too, because it is run. A file is
    read by a module if a string of the module is its name, and it lies beside the module or among the `assets`; of a
    folder that is named like this, all files.

    Args:
        script: a Python file.

    Returns:
        Absolute paths in alphabetical order.
    """
    found, waiting = {script.resolve()}, [script.resolve()]
    while waiting:
        module = waiting.pop()
        new = _imported_by(module) - found - _WITHOUT_EFFECT
        found |= new
        waiting += new
    return sorted(found | {path for module in found for path in _read_by(module)})


def fingerprint(paths: Iterable[Path]) -> str:
    """Return the hex SHA-256 of what code files do, independent of where the project lies.

    A Python file counts as its syntax tree without docstrings, comments and layout; any other file as its bytes.
    """
    digest = hashlib.sha256()
    for path in sorted(map(Path, paths)):
        name = path.relative_to(SCRIPTS) if path.is_relative_to(SCRIPTS) else Path(path.name)
        digest.update(f"{name.as_posix()}\0{_digest(path)}\0".encode())
    return digest.hexdigest()


@cache
def _digest(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".py":
        content = "".join(_serialised(_tree(path))).encode()
    return hashlib.sha256(content).hexdigest()


def _serialised(node: ast.AST) -> Iterator[str]:
    """Yield a syntax tree as text.

    Empty fields are left out: which of them there are differs between versions of Python. `ast.dump` shows them.
    """
    yield f"({type(node).__name__}"
    for name, value in ast.iter_fields(node):
        if value is None or value == [] or name == "type_comment":
            continue
        yield f" {name}="
        items = value if isinstance(value, list) else [value]
        if name == "body" and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            items = _without_docstring(items)
        for item in items:
            if isinstance(item, ast.AST):
                yield from _serialised(item)
            else:
                yield f"{item!r},"
    yield ")"


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    is_docstring = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return body[1:] if is_docstring else body


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _imported_by(path: Path) -> frozenset[Path]:
    found: set[Path] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found |= _modules(SCRIPTS, alias.name)
        elif isinstance(node, ast.ImportFrom):
            # `from . import x` starts in the module's own folder, `from .. import x` one above it.
            folder = path.parents[node.level - 1] if node.level else SCRIPTS
            for alias in node.names:
                found |= _modules(folder, ".".join(filter(None, [node.module, alias.name])))
    return frozenset(found)


def _modules(folder: Path, name: str) -> set[Path]:
    """Return the files that an import of `name`, a module or something in one, runs below a folder."""
    found: set[Path] = set()
    for part in name.split("."):
        module, folder = folder / f"{part}.py", folder / part
        if module.is_file():
            return found | {module}
        if not (folder / "__init__.py").is_file():
            break
        found.add(folder / "__init__.py")
    return found


@cache
def _read_by(path: Path) -> frozenset[Path]:
    if not path.is_relative_to(PACKAGE):
        return frozenset()
    strings = {node.value for node in ast.walk(_tree(path)) if isinstance(node, ast.Constant)}
    names = {text for text in strings if isinstance(text, str) and text and "/" not in text and "\0" not in text}
    found: set[Path] = set()
    for folder in (path.parent, PACKAGE / "assets"):
        for entry in folder.iterdir():
            if entry.name not in names:
                continue
            if entry.is_file() and entry.suffix != ".py":
                found.add(entry)
            elif entry.is_dir() and entry != PACKAGE / "assets" and not (entry / "__init__.py").is_file():
                found |= {file for file in entry.rglob("*") if file.is_file()}
    return frozenset(found)
