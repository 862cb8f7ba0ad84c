"""Find the code that a rule runs, and compute a fingerprint of what that code does."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from terralucas.errors import StudyError
from terralucas.files import atomic_path

PACKAGE = Path(__file__).resolve().parent
SCRIPTS = PACKAGE.parent
# Where fingerprints are kept, in the folder in which studies are started.
KEPT = Path(".snakemake/code_fingerprints.json")
# Helpers of the scripts that change no result: log files, exit codes, offline mode, records of what was read.
_WITHOUT_EFFECT = {
    SCRIPTS / "execution" / "jobs" / "job.py",
    SCRIPTS / "execution" / "jobs" / "offline.py",
    PACKAGE / "contents.py",
    PACKAGE / "data" / "discovery" / "chips_root.py",
    PACKAGE / "study" / "invalid_chips.py",
    PACKAGE / "study" / "source_files.py",
    PACKAGE / "study" / "source_order.py",
    PACKAGE / "study" / "class_names.py",
}

# Endings of copies that editors and merges make; names without an ending are no code either.
_OF_EDITORS = ("", ".orig", ".rej", ".swp", ".bak", ".tmp", ".py~")
# What makes messages: classes of errors and problems, loggers, and variables that hold a part of a message.
_ERRORS = {"StudyError", "ChipError", "Problem", "Reason"}
_LOGGERS = {"logger", "progress"}
_VARIABLES = {"REMEDIES", "message", "expected", "remedy"}


def code_of(script: Path) -> list[Path]:
    """Return a script, the modules of this project that it imports directly or indirectly, and the files they read.

    Imports inside functions count. The `__init__` of each package on the path counts too, because Python runs it.
    A module reads a file if one of its strings is the name of that file, and the file is in the folder of the module
    or in `assets`. If the string is the name of a folder, all files in that folder count.

    Args:
        script: a Python file.

    Returns:
        Absolute paths in alphabetical order.
    """
    found, waiting = {script.resolve()}, [script.resolve()]
    while waiting:
        module = waiting.pop()
        new = _find_imported_files(module) - found - _WITHOUT_EFFECT
        found |= new
        waiting += new
    return sorted(found | {path for module in found for path in _find_data_files(module)})


def fingerprint(paths: Iterable[Path]) -> str:
    """Return the hex SHA-256 of what code files do, independent of the folder of the project.

    A Python file counts as its syntax tree without docstrings, comments, layout and the text of messages; any other
    file as its bytes. Messages are the strings in calls that make errors, problems of chips or lines of logs, and in
    variables that are named as a part of a message: they change no number. A string without a space counts there too,
    because it may be a key.
    """
    digest = hashlib.sha256()
    for path in sorted(map(Path, paths)):
        name = path.relative_to(SCRIPTS) if path.is_relative_to(SCRIPTS) else Path(path.name)
        digest.update(f"{name.as_posix()}\0{_hash_content(path)}\0".encode())
    return digest.hexdigest()


def code_of_script(name: str) -> str:
    """Return the fingerprint of the code of a rule's script, for commands that do the same without Snakemake."""
    return fingerprint(code_of(SCRIPTS / f"{name}.py"))


class Fingerprints:
    """Fingerprints of the scripts' code, kept in a file, so that each start and each job need not compute them again.

    What was kept counts only if every file of all scripts has the same bytes, and Python the same version. All
    fingerprints of one object are of the state in which the files were when it was made.

    Args:
        file: where they are kept. Nothing is kept if it cannot be written.

    Attributes:
        state: hex SHA-256 of the bytes of all files of the scripts, and of the version of Python.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        # An earlier object may have been of another state.
        for function in (_hash_content, _parse, _find_imported_files, _find_data_files):
            getattr(function, "cache_clear", lambda: None)()
        self.state = _hash_all_files()
        self._values = self._read()

    def of(self, *scripts: Path) -> str:
        """Return the fingerprint of the code that all these scripts have in common; for one script, of its code.

        Raises:
            StudyError: a file is no Python; or the files are no longer those of `state`, and the fingerprint was not
                computed before.
        """
        key = " ".join(script.stem for script in scripts)
        if key not in self._values:
            shared = set.intersection(*(set(code_of(script)) for script in scripts))
            value = fingerprint(shared)
            if _hash_all_files() != self.state:
                raise StudyError(
                    "The code of the project was changed at the moment in which it was looked at.",
                    found=f"other files in {SCRIPTS} than a moment ago",
                    expected="files that stay as they are while a study starts",
                    remedy="start the study again",
                )
            self._values[key] = value
            kept = json.dumps({"state": self.state, "fingerprints": self._values}, indent=2)
            # No result: the check before each result may ask for a fingerprint.
            with contextlib.suppress(OSError), atomic_path(self._file, is_result=False) as path:
                path.write_text(kept, encoding="utf-8")
        return self._values[key]

    def _read(self) -> dict[str, str]:
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8"))
            return dict(kept["fingerprints"]) if kept["state"] == self.state else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}


def _hash_all_files() -> str:
    """Return the hex SHA-256 of all files of the scripts, as bytes, and of the version of Python."""
    digest = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    for path in files_of_scripts():
        digest.update(f"\0{path.relative_to(SCRIPTS).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def files_of_scripts() -> list[Path]:
    """Return all files of the scripts, without what Python and editors leave beside them (`.losses.py.swp`, `4913`)."""
    found = []
    for folder, folders, names in os.walk(SCRIPTS):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        paths = (Path(folder, name) for name in sorted(names))
        found += [path for path in paths if not path.name.startswith(".") and path.suffix not in _OF_EDITORS]
    return found


def do_same(source: bytes, other: bytes) -> bool:
    """Return whether two Python sources differ in nothing that `fingerprint` counts.

    Raises:
        SyntaxError: one of them is no Python.
    """
    return source == other or _text_of(ast.parse(source)) == _text_of(ast.parse(other))


@cache
def _hash_content(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".py":
        content = _text_of(_parse(path)).encode()
    return hashlib.sha256(content).hexdigest()


def _text_of(module: ast.Module) -> str:
    return "".join(_serialise(module))


def _serialise(node: ast.AST, in_message: bool = False) -> Iterator[str]:
    """Yield a syntax tree as text.

    Empty fields are omitted, because versions of Python differ in which fields a node has. `ast.dump` is not used,
    because it keeps empty fields.
    """
    in_message = in_message or _is_message(node)
    if in_message and isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
        return
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
                yield from _serialise(item, in_message)
            else:
                yield f"{item!r},"
    yield ")"


def _is_message(node: ast.AST) -> bool:
    """Whether the strings of a statement or call are messages to a user."""
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id in _VARIABLES for target in node.targets)
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute):
        return isinstance(node.func.value, ast.Name) and node.func.value.id in _LOGGERS
    return isinstance(node.func, ast.Name) and node.func.id in _ERRORS


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    is_docstring = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return body[1:] if is_docstring else body


@cache
def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (SyntaxError, ValueError) as error:
        place = f"{path}, line {error.lineno}" if isinstance(error, SyntaxError) else str(path)
        line = (error.text or "").strip() if isinstance(error, SyntaxError) else ""
        raise StudyError(
            "A file of the project is no Python.",
            found=f"{place}: {getattr(error, 'msg', error)}" + (f": {line}" if line else ""),
            expected="code that Python can read",
            remedy="if the line has conflict marks of git (<<<<<<<, =======, >>>>>>>), solve the conflict; if the file "
            "is just being edited, save it completely; then start the study again",
        ) from None


@cache
def _find_imported_files(path: Path) -> frozenset[Path]:
    found: set[Path] = set()
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found |= _find_module_files(SCRIPTS, alias.name)
        elif isinstance(node, ast.ImportFrom):
            # `from . import x` starts in the folder of the module, `from .. import x` in the folder above it.
            folder = path.parents[node.level - 1] if node.level else SCRIPTS
            for alias in node.names:
                found |= _find_module_files(folder, ".".join(filter(None, [node.module, alias.name])))
    return frozenset(found)


def _find_module_files(folder: Path, name: str) -> set[Path]:
    """Return the files below a folder that Python runs when it imports `name`, a module or an object of a module."""
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
def _find_data_files(path: Path) -> frozenset[Path]:
    if not path.is_relative_to(PACKAGE):
        return frozenset()
    strings = {node.value for node in ast.walk(_parse(path)) if isinstance(node, ast.Constant)}
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
