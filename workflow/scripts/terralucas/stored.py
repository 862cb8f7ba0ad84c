"""Read files that earlier jobs of a study wrote; a damaged one is an error that says which file to delete."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from terralucas.errors import StudyError

if TYPE_CHECKING:
    import pyarrow as pa


@contextmanager
def reading(
    path: Path | str, expected: str, delete: Path | str | None = None, remedy: str | None = None
) -> Iterator[None]:
    """Turn what goes wrong while a file is decoded into an error for the user.

    Errors of the disk, such as a missing file, stay what they are.

    Args:
        path: the file.
        expected: what the file must be.
        delete: what to delete so that it is made again; None for the file itself.
        remedy: what to do in place of deleting anything.

    Raises:
        StudyError: the file cannot be decoded, or lacks something.
    """
    try:
        yield
    except StudyError:
        raise
    except Exception as error:
        # zipfile looks for a place before the beginning of a file that lacks bytes (EINVAL).
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        # Libraries have their own classes of errors for damaged files; importing them all here would take seconds.
        text = str(error).strip().splitlines()
        is_missing_key = isinstance(error, KeyError)
        found = f"no {error}" if is_missing_key else text[0] if text else type(error).__name__
        raise StudyError(
            f"The file {path} is damaged, or is not what the study wrote.",
            found=found,
            expected=expected,
            remedy=remedy or f"delete {delete or path} and start the study again, which makes it again",
        ) from error


def read_json(path: Path | str, *keys: str, remedy: str | None = None) -> Any:
    """Read a JSON file of an earlier job.

    Args:
        path: the file.
        keys: keys that its mapping must have; without any, every content is right.
        remedy: what to do about a damaged file in place of deleting it.

    Raises:
        StudyError: it is no JSON, or lacks a key.
    """
    with reading(path, "a JSON file" + (f" with {', '.join(keys)}" if keys else ""), remedy=remedy):
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return _require_keys(content, keys)


def read_yaml(path: Path | str, *keys: str, delete: Path | str | None = None) -> Any:
    """Read a YAML file of an earlier job.

    Args:
        path: the file.
        keys: keys that its mapping must have.
        delete: what to delete so that the file is made again; None for the file itself.

    Raises:
        StudyError: it is no YAML, or lacks a key.
    """
    import yaml

    with reading(path, "a YAML file" + (f" with {', '.join(keys)}" if keys else ""), delete):
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        return _require_keys(content, keys)


def read_parquet(path: Path | str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file of an earlier job.

    Args:
        path: the file.
        columns: columns that are read; None for all.

    Raises:
        StudyError: it is no Parquet file, is damaged, or lacks a column.
    """
    # `pq.read_table` would import pyarrow's dataset module and pandas, which takes a second.
    import pyarrow.parquet as pq

    with reading(path, "a Parquet file" + (f" with the columns {', '.join(columns)}" if columns else "")):
        file = pq.ParquetFile(path)
        missing = [name for name in columns or () if name not in file.schema_arrow.names]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}; it has {', '.join(file.schema_arrow.names)}")
        return file.read(None if columns is None else list(columns))


def _require_keys(content: Any, keys: Sequence[str]) -> Any:
    if keys and not isinstance(content, dict):
        raise TypeError(f"no keys, but {type(content).__name__}")
    missing = [key for key in keys if key not in content]
    if missing:
        raise ValueError(f"no key {', '.join(missing)}")
    return content
