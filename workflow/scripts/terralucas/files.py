"""Write files atomically, and compute checksums."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

# Called before a result gets its final name.
_checks: list[Callable[[], None]] = []


def check_before_each_result(check: Callable[[], None]) -> None:
    """Let this process call a function before each result gets its final name; what it raises keeps the old file."""
    _checks.append(check)


def check_before_deletion() -> None:
    """Call what `check_before_each_result` was given, before earlier results are deleted for new ones."""
    for check in _checks:
        check()


@contextmanager
def atomic_path(path: Path, is_result: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it to `path` when the block ends without an error.

    The content is flushed to the disk before the file is renamed. A reader therefore finds the old file, the new file
    or no file, but never a part of a file. When the block raises an error, the temporary file is deleted.

    Args:
        path: of the file.
        is_result: whether what `check_before_each_result` was given is called before the file is renamed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # `mkstemp` would make the file readable for its owner only; results have the usual file mode.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        for check in _checks if is_result else ():
            check()
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        # NumPy's errors of a full disk have neither a number nor a name, and take only a name of their own.
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise


def real_path(path: str) -> Path:
    """Return the absolute path of a configured path: `~` is replaced, and links are followed.

    `Path.resolve` raises a RuntimeError for links that lead to each other; here they are kept, and the file is missing.
    """
    return Path(os.path.realpath(Path(path).expanduser()))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON with a final newline, atomically.

    Raises:
        ValueError: the value contains NaN or infinity, which JSON cannot express.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_of_file(path: Path) -> str:
    """Return the hex SHA-256 digest of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(value: Any) -> str:
    """Return the hex SHA-256 digest of a JSON-serialisable value, independent of the order of keys."""
    # Names of files need not be UTF-8.
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
