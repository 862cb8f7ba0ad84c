"""Download the archive of a source."""

from __future__ import annotations

import contextlib
import glob
import logging
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import gdown
import requests
from tqdm import tqdm

from terralucas.data.retrieval.archive_kinds import ARCHIVE_KINDS
from terralucas.data.retrieval.archives import LocalError
from terralucas.data.retrieval.download_versions import AnotherVersionError, version_file, watch_version
from terralucas.data.retrieval.sources import Source, label_of, remove_secrets
from terralucas.disk import NO_SPACE, size_text
from terralucas.errors import StudyError
from terralucas.file_kinds import describe_web_page, visible_text

log = logging.getLogger(__name__)

RETRIES = 5
# How often a download starts at the beginning because the server does not send the rest of the file.
_MOST_REFUSALS = 2
TIMEOUT_SECONDS = (30.0, 120.0)  # to connect, and between two blocks of data
_STATUS_REMEDIES = {
    401: "the server asks for a sign-in: ask the owner to make the file public",
    403: "the server refuses access: ask the owner to make the file public, or correct the link",
    404: "correct the id or link: the file does not exist (any more)",
    429: "the server limits downloads: wait some hours and run again",
}


def ensure_downloaded(source: Source, archive: Path) -> bool:
    """Download an archive if it does not exist; return whether all of it was downloaded in this call.

    An interrupted download goes on where it stopped, if the server can.

    Args:
        source: settings of a source whose type is gdrive or url.
        archive: file to write.

    Raises:
        StudyError: the download failed.
        LocalError: the disk is too small.
    """
    if archive.is_file():
        log.info("%s was downloaded before: %s", label_of(source), archive)
        return False
    restarts = refusals = 0
    while True:
        part = _find_partial_download(archive)
        kept_bytes = part.stat().st_size if part else 0
        log.info("Downloading %s to %s, starting at byte %d", label_of(source), archive, kept_bytes)
        try:
            with watch_version(archive, partial(_find_partial_download, archive), bool(source.get("sha256"))):
                _download(source, archive)
            version_file(archive).unlink(missing_ok=True)
            return kept_bytes == 0
        except AnotherVersionError:
            part = _find_partial_download(archive)
            if part:
                part.unlink()
            restarts += 1
            if restarts > max(RETRIES, 1):
                raise StudyError(
                    "The download failed.",
                    found=f"a connection that broke {restarts} times, and a file that changes on the server or whose "
                    "version the server does not name, so that the download cannot go on where it stopped",
                    expected="a connection that holds, or a server that names the version of the file (ETag)",
                    remedy="give the sha256 of the file in the configuration: the download then goes on where it "
                    "stopped; or download the file yourself, and use `type: archive`",
                ) from None
            log.warning("%s has changed on the server, so that its download is started again", label_of(source))
        except (gdown.exceptions.DownloadError, requests.exceptions.RequestException) as error:
            part = _find_partial_download(archive)
            if not (part and part.stat().st_size and _is_refusal(error)):
                # `from None`: the original error may show the query of a URL, which can contain a password.
                raise _download_error(source, error, archive) from None
            received = part.stat().st_size
            part.unlink()
            refusals += 1
            if refusals > _MOST_REFUSALS:
                raise StudyError(
                    "The download failed.",
                    found=f"a connection that broke at byte {received}, and a server that does not send the rest of a "
                    "file, so that the download cannot go on where it stopped",
                    expected="a connection that holds, or a server that sends the rest of a file (Range)",
                    remedy="run again later, which starts at the beginning; or download the file yourself, and use "
                    "`type: archive`",
                ) from None
            log.warning("The download of %s cannot resume at byte %d and is started again", label_of(source), received)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            raise LocalError(
                f"There is not enough disk space to download {label_of(source)}.",
                found=f"{size_text(shutil.disk_usage(archive.parent).free)} free in {archive.parent}",
                remedy="free some space and run again; the download resumes where it stopped",
            ) from None


def _is_refusal(error: Exception) -> bool:
    """Return whether a server was asked for the rest of a file, and sent something else."""
    # Without another cause, such as a broken connection.
    is_alone = type(error) is gdown.exceptions.DownloadError and error.__cause__ is None
    return is_alone and "requested byte range" in str(error)


def _download(source: Source, archive: Path) -> None:
    """Download with gdown, which resumes, retries, and renames the file when it is complete."""
    address = {"id": source["id"]} if source["type"] == "gdrive" else {"url": source["url"]}
    with tqdm(unit="B", unit_scale=True, desc=f"Downloading {archive.name}") as bar, _hide_secrets_in_logs():

        def update_bar(received: int, total: int | None) -> None:
            bar.total = total
            bar.update(received - bar.n)

        # `quiet`, because gdown would write complete URLs to standard error, including tokens; we show our own bar.
        gdown.download(
            **address,
            output=str(archive),
            quiet=True,
            resume=True,
            use_cookies=False,
            progress=update_bar,
            timeout=TIMEOUT_SECONDS,
            retries=RETRIES,
        )


def _find_partial_download(archive: Path) -> Path | None:
    """Return the partial download of an archive.

    If there are several, gdown raises an error; therefore all but the largest one are deleted.
    """
    pattern = glob.escape(archive.name) + "?" * 8 + ".part"
    parts = sorted(archive.parent.glob(pattern), key=lambda path: path.stat().st_size)
    for part in parts[:-1]:
        log.info("Removing the smaller partial download %s", part)
        part.unlink()
    return parts[-1] if parts else None


def _download_error(source: Source, error: Exception, archive: Path) -> StudyError:
    found = _describe_failure(error)
    remedy = "check that this machine reaches the server (compute nodes often do not), and run again later"
    if isinstance(error, requests.exceptions.HTTPError):
        remedy = _STATUS_REMEDIES.get(error.response.status_code, remedy)
    elif isinstance(error, gdown.exceptions.FileURLRetrievalError):
        page = (
            _describe_answer(f"https://drive.google.com/uc?id={source['id']}") if source["type"] == "gdrive" else None
        )
        found = f"{found} ({page})" if page else found
        remedy = "ask the owner to share the file with 'Anyone with the link'; if a quota is reached, wait a day"
    elif (part := _find_partial_download(archive)) and part.stat().st_size:
        received = part.stat().st_size
        remedy += f"; the {received} bytes received so far are kept, and the download goes on there if the server can"
    return StudyError("The download failed.", found=found, expected=ARCHIVE_KINDS, remedy=remedy)


def _describe_failure(error: Exception) -> str:
    """Describe a failed download in one line, without the query of any URL."""
    if isinstance(error, gdown.exceptions.FileURLRetrievalError):
        # gdown adds its own advice to the sentence of Google's page.
        return visible_text(str(error.__context__ or error))
    cause = error.__cause__ if isinstance(error, gdown.exceptions.DownloadError) else error
    if cause is None or isinstance(cause, requests.exceptions.ChunkedEncodingError):
        return remove_secrets(str(error).splitlines()[0])
    if isinstance(cause, requests.exceptions.HTTPError):
        return f"HTTP status {cause.response.status_code} {cause.response.reason}"
    # `requests` adds the path and the query of the URL to the reason that urllib3 gives.
    reason = getattr(cause.args[0], "reason", None) if cause.args else None
    text = re.sub(r"^\w+\(host=.*?\): ", "", str(reason or cause))
    return f"no usable connection: {remove_secrets(text)}"


def _describe_answer(url: str) -> str | None:
    """Describe the answer of a server, because gdown keeps neither status nor page; None without an answer."""
    try:
        with requests.get(url, stream=True, timeout=TIMEOUT_SECONDS) as response:
            head = next(response.iter_content(2**16), b"")
    except requests.exceptions.RequestException:
        return None
    return ", ".join(filter(None, [f"HTTP status {response.status_code} {response.reason}", describe_web_page(head)]))


class _SecretsFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = remove_secrets(record.getMessage()), ()
        return True


@contextlib.contextmanager
def _hide_secrets_in_logs() -> Iterator[None]:
    """Remove secrets from the log messages of urllib3, which logs every request at level DEBUG."""
    logger, secrets_filter = logging.getLogger("urllib3.connectionpool"), _SecretsFilter()
    logger.addFilter(secrets_filter)
    try:
        yield
    finally:
        logger.removeFilter(secrets_filter)
