"""Fetch backbone weights once on the head node, check them, and describe them in a record for offline jobs."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from terralucas.backbones.checkpoint_files import refuse_damaged, refuse_other_file
from terralucas.backbones.hub import HubFile, download, is_sha256, repo_folder, request_state
from terralucas.contents import read_record, token_elsewhere, token_of, token_of_absent
from terralucas.errors import StudyError
from terralucas.files import real_path, sha256_of_file, sha256_of_json
from terralucas.folder_locks import locked

logger = logging.getLogger(__name__)

_CHECKSUM_REMEDIES = {
    "file": "set path to the expected file, or correct sha256, in backbones.<name>.weights",
    "huggingface": "delete this download and start again; if the checksum stays the same, correct "
    "backbones.<name>.weights",
}

_DAMAGE_REMEDIES = {
    "file": "copy or download the file again, and compare its checksum (sha256sum) with that of its source; this "
    "one is not changed",
    "huggingface": "delete this download and start again",
}


def obtain(weights: Mapping[str, Any], cache: Path, earlier: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Fetch the weights of a backbone if they are not on the disk, and check them.

    Args:
        weights: the section `weights` of a backbone.
        cache: folder of downloads, shared by all studies of this working directory.
        earlier: record of an earlier call for the same backbone. Where it is of the same settings, its commit is
            fetched, and not what the branch leads to now: what the study has made is of that commit.

    Returns:
        Record of the weights, with `source`, `path`, `sha256` and other keys; `path` is None for random weights.

    Raises:
        StudyError: the file is missing, can't be fetched, is no checkpoint, is damaged, or has another checksum than
            expected.
    """
    if weights["source"] == "random":
        return {"source": "random", "seed": weights["seed"], "path": None, "sha256": None}
    if weights["source"] == "file":
        path = real_path(weights["path"])
        origin: dict[str, Any] = {}
        _require_file(path)
    else:
        path, origin = _fetch(weights, cache, _revision(weights, earlier))
    refuse_other_file(path, weights)
    sha256 = sha256_of_file(path)
    expected = weights["sha256"] or origin.pop("hub_sha256", None)
    if expected is not None and sha256 != expected:
        raise StudyError(
            f"The backbone's weights {path.resolve()} are not the expected ones: their checksum differs.",
            found=f"sha256 {sha256}",
            expected=f"sha256 {expected}",
            remedy=_CHECKSUM_REMEDIES[weights["source"]],
        )
    if expected is None:
        refuse_damaged(path, _DAMAGE_REMEDIES[weights["source"]])
    origin.pop("hub_sha256", None)
    return {
        "source": weights["source"],
        "path": str(path),
        "sha256": sha256,
        "size_bytes": path.stat().st_size,
        **origin,
    }


def files_of_weights(weights: Mapping[str, Any]) -> dict[str, Path]:
    """Return the user's own weights file by its name; empty for other sources, whose files are checked by their sum."""
    return {"weights": Path(weights["path"]).expanduser()} if weights["source"] == "file" else {}


def settings_of_weights(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide what the weights are: for a file, what is in it, and not where it lies.

    Whether the file has the expected checksum is part of `token_of_weights`.
    """
    return {key: value for key, value in weights.items() if key not in ("path", "sha256")}


def token_of_weights(weights: Mapping[str, Any], record: Path, files_record: Path, link: Path) -> str:
    """Return a token of the content of weights, which stays the same where only their path or their pin is another.

    If the user's own file is at another path now, the link leads there.

    Args:
        weights: the section `weights` of the backbone.
        record: the record of the weights, which says their checksum.
        files_record: record of the user's own file, as `terralucas.contents.write_record` writes it.
        link: the link by which jobs read the user's own file.
    """
    token = _token_of_file(weights, files_record, link)
    known, expected = read_record(record), weights.get("sha256")
    if known is not None and expected is not None and known.get("sha256") != expected:
        # They are checked again, and then recorded with this token.
        token = sha256_of_json([token, expected])
    return token


def _token_of_file(weights: Mapping[str, Any], files_record: Path, link: Path) -> str:
    files, known = files_of_weights(weights), read_record(files_record)
    if known is None or not files:
        return token_of(files_record, files)
    path, (file,) = weights["path"], files.values()
    if file.is_dir():
        # The job that fetches weights says so.
        return token_of_absent(files_record, {})
    if known["origin"] == path:
        token = token_of(files_record, files)
    else:
        token = token_elsewhere(files_record, path, files) or token_of_absent(files_record, files)
    if token == known["token"] and file.is_file():
        # The results may be on a disk that is read-only.
        with contextlib.suppress(OSError):
            link_weights(path, link)
    return token


def link_weights(path: str, link: Path) -> None:
    """Let a link of the study lead to the user's own weights file, so that records need not say where that file lies.

    Args:
        path: `weights.path` of the configuration.
        link: path of the link; what is there is replaced.
    """
    target = real_path(path)
    # The file may be here, in a copy of the results that followed the links.
    if target == real_path(str(link)):
        return
    temporary = link.with_name(f".{link.name}.{uuid.uuid4().hex[:12]}.tmp")
    temporary.symlink_to(target)
    temporary.replace(link)


def _require_file(path: Path) -> None:
    """Raise an error if there is no file at a path, or none that this user may read."""
    if os.access(path, os.R_OK) and path.is_file():
        return
    if not os.path.lexists(path):
        found, remedy = "nothing at this path", "correct backbones.<name>.weights.path"
    elif path.is_dir():
        found, remedy = "a folder", "name the checkpoint in it in backbones.<name>.weights.path"
    elif path.exists() and not path.is_file():
        found, remedy = "a FIFO, device or socket", "correct backbones.<name>.weights.path"
    elif path.is_symlink():
        found, remedy = "links that lead to each other", "correct the link, or backbones.<name>.weights.path"
    else:
        found, remedy = "no file that your user may read", "make it readable, or correct backbones.<name>.weights.path"
    raise StudyError(
        f"The weights file {path} of the backbone is not there.",
        found=found,
        expected="a checkpoint in TerraMind's format",
        remedy=remedy,
    )


def matches_configuration(record: Mapping[str, Any], weights: Mapping[str, Any]) -> bool:
    """Return whether a record of `obtain` describes the weights that the configuration names now.

    Args:
        record: record of weights.
        weights: the section `weights` of the backbone.
    """
    if record["source"] != weights["source"]:
        return False
    if record["source"] == "random":
        return record["seed"] == weights["seed"]
    if record["source"] == "file":
        return real_path(record["path"]) == real_path(weights["path"])
    return (record["repo"], record["filename"]) == (weights["repo"], weights["filename"]) and (
        record["commit"] == weights["revision"] or not _is_commit(weights["revision"])
    )


def _is_commit(revision: str) -> bool:
    return re.fullmatch("[0-9a-f]{40}", revision) is not None


def _revision(weights: Mapping[str, Any], earlier: Mapping[str, Any] | None) -> str:
    """Return the recorded commit if it is of these settings, otherwise the configured revision."""
    asked = {key: weights[key] for key in ("source", "repo", "filename", "revision")}
    if earlier is not None and asked.items() <= earlier.items() and weights["sha256"] in (None, earlier["sha256"]):
        return str(earlier["commit"])
    return str(weights["revision"])


def _without_recorded_commit(error: StudyError, revision: str) -> StudyError:
    """Return the error of a commit that the configuration does not name, with where it comes from."""
    return StudyError(
        f"{error.problem} The study has used this commit before.",
        found=error.found,
        expected=error.expected,
        remedy=f"{error.remedy}; or, to take what {revision} is now, delete results/<study>/weights/<backbone>.json "
        "and start snakemake --cores 1 -- results/<study>/weights/<backbone>.json: what was made of the earlier "
        "weights is then made again",
    )


def _delete_damaged(cached: Path) -> bool:
    """Delete a file of the cache whose content is not that of its checksum, and return whether it was deleted.

    On a disk that is read-only it stays, and its checksum is then refused.
    """
    blob = cached.resolve()
    if not is_sha256(blob.name) or sha256_of_file(blob) == blob.name:
        return False
    try:
        blob.unlink()
    except OSError:
        return False
    logger.warning("The file %s is damaged: its checksum differs. It is deleted and downloaded again.", blob)
    return True


def _fetch(weights: Mapping[str, Any], cache: Path, revision: str) -> tuple[Path, dict[str, Any]]:
    """Return the path and the origin of a file in the hub's cache; download the file if the cache does not have it.

    A cached file is used without a network if it is pinned by a commit or checksum, or if the hub does not answer.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    file = HubFile(weights["repo"], weights["filename"], revision)
    folder = cache / "huggingface"
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder.resolve()
    location: dict[str, Any] = {
        "repo_id": file.repo,
        "filename": file.filename,
        "revision": file.revision,
        "cache_dir": whole,
    }
    expected = weights["sha256"]
    with locked(folder, "downloads into"):
        found = try_to_load_from_cache(**location)
        # The cache also stores marks of files that the hub does not have.
        cached = found if isinstance(found, str) and not _delete_damaged(Path(found)) else None
        # In the cache, the content of a large file is stored under its SHA-256.
        is_pinned = cached is not None and (_is_commit(file.revision) or Path(cached).resolve().name == expected)
        if not is_pinned:
            try:
                state = request_state(file, retry=cached is None)
            except StudyError as error:
                if cached is None and revision != weights["revision"]:
                    raise _without_recorded_commit(error, weights["revision"]) from None
                if cached is None:
                    raise
                logger.warning(
                    "%s The file that was fetched before is used instead. Found: %s", error.problem, error.found
                )
            else:
                if expected is not None and is_sha256(state.etag) and state.etag != expected:
                    raise StudyError(
                        f"The file {file.filename} on the hub has a wrong checksum; it was not downloaded.",
                        found=f"sha256 {state.etag} at revision {file.revision} of {file.repo}",
                        expected=f"sha256 {expected}",
                        remedy="set backbones.<name>.weights.revision to the right commit, or correct sha256",
                    )
                blob = folder / repo_folder(file.repo) / "blobs" / state.etag
                if not blob.exists():
                    download(file, state, blob)
                cached = hf_hub_download(**location)
    assert cached is not None, "found in the cache, or downloaded"
    # As the cache was given: a path relative to the project stays right where the project is moved.
    path = folder / Path(cached).relative_to(whole)
    blob_name = path.readlink().name if path.is_symlink() else ""
    return path, {
        "repo": file.repo,
        "filename": file.filename,
        "revision": weights["revision"],
        # The folder after `snapshots` is named by the commit.
        "commit": path.parts[path.parts.index("snapshots") + 1],
        "hub_sha256": blob_name if is_sha256(blob_name) else None,
    }
