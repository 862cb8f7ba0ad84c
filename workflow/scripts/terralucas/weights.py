"""Backbone weights: fetched once on the head node, checked, and described in a record that jobs read offline."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
        StudyError: the file is missing, can't be fetched or is not the expected one.
    """
    if weights["source"] == "random":
        return {"source": "random", "seed": weights["seed"], "path": None, "sha256": None}
    if weights["source"] == "file":
        path, origin = Path(weights["path"]).expanduser().resolve(), {}
        if not path.is_file():
            raise StudyError(
                "The backbone's weights are not there.",
                found=f"no file {path}",
                expected="a checkpoint in TerraMind's format",
                remedy="correct backbones.<name>.weights.path",
            )
    else:
        path, origin = _fetch(weights, cache)
    sha256 = sha256_of_file(path)
    expected = weights["sha256"] or origin.pop("hub_sha256", None)
    if expected is not None and sha256 != expected:
        raise StudyError(
            f"The backbone's weights {path} are not the expected ones.",
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


def _fetch(weights: Mapping[str, Any], cache: Path) -> tuple[Path, dict[str, Any]]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repo, filename, revision = weights["repo"], weights["filename"], weights["revision"]
    logger.info("Fetching %s of %s at %s", filename, repo, revision)
    try:
        downloaded = Path(hf_hub_download(repo, filename, revision=revision, cache_dir=cache / "huggingface"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise StudyError(
            f"The weights {filename} could not be fetched from the Hugging Face hub.",
            found=": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]]),
            expected=f"{repo} at revision {revision}",
            remedy="check the network and the names; or get the file by hand and use weights: {source: file, path: …}",
        ) from error
    # The cache names a large file's blob by the SHA-256 the hub records for it, and its snapshot by the commit.
    blob = Path(os.path.realpath(downloaded)).name
    hub_sha256 = blob if re.fullmatch("[0-9a-f]{64}", blob) else None
    commit = downloaded.parts[downloaded.parts.index("snapshots") + 1]
    return downloaded, {"repo": repo, "filename": filename, "commit": commit, "hub_sha256": hub_sha256}
