"""What makes weights others: their content, and neither where they lie nor how their checksum is checked."""

import hashlib
import os

import pytest

from terralucas.backbones.encoder import check_weights
from terralucas.backbones.weights import link_weights, settings_of_weights, token_of_weights
from terralucas.contents import states_of, write_record
from terralucas.errors import StudyError
from terralucas.files import write_json


class Study:
    """A study that has fetched the weights of a backbone."""

    def __init__(self, folder):
        (folder / "weights").mkdir()
        self.paths = [folder / "weights" / f"tiny{suffix}" for suffix in (".json", ".files.json", ".pt")]
        self.record, self.files_record, self.link = self.paths

    def token(self, path, sha256=None):
        return token_of_weights(self.weights(path, sha256), *self.paths)

    def weights(self, path, sha256=None):
        return {"source": "file", "path": str(path), "sha256": sha256}

    def fetch(self, path, sha256=None):
        """As the rule fetch_weights does; return the token."""
        token, files = self.token(path, sha256), {"weights": path}
        write_record(self.files_record, token, str(path), files, states_of(files), {})
        write_json(self.record, {"source": "file", "path": str(self.link), "sha256": checksum(path)})
        link_weights(str(path), self.link)
        return token


def checksum(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my weights.pt"
    path.write_bytes(b"numbers")
    return path


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def test_a_file_that_was_moved_is_the_same_and_is_read_where_it_is(study, file, tmp_path):
    token = study.fetch(file)
    (tmp_path / "away").mkdir()
    moved = file.rename(tmp_path / "away" / "w.pt")
    assert study.token(moved) == token
    assert study.link.resolve() == moved
    spelled = tmp_path / "weights" / ".." / "away" / "w.pt"
    assert study.token(spelled) == token
    assert study.token(file) != token, "nothing is at this path"
    moved.rename(file)
    assert study.token(file) == token
    assert study.link.read_bytes() == b"numbers"


def test_a_file_that_is_away_for_now_changes_nothing(study, file):
    token = study.fetch(file)
    file.unlink()
    assert study.token(file) == token


def test_other_bytes_are_other_weights_at_the_same_and_at_another_path(study, file, tmp_path):
    token = study.fetch(file)
    other = tmp_path / "other.pt"
    other.write_bytes(b"NUMBERS")
    os.utime(other, ns=(file.stat().st_mtime_ns, file.stat().st_mtime_ns - 10**9))
    assert study.token(other) != token
    assert study.link.resolve() == file, "what was made of the first is not of the second"
    file.write_bytes(b"other numbers")
    changed = study.token(file)
    assert changed != token
    assert study.fetch(file) == changed == study.token(file)


def test_a_right_checksum_changes_nothing_and_a_wrong_one_is_looked_at(study, file):
    token, right = study.fetch(file), checksum(file)
    assert study.token(file, right) == token
    assert study.token(file, "0" * 64) != token
    assert study.token(file) == token
    # Other bytes, and their checksum with them.
    file.write_bytes(b"other numbers")
    changed = study.fetch(file, checksum(file))
    assert changed not in (token, study.token(file, right))
    assert study.token(file, checksum(file)) == study.token(file) == changed


def test_a_pinned_download_is_the_same_without_its_pin(study):
    hub = {"source": "huggingface", "repo": "a/b", "filename": "w.pt", "revision": "main", "sha256": None}
    token = token_of_weights(hub, *study.paths)
    write_record(study.files_record, token, None, {}, {}, {"weights": "1" * 64})
    write_json(study.record, {"source": "huggingface", "sha256": "1" * 64})
    assert token_of_weights(hub | {"sha256": "1" * 64}, *study.paths) == token
    assert token_of_weights(hub | {"sha256": "2" * 64}, *study.paths) != token
    assert settings_of_weights(hub) == settings_of_weights(hub | {"sha256": "1" * 64})
    assert settings_of_weights(hub) != settings_of_weights(hub | {"revision": "v2"})
    assert settings_of_weights(hub) != settings_of_weights(study.weights("w.pt")), "a file in place of a download"


def test_a_copy_of_the_results_may_hold_the_file_itself(study, file):
    """As `cp -rL` and `scp -r` copy links; and the study may be told to use its own copy."""
    token = study.fetch(file)
    study.link.unlink()
    study.link.write_bytes(file.read_bytes())
    assert study.token(study.link) == token
    assert study.link.read_bytes() == b"numbers"
    assert study.token(file) == token
    assert study.link.resolve() == file


def test_a_message_names_the_file_and_not_the_link(study, file):
    study.fetch(file)
    record = study.weights(study.link, checksum(file))
    file.write_bytes(b"other numbers")
    with pytest.raises(StudyError, match=r"my weights\.pt of the backbone is gone or has changed"):
        check_weights("terramind_v1_tiny", record)


def test_a_folder_is_another_file_which_the_job_then_refuses(study, file, tmp_path):
    token = study.fetch(file)
    assert study.token(tmp_path) != token
    assert study.link.resolve() == file
