"""Files of the Hugging Face hub: asked for, downloaded with resume, checked, and refusals put into words.

The hub's own library downloads to a new temporary file each time; a few hundred megabytes over a poor line would never
arrive. So the library's parts are used one by one: it asks, it streams, and it links what came into its cache.
"""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from terralucas.disk import explain
from terralucas.errors import StudyError
from terralucas.files import sha256_of_file
from terralucas.web_pages import describe_web_page

logger = logging.getLogger(__name__)

_SIGN_IN = (
    "correct repo if it has a typing error; of a gated or private one, accept its conditions in a browser and set "
    "HF_TOKEN to a token of yours (huggingface.co/settings/tokens)"
)
_REMEDIES = {
    401: _SIGN_IN,
    403: _SIGN_IN,
    404: "correct repo, filename and revision",
    429: "wait some minutes and start again, or set HF_TOKEN: the hub allows more to those who sign in",
}
_NO_NETWORK = "check that this machine reaches the hub (compute nodes often do not), and start again"
_PORTAL = "sign in to this network with a browser, or mend the proxy settings or HF_ENDPOINT"


@dataclass(frozen=True)
class HubFile:
    """A file on the hub at a branch, tag or commit."""

    repo: str
    filename: str
    revision: str

    @property
    def url(self) -> str:
        """Where it is downloaded from."""
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repo, self.filename, revision=self.revision)


@dataclass(frozen=True)
class HubState:
    """What the hub records of a file.

    Attributes:
        etag: its SHA-256 if it is large, otherwise a shorter checksum of Git.
        size_bytes: None where the hub doesn't say.
    """

    etag: str
    size_bytes: int | None


def is_sha256(text: str) -> bool:
    """Whether a text can be a SHA-256 in hex."""
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def repo_folder(repo: str) -> str:
    """Folder of a repository in the cache of the hub's library."""
    return f"models--{repo.replace('/', '--')}"


def ask(file: HubFile, is_patient: bool) -> HubState:
    """Ask the hub for a file's checksum and size.

    Args:
        file: to ask for.
        is_patient: ask again for a while where the hub is busy or the network down.

    Raises:
        StudyError: the hub refuses, can't be reached, or something else answers in its place.
    """
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.errors import HTTPError

    try:
        found = get_hf_file_metadata(file.url, retry_on_errors=is_patient)
    except (HTTPError, OSError) as error:
        raise _in_words(file, error) from error
    if found.commit_hash is None or found.etag is None:
        raise _not_fetched(file, f"an answer from {found.location} without the hub's marks", _PORTAL)
    return HubState(found.etag, found.size)


def download(file: HubFile, state: HubState, path: Path) -> None:
    """Download a file with a progress bar on a terminal, going on where an earlier download stopped.

    Args:
        file: on the hub.
        state: what the hub records of it.
        path: where it is put once it is whole and its checksum right; until then it is `<path>.part`.

    Raises:
        StudyError: it did not come whole, or something else came; or the disk is full.
    """
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    was_resumed = _receive(file, state, part)
    if was_resumed and not _is_right(part, state):
        logger.warning("What was there of %s did not fit the rest; it is downloaded anew", file.filename)
        part.unlink()
        _receive(file, state, part)
    if not _is_right(part, state):
        found = sha256_of_file(part)
        part.unlink()
        raise StudyError(
            f"The weights {file.filename} are not the expected ones: they came with another checksum than the hub's.",
            found=f"sha256 {found}",
            expected=f"sha256 {state.etag}",
            remedy="start again; if it happens again, something on the way (a proxy, a virus scanner) changes the file",
        )
    part.rename(path)


def _is_right(part: Path, state: HubState) -> bool:
    return not is_sha256(state.etag) or sha256_of_file(part) == state.etag


def _receive(file: HubFile, state: HubState, part: Path) -> bool:
    """Bring what lacks of a file; True if some of it was there before."""
    from huggingface_hub.errors import HTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    kept_bytes = part.stat().st_size if part.is_file() else 0
    if state.size_bytes is not None:
        if kept_bytes > state.size_bytes:
            part.unlink()
            kept_bytes = 0
        _require_space(file, part.parent, state.size_bytes - kept_bytes)
    logger.info("Downloading %s of %s from byte %d on", file.filename, file.repo, kept_bytes)
    try:
        with part.open("ab") as stream:
            http_get(
                file.url, stream, resume_size=kept_bytes, headers=build_hf_headers(),
                expected_size=state.size_bytes, displayed_filename=file.filename,
            )  # fmt: skip
    except (HTTPError, OSError) as error:
        if part.is_file():
            _drop_page(file, part)
        full = explain(error) if isinstance(error, OSError) else None
        raise full or _in_words(file, error, part) from error
    _drop_page(file, part)
    return kept_bytes > 0


def require_no_page(path: Path) -> None:
    """Refuse a file that is a web page, as browsers save them where a sign-in or an error came instead."""
    with path.open("rb") as stream:
        page = describe_web_page(stream.read(2**16))
    if page:
        raise StudyError(
            f"{path} holds no weights.", found=page, expected="a checkpoint", remedy="get the file itself again"
        )


def _drop_page(file: HubFile, part: Path) -> None:
    """Remove a web page that came in a file's place, so that nothing is appended to it, and say so."""
    try:
        require_no_page(part)
    except StudyError as error:
        part.unlink()
        raise _not_fetched(file, f"{error.found} instead of the file", _PORTAL) from None


def _require_space(file: HubFile, folder: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise StudyError(
            f"There is not enough disk space to download {file.filename}.",
            found=f"{free_bytes / 1e9:.2f} GB free in {folder}",
            expected=f"{needed_bytes / 1e9:.2f} GB",
            remedy="free some space and start again: the download goes on where it stopped",
        )


def _in_words(file: HubFile, error: Exception, part: Path | None = None) -> StudyError:
    """What a refusal of the hub or a failure on the way means."""
    response = getattr(error, "response", None)
    if response is None:
        found = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
        if part is not None and part.is_file() and part.stat().st_size:
            found += f"; {part.stat().st_size} bytes are kept, and the download goes on from there"
        return _not_fetched(file, found, _NO_NETWORK)
    status = response.status_code
    said = response.headers.get("X-Error-Message")
    busy = "the hub has trouble: start again later"
    remedy = _REMEDIES.get(status, busy if status >= 500 else "correct backbones.<name>.weights")
    return _not_fetched(file, f"HTTP status {status}" + (f": {said}" if said else ""), remedy)


def _not_fetched(file: HubFile, found: str, remedy: str) -> StudyError:
    return StudyError(
        f"The weights {file.filename} could not be fetched from the Hugging Face hub.",
        found=found,
        expected=f"{file.repo} at revision {file.revision}",
        remedy=f"{remedy}; or get {file.url} by hand and use weights: {{source: file, path: …}}",
    )
