"""Files that are no checkpoints are named, before PyTorch is loaded, with advice that fits their source."""

import io
import json
import os
import shlex
import struct
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from terralucas.backbones.checkpoint_files import refuse_damaged
from terralucas.backbones.weights import obtain
from terralucas.errors import StudyError

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 348213012\n" % (b"4d" * 32)


def tar_of(name):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def safetensors_of(values):
    """The format of huggingface.co/docs/safetensors: length of the header, header, numbers."""
    header = json.dumps(
        {"w": {"dtype": "F32", "shape": list(values.shape), "data_offsets": [0, values.nbytes]}}
    ).encode()
    return struct.pack("<Q", len(header)) + header + values.tobytes()


def saved(state, **options):
    torch.save(state, buffer := io.BytesIO(), **options)
    return buffer.getvalue()


def zip_of(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npz_of(**arrays):
    np.savez(buffer := io.BytesIO(), **arrays)
    return buffer.getvalue()


def refusal(tmp_path, content):
    path = tmp_path / "my weights.pt"
    path.write_bytes(content)
    with pytest.raises(StudyError, match="is no checkpoint") as raised:
        obtain({"source": "file", "path": str(path), "sha256": None}, tmp_path)
    assert path.read_bytes() == content
    return raised.value


@pytest.mark.parametrize(
    ("content", "found", "advice"),
    [
        (b"", "an empty file", "set backbones.<name>.weights.path"),
        (LFS, "a Git LFS pointer, which stands for a file of 348213012 bytes", "git lfs pull"),
        (b"<!DOCTYPE html><title>Sign in</title>", 'a web page titled "Sign in"', "save the file itself"),
        (b'{"model_type": "terramind"}', "a JSON file", "set backbones.<name>.weights.path"),
        (b'\n[{"error": "404"}]', "a JSON file", "set backbones.<name>.weights.path"),
        (safetensors_of(np.ones(3, np.float32)), "a safetensors file", "convert it"),
        (tar_of("w.pt"), "a tar archive", "unpack it"),
        (b"\x1f\x8b\x08\x00", "a gzip file", "set backbones.<name>.weights.path"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "set backbones.<name>.weights.path"),
        (zip_of({"v1/readme.txt": b"", "v1/tiny.pt": b"PK"}), "it holds v1/tiny.pt", "unpack it, and use v1/tiny.pt"),
        (npz_of(w=np.ones(3)), "a zip archive of NumPy arrays (.npz)", "set backbones.<name>.weights.path"),
        (zip_of(dict.fromkeys("abcd", b"")), "it holds a, b, c …", "set backbones.<name>.weights.path"),
        (zip_of({}), "begins with b'PK", "set backbones.<name>.weights.path"),
        (b"epoch,loss\n1,0.5\n", "begins with b'epoch,loss", "set backbones.<name>.weights.path"),
    ],
    ids=[
        "empty", "lfs", "page", "json", "json list", "safetensors", "tar", "gzip", "hdf5", "zip", "npz", "other zip",
        "empty zip", "text",
    ],
)  # fmt: skip
def test_a_file_of_the_user_is_named_and_left_alone(tmp_path, content, found, advice):
    error = refusal(tmp_path, content)
    assert found in error.found
    assert advice in error.remedy
    assert "this one is not changed" in error.remedy
    for wrong in ("delete", "fetch", "quota"):
        assert wrong not in str(error)


def test_the_line_that_converts_safetensors_works(tmp_path):
    error = refusal(tmp_path, safetensors_of(np.arange(6, dtype=np.float32).reshape(2, 3)))
    line = error.remedy.partition(": ")[2].partition("; or ")[0]
    program, *arguments = shlex.split(line)
    assert program == "python"
    subprocess.run([sys.executable, *arguments], cwd=tmp_path, check=True)
    state = torch.load(tmp_path / "my weights-converted.pt", weights_only=True)
    np.testing.assert_array_equal(state["w"], np.arange(6).reshape(2, 3))


def test_the_line_that_saves_a_checkpoint_again_works(tmp_path):
    """As after unpacking and packing; PyTorch's own error is: Trying to resize storage that is not resizable."""
    with zipfile.ZipFile(io.BytesIO(saved({"w": torch.arange(6.0)}))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    error = refusal(tmp_path, zip_of(members, zipfile.ZIP_DEFLATED))
    assert "a checkpoint that another program packed again" in error.found
    program, *arguments = shlex.split(error.remedy.partition(": ")[2].partition("; or ")[0])
    assert program == "python"
    subprocess.run([sys.executable, *arguments], cwd=tmp_path, check=True)
    state = torch.load(tmp_path / "my weights-saved.pt", weights_only=True, mmap=True)
    assert torch.equal(state["w"], torch.arange(6.0))


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_what_torch_saves_passes_in_its_new_and_its_old_format(tmp_path, options):
    (tmp_path / "w.pt").write_bytes(saved({"w": torch.ones(2)}, **options))
    assert obtain({"source": "file", "path": str(tmp_path / "w.pt"), "sha256": None}, tmp_path)["size_bytes"] > 0


@pytest.mark.parametrize("damage", ["a bit", "a hole", "the end"])
def test_a_file_whose_numbers_have_changed_is_refused(tmp_path, damage):
    """torch.load reads the first two without a word."""
    content = bytearray(saved({"w": torch.arange(100_000.0)}))
    middle = len(content) // 2
    if damage == "a bit":
        content[middle] ^= 1
    elif damage == "a hole":
        content[middle : middle + 4096] = bytes(4096)
    else:
        del content[-1000:]
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    with pytest.raises(StudyError, match="is damaged") as error:
        obtain({"source": "file", "path": str(path), "sha256": None}, tmp_path)
    assert ("data/0" in error.value.found) == (damage != "the end")
    assert "download the file again" in error.value.remedy


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path):
    os.mkfifo(tmp_path / "fifo.pt")
    (tmp_path / "loop.pt").symlink_to("loop.pt")
    for path, found in (
        (tmp_path, "a folder"),
        (tmp_path / "none.pt", "nothing at this path"),
        (tmp_path / "fifo.pt", "a FIFO, device or socket"),
        (tmp_path / "loop.pt", "links that lead to each other"),
    ):
        with pytest.raises(StudyError, match="is not there") as raised:
            obtain({"source": "file", "path": str(path), "sha256": None}, tmp_path)
        assert raised.value.found == found


@pytest.mark.parametrize("lost", [1, 50, 2000])
def test_a_checkpoint_that_lacks_bytes_in_the_middle_is_damaged(tmp_path, lost):
    """zipfile then raises an error of the system and none of its own."""
    path = tmp_path / "w.pt"
    torch.save({f"weight{number}": torch.ones(500) for number in range(20)}, path)
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + data[middle + lost :])
    with pytest.raises(StudyError, match="is damaged"):
        refuse_damaged(path, "copy it again")
