"""Find the folder that the chips of a study are in now."""

from __future__ import annotations

from pathlib import Path

from terralucas.contents import SOURCE_FILES, read_record
from terralucas.files import real_path
from terralucas.stored import read_json


def chips_root(retrieval: Path) -> Path:
    """Return the folder of the chips: of a source `directory`, where the last start of the study has found it.

    A folder may have been moved since the chips were retrieved, which changes no result.

    Args:
        retrieval: path of retrieval.json.
    """
    record = read_json(retrieval, "source", "root")
    known = read_record(retrieval.with_name(SOURCE_FILES)) if record["source"] == "directory" else None
    return Path(record["root"]) if known is None or known["origin"] is None else real_path(known["origin"])
