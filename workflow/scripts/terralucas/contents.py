"""Tell whether files outside the results still have the content that a study has read.

A rule that reads such files has a token as a parameter, and Snakemake reruns it when the token changes. The token
depends on what is in the files. Times only decide which files are read again to find out.
"""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from terralucas.disk import explain
from terralucas.files import sha256_of_file, sha256_of_json, write_text

# Beside the record of the retrieval: what a study has read of local sources, and where they are now.
SOURCE_FILES = "source_files.json"


# In place of the checksum of a file that changed while a study read it.
_CHANGED = "changed while it was read"


class FileState(NamedTuple):
    """Size in bytes, and times of the last change in nanoseconds, of a file.

    Attributes:
        size: size in bytes.
        mtime_ns: time of the last change of the content, which programs can set.
        ctime_ns: time of the last change of the content or of what the system knows of the file, such as its name: two
            files that were exchanged may have the same size and the same `mtime_ns`.
        inode: number of the file on its disk. It tells files that have one size and one time: many disks count times in
            steps of a second, and exchanged folders leave the times of the files in them. Some network drives change
            it, so that it is no part of a token.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @property
    def recorded(self) -> list[int]:
        """What a record has of the state."""
        return [self.size, self.mtime_ns, self.ctime_ns, self.inode]

    @property
    def identity(self) -> tuple[int, int, int]:
        """What tells a file from another one within minutes. Links and rights, which a backup changes, do not count."""
        return self.size, self.mtime_ns, self.inode


States = Mapping[str, FileState]


def states_of(files: Mapping[str, Path]) -> dict[str, FileState]:
    """Return the states of the files that exist, by their names.

    What is no file counts as absent: to read a FIFO would take for ever.
    """
    states = {}
    for name, path in files.items():
        with contextlib.suppress(OSError):
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                continue
            states[name] = FileState(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return states


def recorded_of(states: States) -> dict[str, list[int]]:
    """Return what a record has of the states of files."""
    return {name: state.recorded for name, state in states.items()}


def without_inodes(states: States) -> dict[str, list[int]]:
    """Return what of the states of files stays the same as long as nobody touches them: sizes and times."""
    return {name: [state.size, state.mtime_ns, state.ctime_ns] for name, state in states.items()}


def identities_of(states: States) -> dict[str, tuple[int, int, int]]:
    """Return what tells files from others within minutes."""
    return {name: state.identity for name, state in states.items()}


class Before(NamedTuple):
    """Files before they are read.

    Attributes:
        files: paths by name.
        states: their states.
        sha256: checksums of GDAL's metadata files, which are small, and which viewers write again.
    """

    files: Mapping[str, Path]
    states: States
    sha256: Mapping[str, str]


def look_at(files: Mapping[str, Path], digest: Callable[[Path], str]) -> Before:
    """Return what is known of files before they are read.

    Args:
        files: paths by name.
        digest: as for `write_record`.
    """
    states, sha256 = states_of(files), {}
    for name in states:
        if name.lower().endswith(".xml"):
            with contextlib.suppress(FileNotFoundError):
                sha256[name] = digest(files[name])
    return Before(files, states, sha256)


def read_record(path: Path) -> dict[str, Any] | None:
    """Return a record of `write_record`; None if there is none, or if it is damaged.

    Raises:
        StudyError: it is there, and cannot be read.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return record if isinstance(record, dict) else None
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise explain(error) or error from None


def write_record(
    path: Path,
    token: str,
    origin: str | None,
    files: Mapping[str, Path],
    states: States,
    sha256: Mapping[str, str],
    digest: Callable[[Path], str] = sha256_of_file,
    retrieved: str | None = None,
) -> None:
    """Record which files a study has read.

    A file that changed after its state was taken, and whose checksum is not known, may have been read before or after
    that: it counts as changed at the next start.

    Args:
        path: the record.
        token: the token of the files when they were read.
        origin: folder or file that was read, as it is configured; None if the study reads no file outside the results.
        files: paths by name.
        states: states of the files before they were read.
        sha256: checksums by name that were known before, or belong to what was read; the others are computed.
        digest: returns the checksum of what is read of a file; it is empty if nothing is.
        retrieved: folder that retrieval.json named when the files were read; None for other files than chips.
    """
    entries = {
        name: [
            *state.recorded,
            sha256[name] if name in sha256 else _digest_unchanged(files[name], state, digest),
        ]
        for name, state in states.items()
    }
    write_text(path, json.dumps({"token": token, "origin": origin, "files": entries, "retrieved": retrieved}) + "\n")


def _digest_unchanged(path: Path, state: FileState, digest: Callable[[Path], str]) -> str:
    """Return the checksum of a file; if it no longer has this state, a text that is no checksum."""
    with contextlib.suppress(FileNotFoundError):
        sha256 = digest(path)
        # After the reading, which takes time.
        now = states_of({"file": path}).get("file")
        if now is not None and now.identity == state.identity:
            return sha256
    return _CHANGED


def forget_place(path: Path) -> None:
    """Let a record no longer say where its files are now: others may have been retrieved to their first place since.

    Args:
        path: the record; nothing is done if it is not there.
    """
    known = read_record(path)
    if known is not None:
        write_text(path, json.dumps(known | {"retrieved": None}) + "\n")


def token_elsewhere(
    path: Path, origin: str, files: Mapping[str, Path], digest: Callable[[Path], str] = sha256_of_file
) -> str | None:
    """Return the recorded token if files at another place have the recorded content; None if they do not.

    The record then says where they are now.

    Args:
        path: the record.
        origin: folder or file that would be read now, as it is configured.
        files: paths by name, of all files that would be read there.
        digest: as for `write_record`.
    """
    known = read_record(path)
    if (
        known is None
        or not _is_of_files(known)
        or not known["files"]
        or not states_of(files)
        or token_of(path, files, digest) != known["token"]
    ):
        return None
    # The record may be on a disk that is read-only.
    with contextlib.suppress(OSError):
        write_text(path, json.dumps((read_record(path) or known) | {"origin": origin}) + "\n")
    return str(known["token"])


def token_of_absent(path: Path, files: Mapping[str, Path], digest: Callable[[Path], str] = sha256_of_file) -> str:
    """Return the token of files about which a record says nothing, because it is of others."""
    known = read_record(path)
    token = token_of(path.with_name(f"{path.name}.absent"), files, digest)
    # Others may have the names, sizes and times of the recorded ones.
    return token if known is None else unlike(token, known.get("token"))


def unlike(token: Any, recorded: Any) -> str:
    """Return a token, as a text, that differs from the recorded one, so that a rule runs again.

    The same configuration may have given the recorded token before. The record was then kept for another configuration
    that changed nothing, and describes what was made with that one since.
    """
    return str(token) if str(token) != str(recorded) else f"{token}, again"


def token_of(path: Path, files: Mapping[str, Path], digest: Callable[[Path], str] = sha256_of_file) -> str:
    """Return the token of files: the recorded one, if their content is the recorded one.

    A file whose size, times and inode are the recorded ones is not read. Without a record, nothing is read: the token
    then only has to stay the same until the record is written. If no file is there, their folder is away for now, and
    the token stays as it was, because that does not change what was read.

    Args:
        path: the record.
        files: paths by name, of all files that would be read now.
        digest: as for `write_record`.
    """
    states, record = states_of(files), read_record(path)
    if record is None or not _is_of_files(record):
        return sha256_of_json(without_inodes(states))
    recorded = record["files"]
    if not states or not recorded:
        return record["token"]
    changed = [name for name, state in states.items() if state.recorded != recorded.get(name, [])[:-1]]
    # The bar appears only where it takes long: thousands of chips that were copied without their times.
    bar = tqdm(changed, desc="Comparing files whose times or inodes have changed", delay=5)
    known = {name: entry for name, entry in recorded.items() if name in states}
    entries = known | {name: [*states[name].recorded, digest(files[name])] for name in bar}
    now, before = ({name: entry[-1] for name, entry in each.items() if entry[-1]} for each in (entries, recorded))
    if now != before:
        return sha256_of_json(now)
    if entries != recorded:
        # Only to spare the next start the reading; the folder may be read-only.
        with contextlib.suppress(OSError):
            write_text(path, json.dumps(record | {"files": entries}) + "\n")
    return record["token"]


def _is_of_files(record: Mapping[str, Any]) -> bool:
    """Return whether a record has the form of `write_record`; one that somebody has changed may not."""
    files = record.get("files")
    return (
        "token" in record
        and isinstance(files, dict)
        and all(isinstance(entry, list) and entry for entry in files.values())
    )


def are_random_weights(record: Mapping[str, Any]) -> bool:
    """Return whether weights are random: drawn by the study, or those of a file that was never trained.

    Args:
        record: of `terralucas.backbones.weights.obtain`.
    """
    return record["source"] == "random" or bool(record.get("untrained"))


def content_of_weights(record: Mapping[str, Any]) -> Any:
    """Return what tells weights from others: of a file, what is in it, and not where it lies.

    Args:
        record: of `terralucas.backbones.weights.obtain`.
    """
    return record.get("sha256") or [record.get("source"), record.get("seed")]
