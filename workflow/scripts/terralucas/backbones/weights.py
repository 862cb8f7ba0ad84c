"""Backbone weights: fetched once on the head node, checked, and described in a record that jobs read offline."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from terralucas.backbones.hub import HubFile, ask, download, is_sha256, repo_folder, require_no_page
from terralucas.disk import locked
from terralucas.errors import StudyError
from terralucas.files import sha256_of_file

logger = logging.getLogger(__name__)


def obtain(weights: Mapping[str, Any], cache: Path) -> dict[str, Any]:
    """Make sure the weights are on disk and whole.

    Args:
        weights: the `weights` section of a backbone.
        cache: folder of downloads, shared by all studies of this working directory.

    Returns:
        Record {source, path, sha256, …}; `path` is None for random weights.

    Raises:
        StudyError: the file is missing, can't be fetched, is a web page or is not the expected one.
    """
    if weights["source"] == "random":
        return {"source": "random", "seed": weights["seed"], "path": None, "sha256": None}
    if weights["source"] == "file":
        path = Path(weights["path"]).expanduser().resolve()
        origin: dict[str, Any] = {}
        if not path.is_file():
            raise StudyError(
                "The backbone's weights are not there.",
                found=f"no file {path}",
                expected="a checkpoint in TerraMind's format",
                remedy="correct backbones.<name>.weights.path",
            )
        require_no_page(path)
    else:
        path, origin = _fetch(weights, cache)
    sha256 = sha256_of_file(path)
    expected = weights["sha256"] or origin.pop("hub_sha256", None)
    if expected is not None and sha256 != expected:
        raise StudyError(
            f"The backbone's weights {path.resolve()} are not the expected ones.",
            found=f"sha256 {sha256}",
            expected=f"sha256 {expected}",
            remedy="delete the file and start again; if it comes back the same, correct backbones.<name>.weights",
        )
    origin.pop("hub_sha256", None)
    return {
        "source": weights["source"],
        "path": str(path),
        "sha256": sha256,
        "size_bytes": path.stat().st_size,
        **origin,
    }


def is_of(record: Mapping[str, Any], weights: Mapping[str, Any]) -> bool:
    """Whether a record of `obtain` is of these weights, and not of what the configuration said before."""
    if record["source"] != weights["source"]:
        return False
    if record["source"] == "random":
        return record["seed"] == weights["seed"]
    if record["source"] == "file":
        return record["path"] == str(Path(weights["path"]).expanduser().resolve())
    return (record["repo"], record["filename"]) == (weights["repo"], weights["filename"]) and (
        record["commit"] == weights["revision"] or not _is_commit(weights["revision"])
    )


def _is_commit(revision: str) -> bool:
    return re.fullmatch("[0-9a-f]{40}", revision) is not None


def _fetch(weights: Mapping[str, Any], cache: Path) -> tuple[Path, dict[str, Any]]:
    """A file of the hub, in the layout of its library's cache; one that is there serves without a network."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    file = HubFile(weights["repo"], weights["filename"], weights["revision"])
    folder = cache / "huggingface"
    folder.mkdir(parents=True, exist_ok=True)
    where: dict[str, Any] = {"repo_id": file.repo, "filename": file.filename, "revision": file.revision}
    where["cache_dir"] = folder
    expected = weights["sha256"]
    with locked(folder):
        cached = try_to_load_from_cache(**where)
        # The cache also keeps marks, of files that the hub hasn't got.
        kept = cached if isinstance(cached, str) else None
        # The cache names a large file's blob by its SHA-256.
        if kept is None or not (_is_commit(file.revision) or Path(kept).resolve().name == expected):
            try:
                state = ask(file, is_patient=kept is None)
            except StudyError as error:
                if kept is None:
                    raise
                logger.warning("%s The file that was fetched before is used. Found: %s", error.problem, error.found)
            else:
                if expected is not None and is_sha256(state.etag) and state.etag != expected:
                    raise StudyError(
                        f"The hub's {file.filename} is not the expected one; it was not downloaded.",
                        found=f"sha256 {state.etag} at revision {file.revision} of {file.repo}",
                        expected=f"sha256 {expected}",
                        remedy="set backbones.<name>.weights.revision to the commit that has it, or correct sha256",
                    )
                blob = folder / repo_folder(file.repo) / "blobs" / state.etag
                if not blob.exists():
                    download(file, state, blob)
                kept = hf_hub_download(**where)
    # The snapshot is named by the commit.
    path = Path(kept)
    blob_name = path.readlink().name if path.is_symlink() else ""
    return path, {
        "repo": file.repo,
        "filename": file.filename,
        "commit": path.parts[path.parts.index("snapshots") + 1],
        "hub_sha256": blob_name if is_sha256(blob_name) else None,
    }
