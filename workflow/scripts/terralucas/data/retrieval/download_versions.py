"""Which version of a file a partial download is of, so that the rest of another version is never added to it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from gdown.exceptions import FileURLRetrievalError

from terralucas.data.retrieval.archive_kinds import has_crc
from terralucas.files import write_json

# Headers that name a version of a file.
_VERSIONS = ("ETag", "Last-Modified")
# Of a version that is not named, only the size of the whole file is known.
_SIZE = "Content-Length"
# Before a file, Drive sends one page that asks for a confirmation, again after each broken connection. gdown confirms
# as often as it is asked.
_MOST_PAGES = 20


class AnotherVersionError(Exception):
    """The server has another version of the file than that of the partial download."""


def version_file(archive: Path) -> Path:
    """Return where the version of an archive's partial download is kept."""
    return archive.with_name(f".{archive.name}.version.json")


@contextmanager
def watch_version(archive: Path, find_part: Callable[[], Path | None], has_checksum: bool) -> Iterator[None]:
    """Compare the version of the file on the server with that of the partial download, while gdown downloads.

    gdown asks for the rest of whatever version the server has when it starts, and again after each broken connection.
    Its session cannot be given to it, so that the answers are seen where all sessions of `requests` send.

    Args:
        archive: the file to download.
        find_part: function that returns the partial download, if there is one. If it is empty, the version is recorded.
        has_checksum: whether the whole file is compared with a checksum afterwards.

    Raises:
        AnotherVersionError: an answer names another version than the record, or none any more. Where no version is
            known: nothing would show a mixture, neither a checksum nor the CRC of a compressed archive.
        FileURLRetrievalError: the server sends pages and no file.
    """
    record, send, pages = version_file(archive), requests.Session.send, itertools.count(1)

    def watched(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        response = send(session, request, **options)
        is_page = "html" in response.headers.get("Content-Type", "")
        if is_page and next(pages) >= _MOST_PAGES:
            response.close()
            raise FileURLRetrievalError(f"a web page in place of the file, {_MOST_PAGES} times")
        # Pages that come before a file are no version of it.
        if is_page or response.status_code not in (200, 206):
            return response
        found, part = {name: response.headers.get(name) for name in (*_VERSIONS, _SIZE)}, find_part()
        if response.status_code == 206:
            # The size is that of the rest; behind the slash is that of the file.
            found[_SIZE] = re.sub(r".*/|\*", "", response.headers.get("Content-Range", "")) or None
        if part is None or not part.stat().st_size:
            write_json(record, found)
        elif not _is_same(_read(record), found, has_checksum or has_crc(part)):
            response.close()
            raise AnotherVersionError
        return response

    requests.Session.send = watched  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        requests.Session.send = send  # type: ignore[method-assign]


def _is_same(known: dict[str, str | None], found: dict[str, str | None], is_checked: bool) -> bool:
    """Return whether a download may go on with another answer.

    Args:
        known: headers of the answer with which it began.
        found: headers of the new answer.
        is_checked: whether a mixture of two versions would be found afterwards.
    """
    if known.get(_SIZE) and found[_SIZE] and known[_SIZE] != found[_SIZE]:
        return False
    if not any(known.get(name) for name in _VERSIONS):
        return is_checked
    shared = [name for name in _VERSIONS if known.get(name) and found[name]]
    return bool(shared) and all(known[name] == found[name] for name in shared)


def _read(record: Path) -> dict[str, str | None]:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
