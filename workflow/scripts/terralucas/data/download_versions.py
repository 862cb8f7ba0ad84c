"""Which version of a file a partial download is of, so that the rest of another version is never added to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from terralucas.files import write_json

# Headers that name a version of a file; of the last one, only the size of the whole file counts.
_HEADERS = ("ETag", "Last-Modified", "Content-Length")


class AnotherVersionError(Exception):
    """The server has another version of the file than that of the partial download."""


def version_file(archive: Path) -> Path:
    """Return where the version of an archive's partial download is kept."""
    return archive.with_name(f".{archive.name}.version.json")


@contextmanager
def watch_version(archive: Path, kept_bytes: int) -> Iterator[None]:
    """Compare the version of the file on the server with that of the partial download, while gdown downloads.

    gdown asks for the rest of whatever version the server has when it starts. Its session cannot be given to it, so
    that the answers are seen where all sessions of `requests` send.

    Args:
        archive: the file to download.
        kept_bytes: size of the partial download; if it is 0, the version is recorded.

    Raises:
        AnotherVersionError: an answer names another version than the record. Without a record, or where the server
            names no versions, nothing is compared.
    """
    record, send = version_file(archive), requests.Session.send
    known = _read(record) if kept_bytes else None
    is_new = not kept_bytes

    def watched(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        nonlocal is_new
        response = send(session, request, **options)
        # Pages that come before a file are no version of it, and parts of a file do not have its size.
        if response.status_code != 200 or "html" in response.headers.get("Content-Type", ""):
            return response
        found = {name: response.headers.get(name) for name in _HEADERS}
        if is_new:
            write_json(record, found)
            is_new = False
        elif known is not None and any(
            found[name] and known.get(name) and found[name] != known[name] for name in found
        ):
            response.close()
            raise AnotherVersionError
        return response

    requests.Session.send = watched  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        requests.Session.send = send  # type: ignore[method-assign]


def _read(record: Path) -> dict[str, str | None] | None:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
