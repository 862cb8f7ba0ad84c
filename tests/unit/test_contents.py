"""Whether a study notices that files it has read have other content, and nothing else."""

import json
import os
import shutil

import pytest

from terralucas import contents
from terralucas.contents import look_at, states_of, token_elsewhere, token_of, write_record


@pytest.fixture
def read(tmp_path):
    """Three files that were read, and their record."""
    folder, record = tmp_path / "chips", tmp_path / "record.json"
    folder.mkdir()
    files = {name: folder / name for name in "abc"}
    for name, path in files.items():
        path.write_text(f"content of {name}")
    token = token_of(record, files)
    write_record(record, token, str(folder), files, states_of(files), {})
    return folder, record, files, token


def test_the_token_before_reading_is_the_token_after_it(read):
    _, record, files, token = read
    assert token_of(record, files) == token


def test_times_do_not_count_and_are_looked_up_once(read, monkeypatch):
    _, record, files, token = read
    for path in files.values():
        os.utime(path, (1, 1))
    assert token_of(record, files) == token
    monkeypatch.setattr(contents, "sha256_of_file", lambda path: pytest.fail(f"{path} is read again"))
    assert token_of(record, files, contents.sha256_of_file) == token


def test_a_folder_that_is_away_does_not_count(read):
    folder, record, files, token = read
    shutil.rmtree(folder)
    assert token_of(record, files) == token
    assert token_of(record, {}) == token


@pytest.mark.parametrize("change", ["other content", "same size", "one more", "one less", "renamed"])
def test_content_counts(read, change):
    folder, record, files, token = read
    if change == "one more":
        files["d"] = folder / "d"
        files["d"].write_text("content of d")
    elif change == "one less":
        files.pop("b").unlink()
    elif change == "renamed":
        files["d"] = files.pop("b").rename(folder / "d")
    else:
        files["b"].write_text("more content" if change == "other content" else "content of B")
        os.utime(files["b"], ns=(1, 1))
    changed = token_of(record, files)
    assert changed != token
    assert token_of(record, files) == changed, "a start that was killed before it read them says the same"
    write_record(record, changed, str(folder), files, states_of(files), {})
    assert token_of(record, files) == changed


@pytest.mark.parametrize("change", ["exchanged", "written with its time of before"])
def test_content_counts_although_sizes_and_times_are_the_same(read, change):
    """Chips that were unpacked from an archive often have one size and one time."""
    folder, record, files, _ = read
    for path in files.values():
        os.utime(path, ns=(5, 5))
    token = token_of(record, files)
    if change == "exchanged":
        files["a"].rename(folder / "x")
        files["b"].rename(files["a"])
        (folder / "x").rename(files["b"])
    else:
        files["b"].write_text("content of B")
        os.utime(files["b"], ns=(5, 5))
    assert token_of(record, files) != token


@pytest.mark.parametrize("tick", ["one second", "one nanosecond"])
def test_folders_that_were_exchanged_on_a_disk_of_coarse_times_count(tmp_path, monkeypatch, tick):
    """The times of the files in them stay as they were."""
    files, record = {name: tmp_path / name / "chip.tif" for name in "abc"}, tmp_path / "record.json"
    for name, path in files.items():
        path.parent.mkdir()
        path.write_text(f"content of {name}")
    if tick == "one second":
        exact = contents.states_of
        monkeypatch.setattr(
            contents,
            "states_of",
            lambda files: {name: state._replace(mtime_ns=5, ctime_ns=5) for name, state in exact(files).items()},
        )
    token = token_of(record, files)
    write_record(record, token, str(tmp_path), files, contents.states_of(files), {})
    (tmp_path / "a").rename(tmp_path / "x")
    (tmp_path / "b").rename(tmp_path / "a")
    (tmp_path / "x").rename(tmp_path / "b")
    assert token_of(record, files) != token


def test_another_file_of_the_same_size_and_time_counts(tmp_path, monkeypatch):
    """Such as last.pt and best.pt, which a program wrote in one second."""
    last, best, record = tmp_path / "last.pt", tmp_path / "best.pt", tmp_path / "record.json"
    last.write_text("last")
    best.write_text("best")
    exact = contents.states_of
    monkeypatch.setattr(
        contents,
        "states_of",
        lambda files: {name: state._replace(mtime_ns=5, ctime_ns=5) for name, state in exact(files).items()},
    )
    token = token_of(record, {"weights": last})
    write_record(record, token, str(last), {"weights": last}, contents.states_of({"weights": last}), {})
    assert token_of(record, {"weights": last}) == token
    assert token_of(record, {"weights": best}) != token
    assert token_elsewhere(record, str(best), {"weights": best}) is None


def test_another_inode_has_a_file_read_again_once(read):
    """Some network drives give files other inodes at each start."""
    _, record, files, token = read
    known = json.loads(record.read_text())
    known["files"] = {name: [*entry[:3], entry[3] + 1, entry[4]] for name, entry in known["files"].items()}
    record.write_text(json.dumps(known))
    digests = []

    def digest(path):
        digests.append(path.name)
        return contents.sha256_of_file(path)

    assert [token_of(record, files, digest) for _ in range(2)] == [token, token]
    assert digests == list(files)


def test_a_record_of_an_earlier_version_says_the_same(read):
    """It has one time of each file."""
    _, record, files, token = read
    known = json.loads(record.read_text())
    known["files"] = {name: [size, mtime, sha256] for name, (size, mtime, _, _, sha256) in known["files"].items()}
    record.write_text(json.dumps(known))
    assert token_of(record, files) == token
    assert all(len(entry) == 5 for entry in json.loads(record.read_text())["files"].values())


def test_what_nobody_reads_of_a_file_does_not_count(read):
    folder, record, files, token = read

    def digest(path):
        return "" if path.suffix == ".xml" else contents.sha256_of_file(path)

    files["a.aux.xml"] = folder / "a.aux.xml"
    files["a.aux.xml"].write_text("statistics")
    assert token_of(record, files, digest) == token


def test_a_damaged_record_is_none(read):
    _, record, files, _ = read
    record.write_text("{")
    assert contents.read_record(record) is None
    assert token_of(record, files)


@pytest.mark.parametrize("text", ["{}", "[]", '{"token": "a"}', '{"token": "a", "files": {"a": 3}}'])
def test_a_record_of_another_form_counts_as_none(read, text):
    _, record, files, _ = read
    record.write_text(text)
    assert token_of(record, files) == token_of(record.with_name("none.json"), files)
    assert token_elsewhere(record, "elsewhere", files) is None


@pytest.mark.parametrize("change", ["replaced", "deleted"])
def test_a_file_that_changes_while_it_is_read_counts_as_changed(tmp_path, change):
    """A table of labels that is corrected while thousands of chips are checked."""
    table, record = tmp_path / "labels.csv", tmp_path / "record.json"
    files = {"labels.csv": table}
    table.write_text("before")
    token, states = token_of(record, files), states_of(files)
    table.unlink()
    if change == "replaced":
        table.write_text("after!")
    write_record(record, token, str(tmp_path), files, states, {})
    table.write_text("after!")
    again = token_of(record, files)
    assert again != token
    # It is read again then.
    write_record(record, again, str(tmp_path), files, states_of(files), {})
    assert token_of(record, files) == again


def test_a_file_that_changes_while_its_checksum_is_computed_counts_as_changed(tmp_path):
    table, record = tmp_path / "labels.csv", tmp_path / "record.json"
    files = {"labels.csv": table}
    table.write_text("before")
    token = token_of(record, files)

    def digest(path):
        path.write_text("after!")
        return contents.sha256_of_file(path)

    write_record(record, token, str(tmp_path), files, states_of(files), {}, digest)
    assert token_of(record, files) != token


def test_a_backup_that_links_files_meanwhile_changes_nothing(tmp_path):
    """It changes the time at which the system last changed what it knows of them."""
    table, record = tmp_path / "labels.csv", tmp_path / "record.json"
    files = {"labels.csv": table}
    table.write_text("before")
    token, states = token_of(record, files), states_of(files)
    (tmp_path / "backup.csv").hardlink_to(table)
    table.chmod(0o600)
    write_record(record, token, str(tmp_path), files, states, {})
    assert token_of(record, files) == token


def test_statistics_that_a_viewer_writes_meanwhile_change_nothing(tmp_path):
    """Other metadata that change while files are read do."""
    beside, record = tmp_path / "a.tif.aux.xml", tmp_path / "record.json"
    files = {"a.tif.aux.xml": beside}

    def digest(path):
        text = path.read_text()
        return text if "offset" in text else ""

    for text, is_other in (("offset", True), ("statistics", False)):
        beside.write_text(text)
        record.unlink(missing_ok=True)
        token, before = token_of(record, files, digest), look_at(files, digest)
        beside.write_text("more statistics")
        write_record(record, token, str(tmp_path), *before, digest)
        assert (token_of(record, files, digest) != token) == is_other


def test_a_file_that_is_replaced_by_one_of_the_same_size_and_time_counts_as_changed(tmp_path):
    table, record = tmp_path / "labels.csv", tmp_path / "record.json"
    files = {"labels.csv": table}
    table.write_text("a,1")
    os.utime(table, ns=(1, 1))
    token, states = token_of(record, files), states_of(files)
    (tmp_path / "new.csv").write_text("a,2")
    os.utime(tmp_path / "new.csv", ns=(1, 1))
    (tmp_path / "new.csv").rename(table)
    write_record(record, token, str(tmp_path), files, states, {})
    assert token_of(record, files) != token
