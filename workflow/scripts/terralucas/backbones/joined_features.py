"""Join the features of the parts of a pass to one array, and cut parts from it that are wanted again."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from terralucas.arrays import ArrayWriter
from terralucas.backbones.feature_checks import refuse_equal
from terralucas.errors import StudyError
from terralucas.files import atomic_path, sha256_of_file
from terralucas.stored import read_json

_BYTES_AT_ONCE = 1 << 24
_ROWS_AT_ONCE = 1000

# What the record of a part says of its own work.
_OF_PART = (
    *("fingerprint", "shape", "sha256", "device", "seconds", "chips_per_second", "peak_memory_mib"),
    "same_pass_as",
)


def join_features(parts: Sequence[tuple[Path, Path]], output: Path) -> dict[str, Any]:
    """Write the features of several parts into one array, in their order.

    The array has the bytes of a pass in one part. Memory does not grow with its size.

    Args:
        parts: array and record of each part.
        output: array to write.

    Returns:
        The record of the array: what the parts have in common, the sum of their times, and what is different in each
        part.

    Raises:
        StudyError: a part is not what its record says, the parts were computed in different ways, or all chips have
            the same features.
    """
    records = [read_json(record) for _, record in parts]
    common = _require_the_same([_without(record, _OF_PART) for record in records], [array for array, _ in parts])
    rows = sum(record["shape"][0] for record in records)
    shape = [rows, *next(record["shape"][1:] for record in records if record["shape"][0])]
    digest = hashlib.sha256()
    with atomic_path(output) as path:
        with path.open("wb") as file:
            for (array, _), record in zip(parts, records, strict=True):
                with array.open("rb") as source:
                    header, dtype = _read_header(source)
                    if record["shape"][0] and not file.tell():
                        _write(file, digest, _header(dtype, shape))
                    of_part = hashlib.sha256(header)
                    while block := source.read(_BYTES_AT_ONCE):
                        of_part.update(block)
                        _write(file, digest, block)
                _require_checksum(array, of_part.hexdigest(), record["sha256"])
        # Here too, because a part may have one chip.
        refuse_equal(path)
    # A part that another job passed has the time of that job.
    own = [record for record in records if "same_pass_as" not in record]
    seconds = sum(record["seconds"] for record in own or records)
    return {
        **common,
        "shape": shape,
        "sha256": digest.hexdigest(),
        "device": ", ".join(dict.fromkeys(record["device"] for record in records)),
        "seconds": round(seconds, 2),
        "chips_per_second": round(sum(record["shape"][0] for record in own or records) / max(seconds, 0.01), 2),
        "peak_memory_mib": {
            name: max(record["peak_memory_mib"].get(name, 0.0) for record in records)
            for name in dict.fromkeys(name for record in records for name in record["peak_memory_mib"])
        },
        "parts": [{key: record[key] for key in _OF_PART if key in record} for record in records],
        **({} if own else {"same_pass_as": records[0]["same_pass_as"]}),
    }


def cut_part(joined: Path, part: int, parts: int, fingerprint: str, output: Path) -> dict[str, Any] | None:
    """Write a part of joined features, as it was before it was joined.

    Args:
        joined: the array of `join_features`; its record lies beside it.
        part: number of the part.
        parts: number of parts.
        fingerprint: of everything the features of the part depend on.
        output: array to write.

    Returns:
        The record of the part, as `terralucas.backbones.features.extract` returns it; None if the joined features are
        not there, are of another pass or division, or are damaged.
    """
    try:
        record = json.loads(joined.with_suffix(".json").read_text(encoding="utf-8"))
        own = record["parts"]
        if len(own) != parts or own[part]["fingerprint"] != fingerprint:
            return None
        start = sum(other["shape"][0] for other in own[:part])
        rows = np.load(joined, mmap_mode="r", allow_pickle=False)[start : start + own[part]["shape"][0]]
        with atomic_path(output) as path:
            with ArrayWriter(path, len(rows), rows.dtype.name) as writer:
                for first in range(0, len(rows), _ROWS_AT_ONCE):
                    writer.append(rows[first : first + _ROWS_AT_ONCE])
            if sha256_of_file(path) != own[part]["sha256"]:
                raise ValueError("damaged")
        done = {key: value for key, value in own[part].items() if key != "fingerprint"}
        return {"kind": record["kind"], "precision": record["precision"], **done}
    except (FileNotFoundError, ValueError, KeyError, TypeError, IndexError):
        return None


def _require_checksum(array: Path, found: str, expected: str) -> None:
    if found != expected:
        raise StudyError(
            f"{array} is not what was written.",
            found=f"sha256 {found}",
            expected=f"sha256 {expected}",
            remedy=f"delete {array} and start the study again; the part is computed again",
        )


def _without(record: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in keys}


def _require_the_same(records: Sequence[dict[str, Any]], arrays: Sequence[Path]) -> dict[str, Any]:
    for record, array in zip(records, arrays, strict=True):
        if differing := [key for key in record.keys() | records[0].keys() if record.get(key) != records[0].get(key)]:
            key = sorted(differing)[0]
            same = "set features.device and features.precision to the same for all nodes, instead of auto, "
            raise StudyError(
                "Parts of the features were computed in different ways.",
                found=f"{key}: {records[0].get(key)} in {arrays[0]}, {record.get(key)} in {array}",
                expected=f"the same {key} in all parts",
                remedy=f"{'' if key == 'code' else same}delete {arrays[0].parent.parent}, and start the study again",
            )
    return records[0]


def _read_header(source: BinaryIO) -> tuple[bytes, np.dtype[Any]]:
    """Return the header of an .npy file and the type of its numbers; the file is then at its first number."""
    np.lib.format.read_magic(source)
    _, _, dtype = np.lib.format.read_array_header_2_0(source)
    length = source.tell()
    source.seek(0)
    return source.read(length), dtype


def _header(dtype: np.dtype[Any], shape: Sequence[int]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_2_0(buffer, {"descr": dtype.str, "fortran_order": False, "shape": tuple(shape)})
    return buffer.getvalue()


def _write(file: BinaryIO, digest: Any, block: bytes) -> None:
    file.write(block)
    digest.update(block)
