"""What a user wrote into the folder of an export is kept when the export is made again."""

import pytest

from terralucas.study.own_files import find_own_files, keep_own_files


def test_an_export_as_it_was_made_has_no_own_files(exported):
    # Only what somebody wrote is kept: damaged files are made again.
    (exported / "model.onnx").write_text("damaged")
    assert find_own_files(exported) == []
    assert keep_own_files(exported) is None
    assert not (exported.parent / "exported-kept").exists()


def test_a_completed_card_and_added_files_are_kept_each_time(exported):
    for number in ("1", "2"):
        (exported / "README.md").write_text(f"completed {number}")
        (exported / "models/notes.txt").write_text("mine")
        kept = keep_own_files(exported)
        assert kept == exported.parent / "exported-kept" / number
        assert (kept / "README.md").read_text() == f"completed {number}"
        assert (kept / "models/notes.txt").read_text() == "mine"
        assert not (exported / "README.md").exists()
        assert (exported / "model.onnx").exists()


@pytest.mark.parametrize("record", [None, "", "{}", '{"files": {"README.md": 1}}'])
def test_the_card_is_kept_where_no_record_says_what_it_was(exported, record):
    (exported / "export.json").unlink()
    if record is not None:
        (exported / "export.json").write_text(record)
    assert find_own_files(exported) == ["README.md"]


def test_there_may_be_no_export(tmp_path):
    assert keep_own_files(tmp_path / "exported") is None
