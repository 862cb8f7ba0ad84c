"""Retrieval of chips: sources, resuming, reuse, several sources and processes."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import logging
import os
import random
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from helpers.drive_server import QUOTA_PAGE, Served
from helpers.retrieval import (
    ARCHIVE,
    CUT,
    DRIVE_ID,
    GDRIVE,
    KEPT,
    SHA256,
    TREE,
    downloads_in,
    error_of,
    no_simulation,
    parts_in,
    tar_gz,
    tree_of,
    url_source,
)
from terralucas.data.retrieval import downloads as downloads_module
from terralucas.data.retrieval.archives import LocalError
from terralucas.data.retrieval.retrieve import Retrieval, retrieve
from terralucas.errors import StudyError

# Sources that work


@pytest.mark.parametrize("confirm", [False, True], ids=["small", "large-with-confirm-page"])
def test_gdrive(server, folder, confirm):
    server.serve(DRIVE_ID, ARCHIVE, confirm=confirm)
    retrieval = retrieve([GDRIVE | {"sha256": SHA256.upper()}], folder, simulate=no_simulation)
    assert retrieval == Retrieval("gdrive", DRIVE_ID, str(folder / "chips"), SHA256, len(ARCHIVE), True, [])
    assert tree_of(retrieval.root) == TREE
    assert json.loads(json.dumps(retrieval.to_json())) == retrieval.to_json()


def test_a_relative_folder_stays_relative_so_that_a_project_can_be_moved(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    (before / "chips.tar.gz").write_bytes(ARCHIVE)
    # Downloads may lie on another disk.
    (before / "resources").symlink_to(tmp_path / "disk")
    monkeypatch.chdir(before)
    source = {"type": "archive", "path": "chips.tar.gz"}
    retrieval = retrieve([source], Path("resources/chips/lucas"), simulate=no_simulation)
    assert (retrieval.origin, retrieval.root) == ("chips.tar.gz", "resources/chips/lucas/chips")
    before.rename(after)
    monkeypatch.chdir(after)
    assert tree_of(retrieval.root) == TREE
    assert retrieve([source], Path("resources/chips/lucas"), simulate=no_simulation) == retrieval


def test_url_without_a_checksum_is_not_called_checked(server, folder):
    server.serve("chips.tar.gz", ARCHIVE)
    retrieval = retrieve([url_source(server)], folder, simulate=no_simulation)
    assert (retrieval.source, retrieval.origin) == ("url", server.url_of("chips.tar.gz"))
    assert (retrieval.sha256, retrieval.checked) == (SHA256, False)
    assert tree_of(retrieval.root) == TREE


def test_link_of_drive_as_a_url(server, folder):
    server.serve(DRIVE_ID, ARCHIVE, confirm=True)
    source = {"type": "url", "url": f"https://drive.google.com/file/d/{DRIVE_ID}/view?usp=sharing", "sha256": SHA256}
    assert retrieve([source], folder, simulate=no_simulation).origin.endswith(f"/{DRIVE_ID}/view")


def test_zip_over_http(server, folder):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("Chips/1/45922254.tif", b"one")
    server.serve("download", buffer.getvalue())
    assert tree_of(retrieve([url_source(server, "download")], folder, simulate=no_simulation).root) == {
        "Chips/1/45922254.tif": b"one"
    }


def test_archive_is_used_where_it_lies(tmp_path, folder):
    archive = tmp_path / "by-hand.tar.gz"
    archive.write_bytes(ARCHIVE)
    source = {"type": "archive", "path": str(archive), "sha256": SHA256}
    retrieval = retrieve([source], folder, simulate=no_simulation)
    assert (retrieval.source, retrieval.origin, retrieval.checked) == ("archive", str(archive), True)
    assert tree_of(retrieval.root) == TREE
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "chips"]


def test_directory_is_used_in_place_and_not_changed(tmp_path, folder):
    chips = tmp_path / "mine"
    (chips / "1").mkdir(parents=True)
    (chips / "1" / "45922254.tif").write_bytes(b"12345")
    retrieval = retrieve([{"type": "directory", "path": str(chips)}], folder, simulate=no_simulation)
    assert retrieval == Retrieval("directory", str(chips), str(chips), None, 5, False, [])
    assert [path.name for path in chips.rglob("*")] == ["1", "45922254.tif"]
    assert not (folder / "chips").exists()


def test_directory_of_linked_folders_is_used_with_the_size_of_what_they_lead_to(tmp_path, folder):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.tif").write_bytes(b"12345")
    chips = tmp_path / "mine"
    chips.mkdir()
    (chips / "forest").symlink_to(tmp_path / "elsewhere")
    retrieval = retrieve([{"type": "directory", "path": str(chips)}], folder, simulate=no_simulation)
    assert (retrieval.root, retrieval.size_bytes) == (str(chips), 5)


def test_directory_whose_link_leads_to_a_name_that_is_not_utf8_is_refused_with_the_name(tmp_path, folder):
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    place.mkdir()
    (place / "a.tif").write_bytes(b"12345")
    (tmp_path / "mine").symlink_to(place)
    message = error_of([{"type": "directory", "path": str(tmp_path / "mine")}], folder)
    assert rf"{tmp_path}/caf\xe9 has a name that is not UTF-8" in message


def test_simulated_goes_the_way_of_an_archive(folder):
    source = {"type": "simulated", "chips": 2, "size_px": 16, "seed": 7}
    asked = []

    def simulate(settings, path):
        asked.append((settings, path.suffixes))
        path.write_bytes(ARCHIVE)

    retrieval = retrieve([source], folder, simulate=simulate)
    assert asked == [(source, [".tar", ".gz"])]
    assert (retrieval.source, retrieval.sha256, retrieval.checked) == ("simulated", SHA256, False)
    assert retrieval.origin == "2 chips of 16 px, seed 7"
    assert tree_of(retrieval.root) == TREE


# Doing nothing twice


def test_second_run_needs_no_network_and_unpacks_nothing(server, folder):
    chips = folder / "chips"

    def states():
        """The files and folders of the tree, and when each was last changed: unpacking would make them anew."""
        return {path: (path.stat().st_ino, path.stat().st_ctime_ns) for path in (chips, *chips.rglob("*"))}

    server.serve(DRIVE_ID, ARCHIVE)
    first = retrieve([GDRIVE], folder, simulate=no_simulation)
    before = states()
    assert chips / "Chips" / "1" / "45922254.tif" in before
    server.seen.clear()
    assert retrieve([GDRIVE], folder, simulate=no_simulation) == first
    assert server.seen == []
    assert states() == before


def test_tree_with_a_missing_chip_is_unpacked_again(server, folder):
    server.serve(DRIVE_ID, ARCHIVE)
    retrieval = retrieve([GDRIVE], folder, simulate=no_simulation)
    (folder / "chips" / "Chips" / "1" / "45922254.tif").unlink()
    (folder / "chips" / ".DS_Store").write_bytes(b"seen by Finder")
    retrieve([GDRIVE], folder, simulate=no_simulation)
    assert tree_of(retrieval.root) == TREE
    assert len(server.seen) == 1


@pytest.mark.parametrize("change", ["exchanged", "other content"])
def test_a_tree_with_other_chips_is_unpacked_again(server, folder, change):
    """Sizes and times of unpacked chips are often alike."""
    server.serve(DRIVE_ID, ARCHIVE)
    retrieval = retrieve([GDRIVE], folder, simulate=no_simulation)
    chips = sorted((folder / "chips" / "Chips").rglob("*.tif"))
    if change == "exchanged":
        chips[0].rename(folder / "other")
        chips[1].rename(chips[0])
        (folder / "other").rename(chips[1])
    else:
        chips[0].write_bytes(chips[0].read_bytes()[::-1])
    assert tree_of(retrieval.root) != TREE
    retrieve([GDRIVE], folder, simulate=no_simulation)
    assert tree_of(retrieval.root) == TREE


def test_other_archive_replaces_the_tree(tmp_path, folder):
    archive = tmp_path / "chips.tar.gz"
    source = {"type": "archive", "path": str(archive), "sha256": None}
    for tree in (TREE, {"Other/9/1.tif": b"other"}):
        archive.write_bytes(tar_gz(tree))
        assert tree_of(retrieve([source], folder, simulate=no_simulation).root) == tree
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "chips"]


def test_left_overs_of_a_killed_unpacking_are_cleared(tmp_path, folder):
    archive = tmp_path / "chips.tar.gz"
    archive.write_bytes(ARCHIVE)
    for name in (".unpacking", ".outdated"):
        (folder / name / "Chips").mkdir(parents=True)
        (folder / name / "Chips" / "half.tif").write_bytes(b"half")
    source = {"type": "archive", "path": str(archive), "sha256": None}
    assert tree_of(retrieve([source], folder, simulate=no_simulation).root) == TREE
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "chips"]


def test_chips_of_someone_else_are_not_touched(tmp_path, folder):
    archive = tmp_path / "chips.tar.gz"
    archive.write_bytes(ARCHIVE)
    (folder / "chips").mkdir(parents=True)
    (folder / "chips" / "mine.tif").write_bytes(b"mine")
    sources = [{"type": "archive", "path": str(archive), "sha256": None}, {"type": "directory", "path": str(tmp_path)}]
    with pytest.raises(LocalError, match="not unpacked by this workflow") as raised:
        retrieve(sources, folder, simulate=no_simulation)
    assert "type: directory" in str(raised.value)
    assert tree_of(folder / "chips") == {"mine.tif": b"mine"}


def test_kept_download_that_went_bad_is_fetched_anew(server, folder):
    server.serve(DRIVE_ID, ARCHIVE)
    retrieve([GDRIVE], folder, simulate=no_simulation)
    (kept,) = downloads_in(folder)
    (folder / kept).write_bytes(ARCHIVE[:-100])
    retrieval = retrieve([GDRIVE], folder, simulate=no_simulation)
    assert (retrieval.sha256, len(server.seen)) == (SHA256, 2)
    assert (folder / kept).read_bytes() == ARCHIVE


# Resuming


def cut_then_whole(server, folder) -> None:
    """A first try whose connection breaks, and a server that then works."""
    server.serve("chips.tar.gz", ARCHIVE, cuts=[CUT])
    message = error_of([url_source(server)], folder)
    assert f"received {KEPT} bytes" in message
    assert f"announced {len(ARCHIVE)} bytes" in message
    assert f"{KEPT} bytes received so far are kept" in message
    assert parts_in(folder)[0].stat().st_size == KEPT
    server.seen.clear()


def test_cut_download_goes_on_where_it_stopped(server, folder):
    cut_then_whole(server, folder)
    retrieval = retrieve([url_source(server, sha256=SHA256)], folder, simulate=no_simulation)
    assert server.ranges_asked == [f"bytes={KEPT}-"]
    assert server.seen[-1].sent == len(ARCHIVE) - KEPT
    assert (retrieval.sha256, retrieval.size_bytes) == (SHA256, len(ARCHIVE))
    assert parts_in(folder) == []


def test_cut_is_mended_within_one_run_by_retries(server, folder, monkeypatch):
    monkeypatch.setattr(downloads_module, "RETRIES", 2)
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)  # gdown waits a random time before each retry
    server.serve(DRIVE_ID, ARCHIVE, confirm=True, cuts=[CUT, CUT])
    assert retrieve([GDRIVE | {"sha256": SHA256}], folder, simulate=no_simulation).checked
    assert server.ranges_asked == [f"bytes={KEPT}-", f"bytes={2 * KEPT}-"]


def test_of_several_partial_downloads_the_largest_goes_on(server, folder):
    cut_then_whole(server, folder)
    (part,) = parts_in(folder)
    stem = part.name.removesuffix(".part")[:-8]
    for ending, size in (("aaaaaaaa", 5_000), ("bbbbbbbb", 0)):
        (folder / f"{stem}{ending}.part").write_bytes(ARCHIVE[:size])
    retrieve([url_source(server, sha256=SHA256)], folder, simulate=no_simulation)
    assert server.ranges_asked == [f"bytes={KEPT}-"]
    assert parts_in(folder) == []


@pytest.mark.parametrize(
    "change",
    [
        {"ranges": False},
        {"etag": '"version-2"', "content": tar_gz({"Other/9/1.tif": b"other"})},
        {"content": tar_gz({"Other/9/1.tif": b"other"})},
    ],
    ids=["no-ranges", "changed-on-the-server", "shorter-than-the-part"],
)
def test_download_that_cannot_go_on_is_started_anew(server, folder, caplog, change):
    cut_then_whole(server, folder)
    served = server.files["chips.tar.gz"]
    for name, value in change.items():
        setattr(served, name, value)
    retrieval = retrieve([url_source(server)], folder, simulate=no_simulation)
    assert retrieval.sha256 == hashlib.sha256(served.content).hexdigest()
    assert "started again" in caplog.text
    assert parts_in(folder) == []


def plain_tar(letter: bytes) -> bytes:
    """A .tar without compression, whose middle can be replaced unnoticed."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for number in range(20):
            member = tarfile.TarInfo(f"chips/{number:02d}.bin")
            member.size = 50_000
            archive.addfile(member, io.BytesIO(letter * member.size))
    return stream.getvalue()


@pytest.mark.parametrize("checks_version", [True, False])
def test_a_file_that_changed_on_the_server_is_no_mixture_of_both(server, folder, caplog, checks_version):
    """Of the same size, and without compression, so that nothing else would notice."""
    served = server.serve("chips.tar", plain_tar(b"A"), cuts=[600_000], checks_version=checks_version)
    source = url_source(server, "chips.tar")
    error_of([source], folder)
    assert parts_in(folder)[0].stat().st_size > 0
    served.content, served.etag = plain_tar(b"B"), '"version-2"'
    retrieval = retrieve([source], folder, simulate=no_simulation)
    assert retrieval.sha256 == hashlib.sha256(served.content).hexdigest()
    assert {content for name, content in tree_of(retrieval.root).items() if name.endswith(".bin")} == {b"B" * 50_000}
    assert "has changed on the server, so that its download is started again" in caplog.text
    assert len(downloads_in(folder)) == 1


@pytest.mark.parametrize(("first", "second"), [('"version-1"', None), (None, None), (None, '"version-2"')])
@pytest.mark.parametrize("retries", [0, 1])
def test_a_file_whose_version_is_not_known_is_no_mixture(server, folder, monkeypatch, first, second, retries):
    """Of the same size, and without compression; also if the connection breaks in one call of gdown."""
    monkeypatch.setattr(downloads_module, "RETRIES", retries)
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)
    changed = Served(plain_tar(b"B"), checks_version=False, etag=second)
    server.serve("chips.tar", plain_tar(b"A"), cuts=[600_000], checks_version=False, etag=first, then=changed)
    source = url_source(server, "chips.tar")
    if not retries:
        error_of([source], folder)
        assert parts_in(folder)[0].stat().st_size > 0
    retrieval = retrieve([source], folder, simulate=no_simulation)
    assert {content for name, content in tree_of(retrieval.root).items() if name.endswith(".bin")} == {b"B" * 50_000}


def test_a_compressed_file_without_a_version_goes_on(server, folder):
    """Its CRC would tell a mixture."""
    cut_then_whole(server, folder)
    server.files["chips.tar.gz"].etag = None
    (record,) = folder.glob(".*.version.json")
    record.unlink()
    retrieve([url_source(server)], folder, simulate=no_simulation)
    assert server.ranges_asked == [f"bytes={KEPT}-"]


def test_a_server_that_always_breaks_and_names_no_version_ends_the_download(server, folder, monkeypatch):
    monkeypatch.setattr(downloads_module, "RETRIES", 2)
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)
    server.serve("chips.tar", plain_tar(b"A"), cuts=[600_000] * 100, etag=None)
    error = error_of([url_source(server, "chips.tar")], folder)
    assert "give the sha256 of the file" in str(error)


@pytest.mark.parametrize("etag", [None, '"version-1"'])
def test_a_cut_download_of_a_server_that_sends_no_rest_is_started_again_at_once(server, folder, monkeypatch, etag):
    monkeypatch.setattr(downloads_module, "RETRIES", 2)
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)
    server.serve("chips.tar.gz", ARCHIVE, cuts=[CUT, None, None], ranges=False, etag=etag)
    retrieval = retrieve([url_source(server)], folder, simulate=no_simulation)
    assert retrieval.sha256 == SHA256
    assert parts_in(folder) == []


def test_a_server_that_always_breaks_and_sends_no_rest_promises_nothing(server, folder, monkeypatch):
    monkeypatch.setattr(downloads_module, "RETRIES", 2)
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)
    server.serve("chips.tar.gz", ARCHIVE, cuts=[CUT, None] * 100, ranges=False)
    message = error_of([url_source(server)], folder)
    assert "a server that does not send the rest of a file" in message
    assert "starts at the beginning" in message
    assert "kept" not in message
    assert parts_in(folder) == []
    assert len(server.seen) < 10


@pytest.mark.parametrize("sha256", [None, SHA256], ids=["without-checksum", "with-checksum"])
def test_partial_download_of_wrong_bytes_is_started_anew(server, folder, sha256):
    cut_then_whole(server, folder)
    parts_in(folder)[0].write_bytes(bytes(KEPT))
    retrieval = retrieve([url_source(server, sha256=sha256)], folder, simulate=no_simulation)
    assert retrieval.sha256 == SHA256
    assert server.ranges_asked == [f"bytes={KEPT}-"]


@pytest.mark.parametrize("retries", [0, 2])
def test_lost_network_does_not_cost_the_partial_download(server, folder, monkeypatch, retries):
    cut_then_whole(server, folder)
    monkeypatch.setattr(downloads_module, "RETRIES", retries)
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)
    source = url_source(server)
    server.stop()
    with pytest.raises(StudyError):
        retrieve([source], folder, simulate=no_simulation)
    assert parts_in(folder)[0].stat().st_size == KEPT


# Several sources


def test_next_source_is_used_and_the_failures_are_told(server, folder, tmp_path):
    server.serve(DRIVE_ID, page=QUOTA_PAGE)
    server.serve("good.tar.gz", ARCHIVE)
    wrong = {"type": "url", "url": server.url_of("missing.tar.gz"), "sha256": None}
    sources = [GDRIVE, wrong, url_source(server, "good.tar.gz", SHA256), {"type": "directory", "path": str(tmp_path)}]
    retrieval = retrieve(sources, folder, simulate=no_simulation)
    assert (retrieval.source, retrieval.checked) == ("url", True)
    assert len(retrieval.failures) == 2
    assert retrieval.failures[0].startswith(f"gdrive {DRIVE_ID}: ")
    assert "Too many users" in retrieval.failures[0]
    assert "404" in retrieval.failures[1]
    assert not any("\n" in failure for failure in retrieval.failures)


def test_error_lists_every_source(server, folder, tmp_path):
    server.serve(DRIVE_ID, ARCHIVE)
    missing = {"type": "archive", "path": str(tmp_path / "missing.zip"), "sha256": None}
    message = error_of([GDRIVE | {"sha256": "0" * 64}, url_source(server, "missing.tar.gz"), missing], folder, 1)
    for line in (f"1. gdrive {DRIVE_ID}", "2. url http://", "3. archive "):
        assert line in message
    assert message.count("expected:") == 3
    assert message.count("what to do:") == 3
    assert message.count("do it yourself:") == 2


# Two processes, and secrets


def test_second_process_waits_and_then_uses_what_the_first_brought(server, folder, caplog):
    """A lock of another open file is what another process holds; the test holds it until the wait is logged."""
    caplog.set_level(logging.INFO)
    server.serve(DRIVE_ID, ARCHIVE)
    folder.mkdir()
    waits = threading.Event()

    class Watch(logging.Handler):
        def emit(self, record) -> None:
            if "waiting for it" in record.getMessage():
                waits.set()

    logging.getLogger("terralucas.folder_locks").addHandler(watch := Watch())
    results = []
    second = threading.Thread(target=lambda: results.append(retrieve([GDRIVE], folder, simulate=no_simulation)))
    try:
        with (folder / ".lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            second.start()
            assert waits.wait(timeout=10)
            assert server.seen == []
        second.join(timeout=10)
    finally:
        logging.getLogger("terralucas.folder_locks").removeHandler(watch)
    assert tree_of(results[0].root) == TREE


def test_two_at_the_same_time_download_once(server, folder):
    server.serve(DRIVE_ID, ARCHIVE)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(retrieve([GDRIVE], folder, simulate=no_simulation)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert len(server.seen) == 1
    assert tree_of(folder / "chips") == TREE


def test_file_system_without_locks(server, folder, monkeypatch, caplog):
    def no_locks(*arguments) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    server.serve(DRIVE_ID, ARCHIVE)
    assert retrieve([GDRIVE], folder, simulate=no_simulation).source == "gdrive"
    assert "has no locks" in caplog.text


@pytest.mark.parametrize("outcome", ["good", "missing", "cut", "page", "no-server"])
def test_secrets_of_urls_show_nowhere(server, folder, caplog, capfd, outcome):
    caplog.set_level(logging.DEBUG)
    behaviour = {
        "good": {"content": ARCHIVE},
        "missing": {"status": 404, "page": "<html></html>"},
        "cut": {"content": ARCHIVE, "cuts": [100]},
        "page": {"page": "<html></html>"},
        "no-server": {},
    }[outcome]
    server.serve("chips.tar.gz", **behaviour)
    address = server.url.removeprefix("http://")
    url = f"http://user-hush:word-hush@{address}/files/chips.tar.gz?token=query-hush#fragment-hush"
    if outcome == "no-server":
        server.stop()
    try:
        text = json.dumps(
            retrieve([{"type": "url", "url": url, "sha256": None}], folder, simulate=no_simulation).to_json()
        )
        assert outcome == "good"
        assert f"{server.url}/files/chips.tar.gz" in text
    except StudyError as error:
        assert outcome != "good"
        text = str(error)
        assert f"open {server.url}/files/chips.tar.gz (in full" in text
    captured = capfd.readouterr()
    everything = [text, caplog.text, captured.out, captured.err, *(str(path) for path in folder.rglob("*"))]
    assert not any("hush" in piece for piece in everything)


def test_urls_that_differ_in_the_query_are_different_files(server, folder):
    for number in ("1", "2"):
        server.serve(number, tar_gz({f"Chips/{number}.tif": b"x"}))
        source = {"type": "url", "url": f"{server.url}/get?id={number}", "sha256": None}
        assert list(tree_of(retrieve([source], folder, simulate=no_simulation).root)) == [f"Chips/{number}.tif"]


def test_bar_is_shown_on_stderr(server, folder, capsys):
    server.serve(DRIVE_ID, ARCHIVE)
    retrieve([GDRIVE], folder, simulate=no_simulation)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Downloading gdrive-" in captured.err
    assert "100%" in captured.err
