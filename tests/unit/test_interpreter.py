"""The check of Python and of its path, by the function, by make and by the project's own files."""

import shutil
import subprocess
import sys
import tomllib

import pytest

from execution.start.interpreter import FIRST, TOO_NEW, describe_optimization, describe_path, describe_version
from helpers.paths import ROOT


def make(folder, *arguments):
    for name in ("Makefile", "requirements.lock", "workflow/scripts/execution/start/interpreter.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_supported_versions_pass(version):
    assert describe_version(version) == ""


@pytest.mark.parametrize("version", [(2, 7), (3, 10), (3, 14), (4, 0)])
def test_other_versions_are_refused(version):
    said = describe_version(version)
    assert f"found: Python {version[0]}.{version[1]}" in said
    assert "expected: Python 3.11 to 3.13" in said


@pytest.mark.parametrize(("level", "problem"), [(0, ""), (1, ""), (2, "found: PYTHONOPTIMIZE=2, or the option -OO")])
def test_python_without_docstrings_is_refused(level, problem):
    assert problem in describe_optimization(level)
    assert bool(problem) == bool(describe_optimization(level))


def test_the_project_says_the_same_of_versions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={FIRST[0]}.{FIRST[1]},<{TOO_NEW[0]}.{TOO_NEW[1]}"
    assert "Python 3.11, 3.12 or 3.13" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", ["/home/me/lucas/.venv/bin/python", "/data/día-1/a_b+c@d/python3.13"])
def test_paths_that_a_shell_takes_as_one_word_pass(path):
    assert describe_path(path) == ""
    echoed = subprocess.run(["bash", "-c", f"printf '%s\\n' {path}"], capture_output=True, text=True, check=True)
    assert echoed.stdout == f"{path}\n"


@pytest.mark.parametrize(
    ("path", "shown"), [("/my project/python", "a blank in"), ("/a(1)/python", "(, ) in"), ("/a'b$c/python", "$, ' in")]
)
def test_paths_that_a_shell_splits_or_reads_otherwise_are_refused(path, shown):
    assert f"found: {shown} {path}" in describe_path(path)


def test_make_refuses_a_folder_with_a_blank_before_it_sets_anything_up(tmp_path):
    folder = tmp_path / "my project"
    done = make(folder, "setup", f"PYTHON={sys.executable}")
    assert done.returncode != 0
    assert f"a blank in {folder}/.venv/bin/python" in done.stderr
    assert not (folder / ".venv").exists()
