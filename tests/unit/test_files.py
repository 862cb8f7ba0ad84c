"""Whole-or-nothing writes."""

import errno
import os
import re
import subprocess
from pathlib import Path

import pytest

from helpers.not_tested import not_tested
from terralucas.disk import check_writable, explain, remove_leftovers
from terralucas.errors import StudyError
from terralucas.files import atomic_path, sha256_of_json, write_json


def test_a_new_file_has_the_mode_of_any_other(tmp_path):
    old = os.umask(0o027)
    try:
        write_json(tmp_path / "deep" / "a.json", {"x": 1})
    finally:
        os.umask(old)
    assert (tmp_path / "deep" / "a.json").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.json"]


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"NaN|Out of range"):
        write_json(path, {"x": float("nan")})
    with pytest.raises(KeyError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system with room for 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        not_tested("mount", mounted.stderr.decode().strip())
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_named_with_the_file_and_leaves_the_old_one(tiny_disk):
    path = tiny_disk / "history.csv"
    path.write_text("old")
    with pytest.raises(OSError) as caught, atomic_path(path) as temporary:
        temporary.write_bytes(bytes(200_000))
    message = str(explain(caught.value))
    assert f"There is no space left to write {path}" in message
    assert "start the study again" in message
    assert [entry.name for entry in tiny_disk.iterdir()] == ["history.csv"]
    assert path.read_text() == "old"
    (tiny_disk / "filler").write_bytes(bytes(50_000))
    with pytest.raises(StudyError, match=f"no space left to write {tiny_disk}"):
        check_writable(tiny_disk)


def test_a_read_only_folder_is_named(tiny_disk):
    subprocess.run(["mount", "-o", "remount,ro", tiny_disk], check=True)
    with pytest.raises(StudyError, match=rf"{tiny_disk} cannot be written[\s\S]*make the folder writable"):
        check_writable(tiny_disk)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EFBIG, r"results/x would be larger than a file may be[\s\S]*ulimit -f"),
        (
            errno.EIO,
            r"file server of results/x does not work[\s\S]*found: Input/output error[\s\S]*start the study again",
        ),
        (errno.ESTALE, r"file server of results/x does not work[\s\S]*found: Stale file handle"),
    ],
)
def test_limits_and_failures_of_the_file_system_are_named(number, said):
    assert re.search(said, str(explain(OSError(number, os.strerror(number), "results/x"))))


def test_other_errors_of_the_system_are_not_explained_away(tmp_path):
    assert explain(OSError(errno.ENOENT, "No such file or directory", "x")) is None
    check_writable(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_leftovers_of_killed_writes_go_with_the_file(tmp_path):
    for name in ("resume.ckpt", ".resume.ckpt.0a.tmp", ".run.yaml.1b.tmp", "run.yaml"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, "resume.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


@pytest.mark.parametrize("what", ["file", "folder", "parent"])
def test_what_cannot_be_read_is_not_called_unwritable(tmp_path, monkeypatch, what):
    """Permissions do not bind root, who may run the tests: what the kernel would say is given here."""
    place = tmp_path / "place"
    place.mkdir() if what == "folder" else place.write_text("x")
    denied = {"file": (place, os.R_OK), "folder": (place, os.R_OK | os.X_OK), "parent": (tmp_path, os.X_OK)}[what]
    monkeypatch.setattr(os, "access", lambda path, mode: (Path(path), mode) != denied)
    message = str(explain(PermissionError(errno.EACCES, "Permission denied", str(place))))
    assert message.startswith(f"{place} cannot be read.")
    assert "written" not in message
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    assert "cannot be written" in str(explain(PermissionError(errno.EACCES, "Permission denied", str(place))))


def test_names_that_are_not_utf8_have_a_checksum_and_can_be_shown():
    names = [os.fsdecode(b"caf\xe9"), os.fsdecode(b"caf\xe8")]
    assert len({sha256_of_json(name) for name in names}) == 2
    assert str(StudyError(names[0], found=names[1])).encode() == b"caf\\xe9\n  found: caf\\xe8"
