"""Whole-or-nothing writes."""

import os

import pytest

from terralucas.files import atomic_path, write_json


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
