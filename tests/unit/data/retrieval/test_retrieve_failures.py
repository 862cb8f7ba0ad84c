"""What can come instead of an archive, and what the user is told."""

from __future__ import annotations

import gzip
import random
import socket
from types import SimpleNamespace

import pytest

from helpers.drive_server import QUOTA_PAGE
from helpers.retrieval import (
    ARCHIVE,
    DRIVE_ID,
    GDRIVE,
    SHA256,
    downloads_in,
    error_of,
    no_simulation,
    tar_gz,
    url_source,
)
from terralucas.data.retrieval import downloads as downloads_module
from terralucas.data.retrieval.archives import LocalError
from terralucas.data.retrieval.retrieve import retrieve
from terralucas.errors import StudyError


def test_quota_of_google(server, folder):
    server.serve(DRIVE_ID, page=QUOTA_PAGE)
    message = error_of([GDRIVE], folder)
    assert "Too many users have viewed or downloaded this file recently" in message
    assert 'a web page titled "Google Drive - Quota exceeded"' in message
    assert "expected: an archive" in message
    assert "wait a day" in message
    assert f"open https://drive.google.com/file/d/{DRIVE_ID}/view in a browser" in message
    assert "{type: archive, path: resources/chips.tar.gz}" in message


def test_quota_page_in_the_guise_of_the_file(server, folder):
    server.serve(DRIVE_ID, page=QUOTA_PAGE, page_as_attachment=True)
    message = error_of([GDRIVE], folder)
    assert 'a web page titled "Google Drive - Quota exceeded" (Sorry, you can\'t view or download' in message
    assert "expected: an archive" in message
    assert downloads_in(folder) == []


def test_sign_in_page(server, folder):
    server.serve(DRIVE_ID, sign_in=True)
    message = error_of([GDRIVE], folder)
    assert 'a web page titled "Google Drive: Sign-in"' in message
    assert "Anyone with the link" in message


def test_unknown_drive_id(server, folder):
    message = error_of([GDRIVE], folder)
    assert 'HTTP status 404 Not Found, a web page titled "Error 404 (Not Found)!!1"' in message
    assert "in a browser" in message


def test_web_page_with_status_200(server, folder):
    server.serve("chips.tar.gz", page="<html><head><title>Please log in</title></head></html>")
    message = error_of([url_source(server)], folder)
    assert 'a web page titled "Please log in"' in message
    assert f"open {server.url_of('chips.tar.gz')} (in full as configured) in a browser" in message
    assert downloads_in(folder) == []


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(403, "public"), (404, "correct the id or link"), (429, "wait some hours"), (500, "run again later")],
)
def test_http_errors_of_a_url(server, folder, status, remedy):
    server.serve("chips.tar.gz", page="<html></html>", status=status)
    message = error_of([url_source(server)], folder)
    assert f"HTTP status {status}" in message
    assert "expected: an archive" in message
    assert remedy in message
    assert "{type: archive, path: resources/chips.tar.gz}" in message


@pytest.mark.parametrize("status", [403, 429, 500])
def test_http_errors_of_drive(server, folder, status):
    server.serve(DRIVE_ID, page="<html><title>Sorry...</title></html>", status=status)
    assert f"HTTP status {status} " in error_of([GDRIVE], folder)


def test_truncated_archive_that_the_server_thinks_whole(server, folder):
    server.serve(DRIVE_ID, ARCHIVE[:30_000])
    message = error_of([GDRIVE], folder)
    assert "truncated or corrupt" in message
    assert "30000 bytes" in message
    assert downloads_in(folder) == []


def test_corrupt_gzip(server, folder):
    data = bytearray(ARCHIVE)
    data[len(data) // 2] ^= 0xFF
    server.serve(DRIVE_ID, bytes(data))
    assert "truncated or corrupt" in error_of([GDRIVE], folder)
    assert len(server.seen) == 1


def test_wrong_checksum(server, folder):
    server.serve(DRIVE_ID, ARCHIVE)
    message = error_of([GDRIVE | {"sha256": "0" * 64}], folder, kept=1)
    assert f"found: sha256 {SHA256}" in message
    assert f"expected: sha256 {'0' * 64}" in message
    assert "put the new sha256 into the config" in message
    # With the right one it is used, and not downloaded again.
    assert retrieve([GDRIVE | {"sha256": SHA256}], folder, simulate=no_simulation).checked
    assert len(server.seen) == 1


def test_a_finished_download_outlives_a_wrong_checksum_and_a_server_that_has_reached_its_quota(server, folder):
    server.serve(DRIVE_ID, ARCHIVE)
    retrieve([GDRIVE], folder, simulate=no_simulation)
    server.serve(DRIVE_ID, page=QUOTA_PAGE)
    with pytest.raises(StudyError) as raised:
        retrieve([GDRIVE | {"sha256": "0" * 64}], folder, simulate=no_simulation)
    for words in ("Too many users", "earlier download is kept", f"checksum. Found: sha256 {SHA256}", "correct it"):
        assert words in str(raised.value)
    seen = len(server.seen)
    assert retrieve([GDRIVE | {"sha256": SHA256}], folder, simulate=no_simulation).checked
    assert len(server.seen) == seen


def test_a_finished_download_is_deleted_when_the_one_that_is_asked_for_is_there(server, folder):
    old = tar_gz({"Chips/1.tif": b"old"})
    server.serve(DRIVE_ID, old)
    retrieve([GDRIVE], folder, simulate=no_simulation)
    server.serve(DRIVE_ID, ARCHIVE)
    assert retrieve([GDRIVE | {"sha256": SHA256}], folder, simulate=no_simulation).sha256 == SHA256
    assert len(downloads_in(folder)) == 1
    assert not list(folder.glob(".*.earlier"))


def test_a_finished_download_is_found_again_after_a_kill(server, folder):
    server.serve(DRIVE_ID, ARCHIVE)
    retrieve([GDRIVE], folder, simulate=no_simulation)
    (name,) = downloads_in(folder)
    (folder / name).rename(folder / f".{name}.earlier")
    assert retrieve([GDRIVE], folder, simulate=no_simulation).sha256 == SHA256
    assert len(server.seen) == 1


def test_drive_that_asks_for_a_confirmation_again_and_again_ends_in_an_error(server, folder):
    server.serve(DRIVE_ID, ARCHIVE, confirm=True, accepts_confirmation=False)
    message = error_of([GDRIVE], folder)
    assert "a web page in place of the file, 20 times" in message
    assert "Google Drive - Virus scan warning" in message


def test_unsafe_archive_is_not_kept(server, folder, tmp_path):
    server.serve(DRIVE_ID, tar_gz({"Chips/1.tif": b"x", "../../evil": b"x"}))
    assert "'../../evil' is a path that leaves the folder" in error_of([GDRIVE], folder)
    assert downloads_in(folder) == []
    assert not list(tmp_path.rglob("evil"))


def test_refused_connection(server, folder):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        source = {"type": "url", "url": f"http://127.0.0.1:{unused.getsockname()[1]}/chips.tar.gz", "sha256": None}
        message = error_of([source], folder)
    assert "Connection refused" in message
    assert "compute nodes often do not" in message
    assert "in a browser" in message


def test_connection_that_is_refused_after_retries(server, folder, monkeypatch):
    monkeypatch.setattr(downloads_module, "RETRIES", 2)
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/chips.tar.gz?token=hush"
        message = error_of([{"type": "url", "url": url, "sha256": None}], folder)
    assert "Connection refused" in message
    assert "hush" not in message


def test_unknown_host(server, folder, monkeypatch):
    def no_such_host(*arguments, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    source = {"type": "url", "url": "http://chips.invalid/chips.tar.gz", "sha256": None}
    message = error_of([source], folder)
    assert "Failed to resolve 'chips.invalid'" in message


def test_server_that_does_not_answer(server, folder, monkeypatch):
    monkeypatch.setattr(downloads_module, "TIMEOUT_SECONDS", (5.0, 0.1))
    server.serve("chips.tar.gz", hang=True)
    assert "timed out" in error_of([url_source(server)], folder)


def test_something_that_is_no_url(server, folder):
    message = error_of([{"type": "url", "url": "chips.tar.gz?token=hush", "sha256": None}], folder)
    assert "No scheme supplied" in message
    assert "hush" not in message


@pytest.mark.parametrize("kind", ["archive", "directory"])
def test_paths_that_lead_nowhere(tmp_path, folder, kind):
    message = error_of([{"type": kind, "path": str(tmp_path / "missing"), "sha256": None}], folder)
    assert str(tmp_path / "missing") in message
    assert "at this path" in message
    assert "correct `path`" in message


def test_paths_of_the_wrong_kind(tmp_path, folder):
    (tmp_path / "folder" / "empty").mkdir(parents=True)
    (tmp_path / "folder" / "._litter").write_bytes(b"")
    (tmp_path / "file").write_bytes(ARCHIVE)
    message = error_of(
        [
            {"type": "archive", "path": str(tmp_path / "folder"), "sha256": None},
            {"type": "directory", "path": str(tmp_path / "file")},
            {"type": "directory", "path": str(tmp_path / "folder")},
        ],
        folder,
    )
    assert "found: a folder" in message
    assert "found: a file" in message
    assert "found: an empty folder" in message


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (QUOTA_PAGE, "a web page titled"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (ARCHIVE[:-500], "is truncated or corrupt"),
        (ARCHIVE + b"0", "has the wrong checksum"),
    ],
    ids=["page", "lfs", "truncated", "other"],
)
def test_advice_on_an_archive_of_the_user_is_not_that_on_a_download(tmp_path, folder, content, found):
    path = tmp_path / "mine.tar.gz"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    expected = SHA256 if content == ARCHIVE + b"0" else None
    message = error_of([{"type": "archive", "path": str(path), "sha256": expected}], folder)
    assert found in message
    assert path.is_file()
    for wrong in ("quota", "delete", "start again", "get the file again", "link"):
        assert wrong not in message.replace("quota-exceeded", "").partition("what to do:")[2]


def test_archive_of_the_user_is_never_removed(tmp_path, folder):
    for name, content in {"page.tar.gz": b"<html><title>Quota</title>", "half.tar.gz": ARCHIVE[:9_000]}.items():
        (tmp_path / name).write_bytes(content)
        error_of([{"type": "archive", "path": str(tmp_path / name), "sha256": None}], folder)
        assert (tmp_path / name).read_bytes() == content
    (tmp_path / "text.gz").write_bytes(gzip.compress(b"no tar", mtime=0))
    assert "that is no tar" in error_of([{"type": "archive", "path": str(tmp_path / "text.gz")}], folder)


def test_full_disk_stops_at_once_and_keeps_the_download(server, folder, monkeypatch):
    server.serve(DRIVE_ID, ARCHIVE)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(LocalError, match="not enough disk space"):
        retrieve([GDRIVE, {"type": "simulated", "chips": 1, "size_px": 8, "seed": 0}], folder, simulate=no_simulation)
    assert len(downloads_in(folder)) == 1
    assert not (folder / "chips").exists()


def test_disk_that_fills_up_while_downloading(server, folder, monkeypatch):
    def full(**options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gdown.download", full)
    with pytest.raises(LocalError, match="not enough disk space to download"):
        retrieve([GDRIVE], folder, simulate=no_simulation)


@pytest.mark.parametrize(
    "content", [b"<html><title>Quota exceeded</title></html>", b"\x89PNG and so on", gzip.compress(b"x", mtime=0)]
)
def test_own_archive_gets_no_advice_for_downloads(tmp_path, folder, content):
    (tmp_path / "mine.tar.gz").write_bytes(content)
    message = error_of([{"type": "archive", "path": str(tmp_path / "mine.tar.gz")}], folder)
    for word in ("quota may", "sign-in", "browser", "wait a day", "get the file again"):
        assert word not in message
    assert "what to do" in message


def test_wrong_checksum_of_an_own_archive_asks_for_the_path(tmp_path, folder):
    (tmp_path / "mine.tar.gz").write_bytes(ARCHIVE)
    message = error_of([{"type": "archive", "path": str(tmp_path / "mine.tar.gz"), "sha256": "0" * 64}], folder)
    assert "correct `path`" in message
    assert "get the file again" not in message


@pytest.mark.parametrize("kind", ["directory", "archive"])
def test_links_that_lead_to_each_other_are_a_source_that_is_not_there(tmp_path, folder, kind):
    (tmp_path / "loop").symlink_to("loop")
    assert "at this path" in error_of([{"type": kind, "path": str(tmp_path / "loop"), "sha256": None}], folder)
