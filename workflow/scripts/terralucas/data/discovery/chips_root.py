"""Find the folder that the chips of a study are in now."""

from __future__ import annotations

from pathlib import Path

from terralucas.contents import SOURCE_FILES, read_record
from terralucas.errors import StudyError
from terralucas.files import real_path
from terralucas.stored import read_json


def chips_root(retrieval: Path) -> Path:
    """Return the folder of the chips: of a source `directory`, where the last start of the study has found it.

    A folder may have been moved since the chips were retrieved, which changes no result. Where another folder was
    retrieved since, because its path in the configuration has changed, the record of the former one counts no more.

    Args:
        retrieval: path of retrieval.json.

    Raises:
        StudyError: the folder is gone.
    """
    record = read_json(retrieval, "source", "root")
    known = read_record(retrieval.with_name(SOURCE_FILES)) if record["source"] == "directory" else None
    is_of_it = known is not None and known["origin"] is not None and known.get("retrieved") == record["root"]
    root = real_path(known["origin"]) if known is not None and is_of_it else Path(record["root"])
    if not root.is_dir():
        raise StudyError(
            f"The folder {root} with the chips of the study is gone.",
            found="nothing" if not root.exists() else "a file",
            expected="the chips that the study has indexed",
            remedy="put it back, or correct its path in dataset.sources"
            if record["source"] == "directory"
            else f"snakemake --cores 1 --force -- {retrieval} retrieves them again; no run is repeated if they are the "
            "same. (Do not delete the folder data/ of the study: all features and runs would be made again)",
        )
    return root
