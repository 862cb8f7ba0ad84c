"""Bring the chips of a study into one folder, from the first of several sources that works."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import gdown
import requests
from tqdm import tqdm

from terralucas.data.archives import ARCHIVE_KINDS, LocalError, is_litter, require_archive, unpack
from terralucas.disk import locked
from terralucas.errors import StudyError
from terralucas.files import sha256_of_file
from terralucas.web_pages import describe_web_page, visible_text

log = logging.getLogger(__name__)

Source = dict[str, Any]

RETRIES = 5
TIMEOUT_SECONDS = (30.0, 120.0)  # to connect, and between two pieces of data
MANUAL_PATH = "resources/chips.tar.gz"  # where messages tell users to put a file that they downloaded themselves
MARKER = ".unpacked.json"
_STATUS_REMEDIES = {
    401: "the server asks for a sign-in: let the owner make the file public",
    403: "the server refuses access: let the owner make the file public, or correct the link",
    404: "correct the id or link: there is no such file any more",
    429: "the server limits downloads: wait some hours and run again",
}


@dataclass(frozen=True)
class Retrieval:
    """Where the chips of a study came from.

    Attributes:
        source: type of the source that worked (gdrive, url, archive, directory, simulated).
        origin: Drive file id, URL (without user, password and query), path, or the settings of the simulation.
        root: absolute path of the folder that holds the unpacked tree, or of the directory used in place.
        sha256: checksum of the archive; None for a directory.
        size_bytes: size of the archive, or of all files of the directory.
        checked: whether a checksum was given and matched.
        failures: one line for each source that was tried before in vain.
    """

    source: str
    origin: str
    root: str
    sha256: str | None
    size_bytes: int
    checked: bool
    failures: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The record as a dict of plain JSON values."""
        return asdict(self)


def retrieve(sources: list[Source], folder: Path, *, simulate: Callable[[Source, Path], None]) -> Retrieval:
    """Try the sources in order and return the first that gives an archive or directory of chips.

    Downloads stay in `folder`, are not repeated, and go on where they stopped; archives are unpacked to `folder/chips`,
    whole or not at all, and only if they changed. Processes that use the same folder wait for each other.

    Args:
        sources: validated settings, each with a `type` of gdrive, url, archive, directory or simulated.
        folder: where downloads and the unpacked tree live.
        simulate: writes the .tar.gz of a `simulated` source to the path it is given.

    Raises:
        StudyError: no source worked; the message tells for each what came, what was expected and what to do.
        LocalError: this machine lacks the space, or `folder/chips` holds files of someone else.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    errors: list[tuple[Source, StudyError]] = []
    with locked(folder):
        for source in sources:
            try:
                retrieval = _retrieve_one(source, folder, simulate)
            except LocalError:
                raise
            except StudyError as error:
                errors.append((source, error))
                log.warning("%s did not work: %s", _label(source), _one_line(error))
            else:
                failures = [f"{_label(source)}: {_one_line(error)}" for source, error in errors]
                return replace(retrieval, failures=failures)
    raise _all_failed(errors)


def _retrieve_one(source: Source, folder: Path, simulate: Callable[[Source, Path], None]) -> Retrieval:
    match source["type"]:
        case "directory":
            return _use_directory(source)
        case "archive":
            return _use_archive(source, _existing_file(source), folder)
        case "simulated":
            archive = folder / _archive_name(source)
            simulate(source, archive)
            return _use_archive(source, archive, folder)
        case "gdrive" | "url":
            return _use_download(source, folder)
        case other:
            raise ValueError(f"unknown type of source: {other}")


def _use_directory(source: Source) -> Retrieval:
    root = Path(source["path"]).expanduser().resolve()
    files = _files_of(root) if root.is_dir() else []
    if not files:
        raise StudyError(
            f"The directory of chips {root} cannot be used.",
            found="an empty folder" if root.is_dir() else "a file" if root.exists() else "nothing at this path",
            expected="a folder with files in it",
            remedy="correct `path`, or use `type: archive` for a file",
        )
    return Retrieval("directory", str(root), str(root), None, sum(path.stat().st_size for path in files), False)


def _existing_file(source: Source) -> Path:
    archive = Path(source["path"]).expanduser().resolve()
    if not (archive.is_file() and os.access(archive, os.R_OK)):
        raise StudyError(
            f"The archive {archive} cannot be used.",
            found="a folder" if archive.is_dir() else "no file that may be read at this path",
            expected=ARCHIVE_KINDS,
            remedy="correct `path`, or use `type: directory` for a folder",
        )
    return archive


def _use_download(source: Source, folder: Path) -> Retrieval:
    """Download, check and unpack; what fails a check is removed, and fetched anew unless it came whole just now."""
    archive = folder / _archive_name(source)
    while True:
        came_now = _fetch(source, archive)
        try:
            return _use_archive(source, archive, folder)
        except LocalError:
            raise
        except StudyError as error:
            archive.unlink()
            if came_now:
                raise
            log.warning("The kept download is no good and is fetched anew: %s", _one_line(error))


def _use_archive(source: Source, archive: Path, folder: Path) -> Retrieval:
    """Check an archive that is on this machine and unpack it to `folder/chips`."""
    size_bytes = archive.stat().st_size
    require_archive(archive)
    sha256, wanted = sha256_of_file(archive), source.get("sha256")
    if wanted and wanted.lower() != sha256:
        raise StudyError(
            f"The archive {archive.name} has the wrong checksum.",
            found=f"sha256 {sha256} ({size_bytes} bytes)",
            expected=f"sha256 {wanted.lower()}",
            remedy="get the file again; if its publisher changed it on purpose, put the new sha256 into the config",
        )
    root = str(_unpacked(archive, sha256, folder))
    return Retrieval(source["type"], _origin(source), root, sha256, size_bytes, bool(wanted))


def _unpacked(archive: Path, sha256: str, folder: Path) -> Path:
    """Folder `chips` with the tree of this archive, unpacked now or by an earlier call."""
    chips, unpacking, outdated = folder / "chips", folder / ".unpacking", folder / ".outdated"
    marker = chips / MARKER
    if not marker.exists() and chips.exists() and any(chips.iterdir()):
        raise LocalError(
            f"{chips} holds files that were not unpacked by this workflow, and is left as it is.",
            remedy="move it away; to use its chips, give its new place as `type: directory`",
        )
    if marker.exists() and marker.read_text() == _marker_text(sha256, chips):
        log.info("%s is already unpacked in %s", archive.name, chips)
        return chips
    # Under the lock, these can only be left over from a process that was killed.
    for leftover in filter(Path.exists, (unpacking, outdated)):
        shutil.rmtree(leftover)
    log.info("Unpacking %s to %s", archive, chips)
    unpack(archive, unpacking)
    (unpacking / MARKER).write_text(_marker_text(sha256, unpacking))
    if chips.exists():
        chips.rename(outdated)
    unpacking.rename(chips)
    shutil.rmtree(outdated, ignore_errors=True)
    return chips


def _files_of(root: Path) -> list[Path]:
    """Files below a folder, without hidden ones (the marker, macOS litter, time stamps of Snakemake)."""
    paths = (path for path in root.rglob("*") if not is_litter(path.relative_to(root)))
    return [path for path in paths if not path.name.startswith(".") and path.is_file()]


def _marker_text(sha256: str, root: Path) -> str:
    return json.dumps({"sha256": sha256, "files": len(_files_of(root))}) + "\n"


def _fetch(source: Source, archive: Path) -> bool:
    """Make the archive be there; True if all of it came over the network in this call."""
    if archive.is_file():
        log.info("%s was downloaded before: %s", _label(source), archive)
        return False
    while True:
        part = _one_part(archive)
        kept_bytes = part.stat().st_size if part else 0
        log.info("Downloading %s to %s, from byte %d on", _label(source), archive, kept_bytes)
        try:
            _download(source, archive)
            return kept_bytes == 0
        except (gdown.exceptions.DownloadError, requests.exceptions.RequestException) as error:
            # A refusal by the server's own words, without a broken connection behind it, and nothing was added.
            refused = type(error) is gdown.exceptions.DownloadError and error.__cause__ is None
            if not (part and kept_bytes and refused and part.stat().st_size == kept_bytes):
                # `from None`: the text of the original may show the query of a URL.
                raise _download_failed(source, error, archive) from None
            log.warning("%s cannot go on from byte %d and is started anew", _label(source), kept_bytes)
            part.unlink()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise LocalError(
                f"There is not enough disk space to download {_label(source)}.",
                found=f"{shutil.disk_usage(archive.parent).free / 1e9:.2f} GB free in {archive.parent}",
                remedy="free some space and run again: the download goes on where it stopped",
            ) from None


def _download(source: Source, archive: Path) -> None:
    """Download with gdown, which resumes, retries, and renames the file when all of its bytes are there."""
    where = {"id": source["id"]} if source["type"] == "gdrive" else {"url": source["url"]}
    with tqdm(unit="B", unit_scale=True, desc=f"Downloading {archive.name}") as bar, _no_secrets_logged():

        def show(received: int, total: int | None) -> None:
            bar.total = total
            bar.update(received - bar.n)

        # quiet: gdown would write whole URLs to stderr, tokens included; hence the bar of our own.
        gdown.download(
            **where,
            output=str(archive),
            quiet=True,
            resume=True,
            use_cookies=False,
            progress=show,
            timeout=TIMEOUT_SECONDS,
            retries=RETRIES,
        )


def _one_part(archive: Path) -> Path | None:
    """The partial download of an archive; of several (gdown refuses to choose) the largest, the others are removed."""
    pattern = glob.escape(archive.name) + "?" * 8 + ".part"
    parts = sorted(archive.parent.glob(pattern), key=lambda path: path.stat().st_size)
    for part in parts[:-1]:
        log.info("Removing the smaller partial download %s", part)
        part.unlink()
    return parts[-1] if parts else None


def _download_failed(source: Source, error: Exception, archive: Path) -> StudyError:
    found = _what_came(error)
    remedy = "check that this machine reaches the server (compute nodes often do not), and run again later"
    if isinstance(error, requests.exceptions.HTTPError):
        remedy = _STATUS_REMEDIES.get(error.response.status_code, remedy)
    elif isinstance(error, gdown.exceptions.FileURLRetrievalError):
        page = _page_at(f"https://drive.google.com/uc?id={source['id']}") if source["type"] == "gdrive" else None
        found = f"{found} ({page})" if page else found
        remedy = "let the owner share the file with 'Anyone with the link'; if a quota is reached, wait a day"
    elif (part := _one_part(archive)) and part.stat().st_size:
        remedy += f"; the {part.stat().st_size} bytes that came are kept, and the download goes on from there"
    return StudyError("The download failed.", found=found, expected=ARCHIVE_KINDS, remedy=remedy)


def _what_came(error: Exception) -> str:
    """One line on a failed download, without the query of any URL."""
    if isinstance(error, gdown.exceptions.FileURLRetrievalError):
        # gdown wraps the sentence of Google's page in advice of its own.
        return visible_text(str(error.__context__ or error))
    cause = error.__cause__ if isinstance(error, gdown.exceptions.DownloadError) else error
    if cause is None or isinstance(cause, requests.exceptions.ChunkedEncodingError):
        return _without_secrets(str(error).splitlines()[0])
    if isinstance(cause, requests.exceptions.HTTPError):
        return f"HTTP status {cause.response.status_code} {cause.response.reason}"
    # requests puts the path and query of the URL around the reason that urllib3 gives.
    reason = getattr(cause.args[0], "reason", None) if cause.args else None
    text = re.sub(r"^\w+\(host=.*?\): ", "", str(reason or cause))
    return f"no usable connection: {_without_secrets(text)}"


def _page_at(url: str) -> str | None:
    """What a server answers, in words; None if it does not answer. gdown keeps neither status nor page."""
    try:
        with requests.get(url, stream=True, timeout=TIMEOUT_SECONDS) as response:
            head = next(response.iter_content(2**16), b"")
    except requests.exceptions.RequestException:
        return None
    return ", ".join(filter(None, [f"HTTP status {response.status_code} {response.reason}", describe_web_page(head)]))


def _without_secrets(text: str) -> str:
    """The text without user, password, query and fragment of the URLs (and paths of URLs) in it."""
    return re.sub(r"[?#]\S*", "", re.sub(r"//[^/?#\s]*@", "//", text))


class _SecretsFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _without_secrets(record.getMessage()), ()
        return True


@contextlib.contextmanager
def _no_secrets_logged() -> Iterator[None]:
    """While it lasts, urllib3 logs paths without their query (at level DEBUG, it logs every request)."""
    logger, secrets_filter = logging.getLogger("urllib3.connectionpool"), _SecretsFilter()
    logger.addFilter(secrets_filter)
    try:
        yield
    finally:
        logger.removeFilter(secrets_filter)


def _origin(source: Source) -> str:
    match source["type"]:
        case "gdrive":
            return source["id"]
        case "url":
            return _without_secrets(source["url"])
        case "simulated":
            return f"{source['chips']} chips of {source['size_px']} px, seed {source['seed']}"
        case _:
            return str(Path(source["path"]).expanduser().resolve())


def _label(source: Source) -> str:
    return f"{source['type']} {_origin(source)}"


def _archive_name(source: Source) -> str:
    """File name of a source's archive: the same for the same source, and another for every other source."""
    match source["type"]:
        case "gdrive":
            return "gdrive-" + re.sub(r"[^\w-]", "_", source["id"]) + ".archive"
        case "url":
            # The query may tell two files apart, but must not show.
            digest = hashlib.sha256(source["url"].encode()).hexdigest()[:12]
            basename = re.sub(r"[^\w.-]", "_", _origin(source).rpartition("/")[2])[-80:]
            return f"url-{digest}-{basename}"
        case _:
            return "simulated-{chips}-{size_px}-{seed}.tar.gz".format(**source)


def _one_line(error: StudyError) -> str:
    found = f" Found: {error.found.rstrip('.')}." if error.found else ""
    return " ".join(f"{error.problem}{found}".split())


def _all_failed(errors: list[tuple[Source, StudyError]]) -> StudyError:
    lines = ["None of the sources of the data worked:"]
    for number, (source, error) in enumerate(errors, start=1):
        lines.append(f"{number}. {_label(source)}: {error}")
        if source["type"] in ("gdrive", "url"):
            configured = f"{_origin(source)} (in full as configured)"
            link = f"https://drive.google.com/file/d/{source['id']}/view" if "id" in source else configured
            manual = f"{{type: archive, path: {MANUAL_PATH}}}"
            lines.append(f"  by hand: open {link} in a browser, save the file as {MANUAL_PATH},")
            lines.append(f"    and put {manual} first in the list of sources")
    return StudyError("\n".join(lines))
