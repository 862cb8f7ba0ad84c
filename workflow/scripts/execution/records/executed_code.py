"""Remembers the source of each module of the project that a process has run; imported before all other modules.

What is on the disk may be other code than what was imported: a file may be edited, and the edit be undone.
"""

from __future__ import annotations

import sys
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType

_SCRIPTS = Path(__file__).resolve().parents[2]

# Files of the modules that this process, and that from which it was forked, ran → bytes of the source that was run.
executed: dict[Path, bytes] = {}


class _Loader(SourceFileLoader):
    """Compiles each module from its source: a file of `__pycache__` may be older than it seems."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = self.get_data(path)
        executed[Path(path).resolve()] = source
        code: CodeType = self.source_to_code(source, path)
        return code


def _find_modules_in(folder: str) -> FileFinder:
    """Return the finder of the modules in a folder of the project.

    Raises:
        ImportError: the folder does not belong to the project; Python then looks as always.
    """
    if not Path(folder).resolve().is_relative_to(_SCRIPTS):
        raise ImportError(f"{folder} is not below {_SCRIPTS}")
    return FileFinder(folder, (_Loader, [".py"]))


def _watch_imports() -> None:
    sys.path_hooks.insert(0, _find_modules_in)
    # Python keeps what finds modules in a folder from which it has imported one.
    for folder in list(sys.path_importer_cache):
        if Path(folder).resolve().is_relative_to(_SCRIPTS):
            del sys.path_importer_cache[folder]


_watch_imports()
