"""Tell the file of a checkpoint from other files by its first bytes, without PyTorch."""

from __future__ import annotations

import errno
import json
import shlex
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from terralucas.errors import StudyError
from terralucas.file_kinds import HEAD_BYTES, FileKind, find_kind

EXPECTED = "a state dict that torch.save wrote"

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
# The record of an archive of torch.save that says what its tensors are.
_PICKLE_RECORD = "data.pkl"
_CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")


def is_zip(path: Path) -> bool:
    """Return whether a file begins as torch.save writes it since PyTorch 1.6; older files begin as a pickle."""
    with path.open("rb") as file:
        return file.read(len(_ZIP)) == _ZIP


def refuse_other_file(path: Path, weights: Mapping[str, Any]) -> None:
    """Raise an error if a file cannot be a checkpoint of PyTorch.

    Args:
        path: the file.
        weights: the section `weights` of a backbone, or a record of it.

    Raises:
        StudyError: the file is empty, or a Git LFS pointer, a web page, JSON, a zip archive that torch.save did not
            write, or another kind of file.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(_ZIP):
        described = _describe_zip(path)
        if described is None:
            return
        found, advice = described
    elif head.startswith(_PICKLE) and not _is_safetensors(head):
        return
    else:
        found, advice = _describe(head, path)
    raise StudyError(
        f"The weights file {path} of the backbone is no checkpoint.",
        found=found,
        expected=EXPECTED,
        remedy="; or ".join(filter(None, [advice, advise(weights)])),
    )


def refuse_damaged(path: Path, remedy: str) -> None:
    """Raise an error if numbers in a checkpoint have changed since it was saved; PyTorch reads them as they are.

    torch.save writes a zip archive, which has a CRC-32 of each of its records, and torch.load does not look at them.
    The file is read as a whole: about 0.3 s for 350 MB. Files of PyTorch before 1.6 have no checksum.

    Args:
        path: the file.
        remedy: what the user can do about a damaged file.

    Raises:
        StudyError: a record has another checksum, or the archive is cut off.
    """
    if not is_zip(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            record = archive.testzip()
        found = None if record is None else f"the record {record} has another checksum (CRC-32) than when it was saved"
    # Where the lists of records are damaged, there are several kinds of errors.
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, zlib.error, OSError) as error:
        # Where bytes are missing, zipfile looks for a place before the beginning of the file.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        found = f"a zip archive that cannot be read to its end ({error})"
    if found is not None:
        raise StudyError(
            f"The checkpoint {path} is damaged.", found=found, expected="the file as torch.save wrote it", remedy=remedy
        )


def advise(weights: Mapping[str, Any]) -> str:
    """Return what to do about an unusable file, in words that fit its source: a file of the user, or of the hub.

    Args:
        weights: the section `weights` of a backbone, or a record of it.
    """
    if weights["source"] == "huggingface":
        return "correct repo, filename and revision of backbones.<name>.weights, which name this file"
    return "set backbones.<name>.weights.path to another file; this one is not changed"


def python_command(code: str) -> str:
    """Return the line of a shell that runs Python code."""
    return f"python -c {shlex.quote(code)}"


def _describe(head: bytes, path: Path) -> tuple[str, str | None]:
    """Return what a file is that begins with `head`, and what turns it into a checkpoint, if anything does."""
    if not head:
        return "an empty file", None
    if _is_safetensors(head):
        source, target = json.dumps(str(path)), json.dumps(f"{path.stem}-converted.pt")
        code = f"import torch, safetensors.torch; torch.save(safetensors.torch.load_file({source}), {target})"
        return "a safetensors file", f"convert it and use the new file: {python_command(code)}"
    if head.lstrip()[:1] in (b"{", b"["):
        return "a JSON file, which may describe a checkpoint but holds no weights", None
    kind = find_kind(head) or FileKind(f"a file of another kind: it begins with {head[:24]!r}")
    return kind.name, kind.remedy


def _describe_zip(path: Path) -> tuple[str, str | None] | None:
    """Return what a zip archive is that torch.save did not write, and what turns it into a checkpoint.

    Returns:
        None if torch.save wrote the archive, or if it is damaged, which `refuse_damaged` says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = [record for record in archive.infolist() if not record.is_dir()]
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, OSError):
        return None
    names = [record.filename for record in records]
    # torch.save puts everything into one folder, whose name is that of the file.
    if any(PurePosixPath(name).name == _PICKLE_RECORD for name in names):
        # Only the code of a TorchScript archive, which is refused when it is read, is compressed.
        tensors = [record for record in records if PurePosixPath(record.filename).parent.name == "data"]
        if all(record.compress_type == zipfile.ZIP_STORED for record in tensors):
            return None
        source, target = json.dumps(str(path)), json.dumps(f"{path.stem}-saved.pt")
        code = f"import torch; torch.save(torch.load({source}, weights_only=True), {target})"
        found = (
            "a checkpoint that another program packed again: its tensors are compressed, which torch.save never does"
        )
        return found, f"save it again and use the new file: {python_command(code)}"
    if names and all(name.endswith(".npy") for name in names):
        return "a zip archive of NumPy arrays (.npz), which torch.save did not write", None
    held = next((name for name in names if PurePosixPath(name).suffix.lower() in _CHECKPOINT_SUFFIXES), None)
    if held is not None:
        return f"a zip archive that torch.save did not write; it holds {held}", f"unpack it, and use {held}"
    listed = ", ".join(names[:3]) + (" …" if names[3:] else "")
    return f"a zip archive that torch.save did not write; it holds {listed or 'nothing'}", None


def _is_safetensors(head: bytes) -> bool:
    # The length of the header as eight bytes, then the header in JSON.
    return head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 2**30
