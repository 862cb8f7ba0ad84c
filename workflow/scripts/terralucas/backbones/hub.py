"""Download files of the Hugging Face hub with resume, check them, and explain errors to the user.

The library `huggingface_hub` starts each download again from zero. Over a slow connection, a file of some hundred
megabytes would never be complete. Therefore this module calls the parts of the library separately: the request for the
metadata, the transfer, and the link in the cache.
"""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from terralucas.disk import explain, size_text
from terralucas.errors import StudyError
from terralucas.file_kinds import describe_web_page
from terralucas.files import sha256_of_file

logger = logging.getLogger(__name__)

_SIGN_IN = (
    "correct repo if it is misspelled; if it is gated or private, accept its conditions in a browser and set HF_TOKEN "
    "to your token (huggingface.co/settings/tokens)"
)
_REMEDIES = {
    401: _SIGN_IN,
    403: _SIGN_IN,
    404: "correct repo, filename and revision",
    429: "wait some minutes and start again, or set HF_TOKEN: the hub has higher limits for signed-in users",
}
_NO_NETWORK = "check that this machine reaches the hub (compute nodes often do not), and start again"
_PORTAL = "sign in to this network with a browser, or correct the proxy settings or HF_ENDPOINT"


@dataclass(frozen=True)
class HubFile:
    """A file on the hub at a branch, tag or commit."""

    repo: str
    filename: str
    revision: str

    @property
    def url(self) -> str:
        """Address from which the file is downloaded."""
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repo, self.filename, revision=self.revision)


@dataclass(frozen=True)
class HubState:
    """Checksum and size of a file on the hub.

    Attributes:
        etag: SHA-256 of a large file; a shorter Git checksum of a small file.
        size_bytes: size of the file; None if the hub does not report it.
    """

    etag: str
    size_bytes: int | None


def is_sha256(text: str) -> bool:
    """Return whether a text has the form of a hex SHA-256."""
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def repo_folder(repo: str) -> str:
    """Return the name of a repository's folder in the cache of `huggingface_hub`."""
    return f"models--{repo.replace('/', '--')}"


def request_state(file: HubFile, retry: bool) -> HubState:
    """Request the checksum and the size of a file from the hub.

    Args:
        file: file on the hub.
        retry: repeat the request for some time if the hub is busy or the network is down.

    Raises:
        StudyError: the hub refuses or can't be reached, or another server answers instead.
    """
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.errors import HTTPError

    try:
        found = get_hf_file_metadata(file.url, retry_on_errors=retry)
    except (HTTPError, OSError) as error:
        raise _explain_failure(file, error) from error
    if found.commit_hash is None or found.etag is None:
        raise _download_error(file, f"an answer from {found.location} without the headers of the hub", _PORTAL)
    return HubState(found.etag, found.size)


def download(file: HubFile, state: HubState, path: Path) -> None:
    """Download a file, and resume an earlier download that stopped; show a progress bar on a terminal.

    Args:
        file: file on the hub.
        state: checksum and size of the file on the hub.
        path: path of the complete and checked file. Until then, the file is `<path>.part`.

    Raises:
        StudyError: the download is incomplete or has the wrong content, or the disk is full.
    """
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    was_resumed = _download_rest(file, state, part)
    if was_resumed and not _has_checksum(part, state):
        logger.warning(
            "The resumed download of %s has a wrong checksum; the file is downloaded again from the start",
            file.filename,
        )
        part.unlink()
        _download_rest(file, state, part)
    if not _has_checksum(part, state):
        found = sha256_of_file(part)
        part.unlink()
        raise StudyError(
            f"The weights {file.filename} are not the expected ones: their checksum differs from that of the hub.",
            found=f"sha256 {found}",
            expected=f"sha256 {state.etag}",
            remedy="start again; if it happens again, a proxy or virus scanner on the way changes the file",
        )
    part.rename(path)


def _has_checksum(part: Path, state: HubState) -> bool:
    return not is_sha256(state.etag) or sha256_of_file(part) == state.etag


def _download_rest(file: HubFile, state: HubState, part: Path) -> bool:
    """Download the missing part of a file; return whether a part of it existed before."""
    from huggingface_hub.errors import HTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    kept_bytes = part.stat().st_size if part.is_file() else 0
    if state.size_bytes is not None:
        if kept_bytes > state.size_bytes:
            part.unlink()
            kept_bytes = 0
        _require_space(file, part.parent, state.size_bytes - kept_bytes)
    logger.info("Downloading %s of %s, starting at byte %d", file.filename, file.repo, kept_bytes)
    try:
        with part.open("ab") as stream:
            http_get(
                file.url,
                stream,
                resume_size=kept_bytes,
                headers=build_hf_headers(),
                expected_size=state.size_bytes,
                displayed_filename=file.filename,
            )
    except (HTTPError, OSError) as error:
        if part.is_file():
            _remove_web_page(file, part)
        disk_error = explain(error) if isinstance(error, OSError) else None
        raise disk_error or _explain_failure(file, error, part) from error
    _remove_web_page(file, part)
    return kept_bytes > 0


def _remove_web_page(file: HubFile, part: Path) -> None:
    """Delete a web page that was sent instead of the file and raise an error, so that no download resumes from it."""
    with part.open("rb") as stream:
        page = describe_web_page(stream.read(2**16))
    if page:
        part.unlink()
        raise _download_error(file, f"{page} instead of the file", _PORTAL)


def _require_space(file: HubFile, folder: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise StudyError(
            f"There is not enough disk space to download {file.filename}.",
            found=f"{size_text(free_bytes)} free in {folder}",
            expected=size_text(needed_bytes),
            remedy="free some space and start again; the download resumes where it stopped",
        )


def _explain_failure(file: HubFile, error: Exception, part: Path | None = None) -> StudyError:
    """Return an error for the user that explains an answer of the hub or a failure of the connection."""
    response = getattr(error, "response", None)
    if response is None:
        found = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
        if part is not None and part.is_file() and part.stat().st_size:
            found += f"; {part.stat().st_size} bytes are kept, and the next start resumes there"
        return _download_error(file, found, _NO_NETWORK)
    status = response.status_code
    message = response.headers.get("X-Error-Message")
    busy = "the hub has a problem; start again later"
    remedy = _REMEDIES.get(status, busy if status >= 500 else "correct backbones.<name>.weights")
    return _download_error(file, f"HTTP status {status}" + (f": {message}" if message else ""), remedy)


def _download_error(file: HubFile, found: str, remedy: str) -> StudyError:
    return StudyError(
        f"The weights {file.filename} could not be fetched from the Hugging Face hub.",
        found=found,
        expected=f"{file.repo} at revision {file.revision}",
        remedy=f"{remedy}; or download {file.url} yourself and use weights: {{source: file, path: …}}",
    )
