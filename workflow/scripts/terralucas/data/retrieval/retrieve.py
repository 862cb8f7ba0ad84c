"""Retrieve the chips of a study from the first source that works."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from terralucas.contents import states_of, without_inodes
from terralucas.data.discovery.folders import list_files, walk
from terralucas.data.retrieval.archive_kinds import ARCHIVE_KINDS, require_archive
from terralucas.data.retrieval.archives import LocalError, unpack
from terralucas.data.retrieval.downloads import ensure_downloaded
from terralucas.data.retrieval.sources import Source, archive_name, label_of, origin_of
from terralucas.errors import StudyError, printable
from terralucas.files import real_path, sha256_of_file, sha256_of_json
from terralucas.folder_locks import locked

log = logging.getLogger(__name__)

MANUAL_PATH = "resources/chips.tar.gz"  # where messages ask users to save a file that they download themselves
MARKER = ".unpacked.json"

# What to do about a file that is no archive, by the type of its source.
_DOWNLOAD_REMEDY = "open its link in a browser: it may need a sign-in, or its quota may be reached (then wait a day)"
_ARCHIVE_REMEDIES = {
    "gdrive": _DOWNLOAD_REMEDY,
    "url": _DOWNLOAD_REMEDY,
    "archive": "correct `path`, or use `type: directory` for a folder of chips",
    "simulated": "delete it and start again; it is made again",
}


@dataclass(frozen=True)
class Retrieval:
    """The origin of the chips of a study.

    Attributes:
        source: type of the source that worked (gdrive, url, archive, directory, simulated).
        origin: Drive file id, URL (without user, password and query), path of an archive as it is configured, path of a
            directory without links, or the settings of the simulation.
        root: path of the folder that holds the unpacked tree, in `folder` of `retrieve` as it was given, so that a path
            relative to the project stays right where the project is moved; or the absolute path of the directory used
            in place.
        sha256: checksum of the archive; None for a directory.
        size_bytes: size of the archive, or of all files of the directory.
        checked: whether a checksum was configured and agreed.
        failures: one line for each source that was tried before and failed.
    """

    source: str
    origin: str
    root: str
    sha256: str | None
    size_bytes: int
    checked: bool
    failures: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the record as a dictionary of JSON values."""
        return asdict(self)


def retrieve(sources: list[Source], folder: Path, *, simulate: Callable[[Source, Path], None]) -> Retrieval:
    """Try the sources in their order, and return the result of the first one that works.

    Downloads are kept in `folder`; an interrupted download is resumed, and a complete one is not repeated. Archives are
    unpacked to `folder/chips` atomically, and only if they have changed. Processes that use the same folder wait for
    each other.

    Args:
        sources: validated settings; the `type` of each is gdrive, url, archive, directory or simulated.
        folder: folder of the downloads and the unpacked chips.
        simulate: function that writes the .tar.gz archive of a `simulated` source to a path.

    Raises:
        StudyError: no source works; the message has found, expected and what to do for each source.
        LocalError: the disk is too small, or `folder/chips` contains files that this workflow did not unpack.
    """
    given, folder = folder, folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    errors: list[tuple[Source, StudyError]] = []
    with locked(folder, "downloads into"):
        for source in sources:
            try:
                retrieval = _retrieve_one(source, folder, simulate)
            except LocalError:
                raise
            except StudyError as error:
                errors.append((source, error))
                log.warning("%s did not work: %s", label_of(source), _one_line(error))
            else:
                failures = [f"{label_of(source)}: {_one_line(error)}" for source, error in errors]
                root = Path(retrieval.root)
                if retrieval.source != "directory":
                    root = given / root.relative_to(folder)
                return replace(retrieval, root=str(root), failures=failures)
    raise _combine_errors(errors)


def require_local_source(sources: list[Source]) -> None:
    """Raise a StudyError if all sources are on this machine, and none of them can be used; nothing is unpacked."""
    errors: list[tuple[Source, StudyError]] = []
    for source in sources:
        try:
            if source["type"] == "directory":
                _use_directory(source)
            elif source["type"] == "archive":
                require_archive(_require_file(source), _ARCHIVE_REMEDIES["archive"])
            return
        except StudyError as error:
            errors.append((source, error))
    raise _combine_errors(errors)


def _retrieve_one(source: Source, folder: Path, simulate: Callable[[Source, Path], None]) -> Retrieval:
    match source["type"]:
        case "directory":
            return _use_directory(source)
        case "archive":
            return _use_archive(source, _require_file(source), folder)
        case "simulated":
            archive = folder / archive_name(source)
            simulate(source, archive)
            return _use_archive(source, archive, folder)
        case "gdrive" | "url":
            return _use_download(source, folder)
        case other:
            raise ValueError(f"unknown type of source: {other}")


def _use_directory(source: Source) -> Retrieval:
    root = real_path(source["path"])
    tree = walk(root) if root.is_dir() else None
    if tree is not None:
        tree.require_readable(root)
    if tree is None or not (tree.files or tree.others):
        raise StudyError(
            f"The directory of chips {root} cannot be used.",
            found="an empty folder" if tree is not None else "a file" if root.exists() else "nothing at this path",
            expected="a folder that contains files",
            remedy="correct `path`, or use `type: archive` for a file",
        )
    if printable(str(root)) != str(root):
        raise StudyError(
            f"The directory of chips {root} has a name that is not UTF-8.",
            expected="a path in UTF-8, also where links lead to",
            remedy="rename the folder in UTF-8",
        )
    size_bytes = sum((root / file).stat().st_size for file in tree.files)
    return Retrieval("directory", str(root), str(root), None, size_bytes, False)


def _require_file(source: Source) -> Path:
    archive = real_path(source["path"])
    if not (archive.is_file() and os.access(archive, os.R_OK)):
        raise StudyError(
            f"The archive {archive} cannot be used.",
            found="a folder" if archive.is_dir() else "no readable file at this path",
            expected=ARCHIVE_KINDS,
            remedy="correct `path`, or use `type: directory` for a folder",
        )
    return archive


def _use_download(source: Source, folder: Path) -> Retrieval:
    """Download, check and unpack an archive.

    A complete download with another checksum than the configured one is kept, because the checksum may be the mistake.
    An earlier download that fails a check is downloaded again, and only deleted when the new one is complete.
    """
    archive = folder / archive_name(source)
    earlier = archive.with_name(f".{archive.name}.earlier")
    if earlier.exists() and not archive.exists():  # of a process that was killed
        earlier.rename(archive)
    refused: StudyError | None = None
    try:
        while True:
            try:
                is_new = ensure_downloaded(source, archive)
            except StudyError as error:
                raise _add_earlier(error, refused) from None
            try:
                retrieval = _use_archive(source, archive, folder)
            except LocalError:
                raise
            except StudyError as error:
                if is_new and isinstance(error, _ChecksumError):
                    earlier.unlink(missing_ok=True)
                elif is_new or earlier.exists():
                    archive.unlink()
                else:
                    archive.rename(earlier)
                if is_new:
                    raise
                log.warning("The earlier download is not usable and is fetched again: %s", _one_line(error))
                refused = refused or error
            else:
                earlier.unlink(missing_ok=True)
                return retrieval
    finally:
        if earlier.exists() and not archive.exists():
            earlier.rename(archive)


class _ChecksumError(StudyError):
    """An archive is complete, but has another checksum than the configured one."""


def _add_earlier(error: StudyError, refused: StudyError | None) -> StudyError:
    """Return the error of a failed download, with why an earlier download was not used."""
    if refused is None or isinstance(error, LocalError):
        return error
    return StudyError(
        error.problem,
        found=f"{error.found}; the earlier download is kept, but is not usable: {_one_line(refused)}",
        expected=error.expected,
        remedy=f"{error.remedy}; or, if the sha256 in the configuration is wrong, correct it"
        if isinstance(refused, _ChecksumError)
        else error.remedy,
    )


def _use_archive(source: Source, archive: Path, folder: Path) -> Retrieval:
    """Check an archive on this machine, and unpack it to `folder/chips`."""
    size_bytes = archive.stat().st_size
    require_archive(archive, _ARCHIVE_REMEDIES[source["type"]])
    sha256, expected = sha256_of_file(archive), source.get("sha256")
    if expected and expected.lower() != sha256:
        raise _ChecksumError(
            f"The archive {archive.name} has the wrong checksum.",
            found=f"sha256 {sha256} ({size_bytes} bytes)",
            expected=f"sha256 {expected.lower()}",
            remedy="if the file was changed on purpose, put the new sha256 into the config; if not, "
            + ("correct `path`" if source["type"] == "archive" else "start again"),
        )
    root = str(_unpack_if_changed(archive, sha256, folder))
    # As configured, so that a path in the project stays right where the project is moved.
    origin = source["path"] if source["type"] == "archive" else origin_of(source)
    return Retrieval(source["type"], origin, root, sha256, size_bytes, bool(expected))


def _unpack_if_changed(archive: Path, sha256: str, folder: Path) -> Path:
    """Return the folder `chips` with the files of an archive; unpack the archive unless an earlier call did so."""
    chips, unpacking, outdated = folder / "chips", folder / ".unpacking", folder / ".outdated"
    marker = chips / MARKER
    if not marker.exists() and chips.exists() and any(chips.iterdir()):
        raise LocalError(
            f"The folder {chips} contains files that were not unpacked by this workflow; it was not changed.",
            remedy="move the folder; to use its chips, add a source with `type: directory` and its new path",
        )
    if marker.exists() and marker.read_text() == _marker_text(sha256, chips):
        log.info("%s is already unpacked in %s", archive.name, chips)
        return chips
    # Because of the lock, these folders can only be from a process that was killed.
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


def _marker_text(sha256: str, root: Path) -> str:
    """Return what tells whether a folder still has what was unpacked: the archive, and sizes and times of the files."""
    files = list_files(root)
    states = states_of({str(file): root / file for file in files})
    # A drive that gives other inodes would have the archive unpacked at each start.
    recorded = without_inodes(states)
    return json.dumps({"sha256": sha256, "files": len(files), "states": sha256_of_json(recorded)}) + "\n"


def _one_line(error: StudyError) -> str:
    found = f" Found: {error.found.rstrip('.')}." if error.found else ""
    return " ".join(f"{error.problem}{found}".split())


def _combine_errors(errors: list[tuple[Source, StudyError]]) -> StudyError:
    lines = ["No source of the chips worked:"]
    for number, (source, error) in enumerate(errors, start=1):
        lines.append(f"{number}. {label_of(source)}: {error}")
        if source["type"] in ("gdrive", "url"):
            configured = f"{origin_of(source)} (in full as configured)"
            link = f"https://drive.google.com/file/d/{source['id']}/view" if "id" in source else configured
            manual = f"{{type: archive, path: {MANUAL_PATH}}}"
            lines.append(f"  do it yourself: open {link} in a browser, save the file as {MANUAL_PATH},")
            lines.append(f"    and add {manual} as the first source in dataset.sources")
    return StudyError("\n".join(lines))
