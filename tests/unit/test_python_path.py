"""PYTHONPATH of the processes that a start or a job of this project starts."""

import os

import pytest

from execution.start.python_path import put_first


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, ["/p"]), ("", ["/p"]), ("/p", ["/p"]), ("/other:/p", ["/p", "/other"]), ("/a:/b", ["/p", "/a", "/b"])],
)
def test_modules_of_this_project_come_first_and_once(tmp_path, monkeypatch, before, after):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONPATH", before.replace("/p", str(tmp_path)))
    put_first(tmp_path)
    assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(tmp_path) if each == "/p" else each for each in after]
