"""Weights: checked files, and the Hugging Face hub's protocol on a local server."""

import contextlib
import hashlib
import io
import json
import os
import pty
import termios
import zipfile
from pathlib import Path

import pytest

from helpers.hub_server import COMMIT, fetch, serving, start
from terralucas.backbones.weights import obtain
from terralucas.errors import StudyError


def as_saved(content: bytes) -> bytes:
    """A zip archive, as torch.save writes it."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), content)
    return buffer.getvalue()


CONTENT = as_saved(b"weights" * 100_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NOBODY = "http://127.0.0.1:9"
PAGE = b"<!DOCTYPE html><html><head><title>Welcome to the campus network</title></head></html>"


@pytest.fixture
def hub():
    with serving(CONTENT) as server:
        yield server


def record_of(output):
    return json.loads(output.strip().splitlines()[-1])


def blobs_in(cache):
    return sorted(path.name for path in (cache / "huggingface" / "models--org--model" / "blobs").iterdir())


def test_fetches_checks_and_records_and_works_offline_afterwards(hub, tmp_path):
    record = record_of(fetch(hub.endpoint, tmp_path, HF_TOKEN="hf_secret")[0])
    assert Path(record["path"]).read_bytes() == CONTENT
    assert (record["sha256"], record["commit"], record["size_bytes"]) == (DIGEST, COMMIT, len(CONTENT))
    carried = {path.startswith("/storage"): token for _, path, _, token in hub.seen}
    assert carried == {False: True, True: False}, "the token goes to the hub and not on to the storage host"
    output, said = fetch(NOBODY, tmp_path, HF_HUB_OFFLINE="1")
    assert record_of(output) == record
    assert "fetched before is used" in said


def test_a_relative_cache_stays_relative_so_that_a_project_can_be_moved(hub, tmp_path, monkeypatch):
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    monkeypatch.chdir(before)
    record = record_of(fetch(hub.endpoint, Path("resources"))[0])
    assert Path(record["path"]).parts[:2] == ("resources", "huggingface")
    before.rename(after)
    monkeypatch.chdir(after)
    assert Path(record["path"]).read_bytes() == CONTENT
    assert record_of(fetch(NOBODY, Path("resources"))[0]) == record


def test_a_pinned_commit_that_is_there_asks_nobody(hub, tmp_path):
    first = record_of(fetch(hub.endpoint, tmp_path, revision=COMMIT)[0])
    hub.seen.clear()
    assert record_of(fetch(hub.endpoint, tmp_path, revision=COMMIT)[0]) == first
    assert hub.seen == []


@pytest.mark.parametrize(
    ("changed", "asked"),
    [({}, "b" * 40), ({"revision": "v2"}, "v2"), ({"sha256": DIGEST}, "b" * 40), ({"sha256": "1" * 64}, "main")],
)
def test_the_commit_that_a_study_has_used_is_fetched_again_and_not_what_its_branch_leads_to_now(
    hub, tmp_path, changed, asked
):
    earlier = {"source": "huggingface", "repo": "org/model", "filename": "model.pt", "revision": "main"}
    earlier |= {"commit": "b" * 40, "sha256": DIGEST}
    fetch(hub.endpoint, tmp_path, earlier=earlier, **changed)
    assert {path for _, path, _, _ in hub.seen if "resolve" in path} == {f"/org/model/resolve/{asked}/model.pt"}


def test_a_commit_that_is_gone_is_said_to_be_of_the_study(hub, tmp_path):
    earlier = {"source": "huggingface", "repo": "org/model", "filename": "model.pt", "revision": "main"}
    hub.status, hub.headers = 404, {"X-Error-Code": "RevisionNotFound"}
    _, said = fetch(hub.endpoint, tmp_path, earlier=earlier | {"commit": "b" * 40, "sha256": DIGEST})
    assert "The study has used this commit before." in said
    assert "to take what main is now, delete results/<study>/weights/<backbone>.json" in said


def test_the_file_that_is_expected_is_kept_though_its_branch_moved_on(hub, tmp_path):
    first = record_of(fetch(hub.endpoint, tmp_path, sha256=DIGEST)[0])
    hub.etag = "b" * 64
    hub.seen.clear()
    assert record_of(fetch(hub.endpoint, tmp_path, sha256=DIGEST)[0]) == first
    assert hub.seen == []


@pytest.mark.parametrize("settings", [{}, {"revision": COMMIT}, {"sha256": DIGEST}])
@pytest.mark.parametrize("damaged", [CONTENT[:-1] + b"x", CONTENT[:1000], b"", PAGE])
def test_a_damaged_file_of_the_cache_is_downloaded_again(hub, tmp_path, settings, damaged):
    path = Path(record_of(fetch(hub.endpoint, tmp_path, **settings)[0])["path"]).resolve()
    path.write_bytes(damaged)
    output, said = fetch(hub.endpoint, tmp_path, **settings)
    assert f"{path} is damaged: its checksum differs. It is deleted and downloaded again." in said
    assert record_of(output)["sha256"] == DIGEST
    assert path.read_bytes() == CONTENT


def test_a_damaged_file_that_cannot_be_deleted_is_refused(hub, tmp_path):
    path = Path(record_of(fetch(hub.endpoint, tmp_path, revision=COMMIT)[0])["path"]).resolve()
    path.write_bytes(CONTENT[:-1] + b"x")
    read_only = "import pathlib\ndef refuse(path, **options): raise OSError(30, 'Read-only file system')\n"
    said = fetch(hub.endpoint, tmp_path, revision=COMMIT, prelude=f"{read_only}pathlib.Path.unlink = refuse")[1]
    assert f"weights {path} are not the expected ones" in said


def test_a_download_that_stopped_goes_on_in_the_next_process(hub, tmp_path):
    hub.cut = 0
    (blobs := tmp_path / "huggingface" / "models--org--model" / "blobs").mkdir(parents=True)
    (blobs / f"{DIGEST}.part").write_bytes(CONTENT[:300_000])
    assert "300000 bytes are kept" in fetch(hub.endpoint, tmp_path)[1]
    hub.cut = 150_000
    hub.seen.clear()
    # The library writes pieces of 10 MB; of a broken connection, whole ones are kept.
    small = "from huggingface_hub import constants\nconstants.DOWNLOAD_CHUNK_SIZE = 50_000"
    record = record_of(fetch(hub.endpoint, tmp_path, prelude=small)[0])
    assert Path(record["path"]).read_bytes() == CONTENT
    assert hub.downloads() == ["bytes=300000-", "bytes=450000-", "bytes=600000-"]
    assert blobs_in(tmp_path) == [DIGEST]


def test_what_does_not_fit_the_rest_is_downloaded_anew(hub, tmp_path):
    (blobs := tmp_path / "huggingface" / "models--org--model" / "blobs").mkdir(parents=True)
    (blobs / f"{DIGEST}.part").write_bytes(b"x" * 1000)
    assert record_of(fetch(hub.endpoint, tmp_path)[0])["sha256"] == DIGEST
    assert hub.downloads() == ["bytes=1000-", None]


def test_two_studies_at_once_download_once(hub, tmp_path):
    both = [start(hub.endpoint, tmp_path) for _ in range(2)]
    records = [record_of(process.communicate()[0]) for process in both]
    assert records[0] == records[1]
    assert len(hub.downloads()) == 1


def test_a_terminal_shows_the_progress(hub, tmp_path):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = start(hub.endpoint, tmp_path, stderr=theirs)
    os.close(theirs)
    process.communicate()
    shown = b""
    # Linux ends the reading of a terminal that nobody writes to any more with an error.
    with contextlib.suppress(OSError):
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    assert b"model.pt: 100%" in shown


def test_a_file_that_is_not_what_the_hub_records_is_refused_and_not_kept(hub, tmp_path):
    hub.etag = "b" * 64
    said = fetch(hub.endpoint, tmp_path)[1]
    assert "are not the expected ones" in said
    assert DIGEST in said
    assert hub.etag in said
    assert blobs_in(tmp_path) == []


def test_a_file_that_is_not_what_the_study_expects_is_refused_before_it_is_downloaded(hub, tmp_path):
    said = fetch(hub.endpoint, tmp_path, sha256="c" * 64)[1]
    assert "it was not downloaded" in said
    assert f"sha256 {'c' * 64}" in said
    assert hub.downloads() == []
    fetch(hub.endpoint, tmp_path)
    assert f"sha256 {'c' * 64}" in fetch(hub.endpoint, tmp_path, sha256="c" * 64)[1], "nor is one that was there"


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (401, {"X-Error-Code": "RepoNotFound"}, ["HTTP status 401", "correct repo", "HF_TOKEN"]),
        (
            403,
            {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model org/model is restricted"},
            ["HTTP status 403: Access to model org/model is restricted", "accept its conditions", "HF_TOKEN"],
        ),
        (404, {"X-Error-Code": "RevisionNotFound"}, ["HTTP status 404", "correct repo, filename and revision"]),
        (429, {}, ["HTTP status 429", "wait some minutes", "HF_TOKEN"]),
        (503, {}, ["HTTP status 503", "start again later"]),
    ],
)
def test_refusals_of_the_hub_are_put_into_words(hub, tmp_path, status, headers, said):
    hub.status, hub.headers = status, headers
    message = fetch(hub.endpoint, tmp_path)[1]
    by_hand = [f"{hub.endpoint}/org/model/resolve/main/model.pt", "source: file"]
    for words in ["could not be fetched from the Hugging Face hub", *said, *by_hand]:
        assert words in message


@pytest.mark.parametrize("at_hub", [True, False])
def test_a_sign_in_page_of_the_network_is_no_checkpoint(hub, tmp_path, at_hub):
    hub.page, hub.at_hub = PAGE, at_hub
    message = fetch(hub.endpoint, tmp_path)[1]
    assert "sign in to this network" in message
    assert at_hub or "Welcome to the campus network" in message
    hub.page = None
    assert record_of(fetch(hub.endpoint, tmp_path)[0])["sha256"] == DIGEST, "nothing of the page is left"


def test_no_network(tmp_path):
    message = fetch(NOBODY, tmp_path)[1]
    assert "could not be fetched from the Hugging Face hub" in message
    assert "check that this machine reaches the hub" in message


def test_a_disk_that_is_too_small(hub, tmp_path):
    prelude = "import collections, shutil\nshutil.disk_usage = lambda path: collections.namedtuple('U', 'free')(1000)"
    message = fetch(hub.endpoint, tmp_path, prelude=prelude)[1]
    assert "not enough disk space to download model.pt" in message
    assert hub.downloads() == []


def test_a_disk_that_fills_up(hub, tmp_path):
    prelude = (
        "import errno, huggingface_hub.file_download as library\n"
        "def full(url, stream, **options):\n"
        "    raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "library.http_get = full"
    )
    assert "There is no space left" in fetch(hub.endpoint, tmp_path, prelude=prelude)[1]


def test_a_page_saved_by_a_browser_is_no_checkpoint(tmp_path):
    (tmp_path / "w.pt").write_bytes(PAGE)
    with pytest.raises(StudyError, match="Welcome to the campus network"):
        obtain({"source": "file", "path": str(tmp_path / "w.pt"), "sha256": None}, tmp_path)


def test_files_are_checked(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(CONTENT)
    record = obtain({"source": "file", "path": str(path), "sha256": DIGEST}, tmp_path)
    assert record == {"source": "file", "path": str(path), "sha256": DIGEST, "size_bytes": len(CONTENT)}
    with pytest.raises(StudyError, match="not the expected ones"):
        obtain({"source": "file", "path": str(path), "sha256": "c" * 64}, tmp_path)
    with pytest.raises(StudyError, match="not there"):
        obtain({"source": "file", "path": str(tmp_path / "none.pt"), "sha256": None}, tmp_path)


def test_a_path_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w.pt").write_bytes(CONTENT)
    assert obtain({"source": "file", "path": "~/w.pt", "sha256": None}, tmp_path)["path"] == str(tmp_path / "w.pt")


def test_random_weights_need_nothing(tmp_path):
    assert obtain({"source": "random", "seed": 3}, tmp_path)["seed"] == 3
