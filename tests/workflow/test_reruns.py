"""What an edit of the code makes run again: the table of docs/architecture.md, by dry runs on a finished study."""

import ast
import re
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.workflow

CORE = "workflow/scripts/terralucas"
PAGE = {"build_report"}
TABLES = {"make_tables", "make_evidence", "draw_figures", "build_report"}
RUNS = {"train_run", *TABLES}
AUDITS = {"audit_treatment"}
ADDED = "ADDED = True\n"


@contextmanager
def edited(study, file, before, after):
    """Change the project's copy; `before` must be there, so that the edit is one."""
    path = study.folder / CORE / file
    text = path.read_text(encoding="utf-8")
    assert before in text, f"{file} has no {before!r}"
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")


def planned(study):
    return set(study.planned("--configfile", "config/small.yaml"))


@pytest.mark.parametrize(
    "file, before, after, rules",
    [
        pytest.param(
            "report/sections/leakage.py", "of the test chips share", "of test chips share", PAGE, id="sentence"
        ),
        pytest.param("report/templates/page.css", "}", "}\n", PAGE, id="style sheet"),
        pytest.param(
            "report/figures/style.py", '"font.size": 10', '"font.size": 11', {"draw_figures", *PAGE}, id="figure"
        ),
        pytest.param(
            "tables/scores.py",
            "CLASS_SCORES = {",
            'SCORES["half"] = Score(True, "Half", lambda sums: formulas.macro_accuracy(sums) / 2)\nCLASS_SCORES = {',
            TABLES,
            id="new score",
        ),
        pytest.param("training/losses.py", "**gamma", "**(gamma + 1)", RUNS | AUDITS, id="loss formula"),
        pytest.param("statistics/intervals.py", '"""', ADDED, TABLES, id="interval"),
        pytest.param("training/frozen_loop.py", '"""', ADDED, RUNS, id="loop on features"),
        pytest.param("audit/treatments.py", '"""', ADDED, set(), id="audit"),
        pytest.param("training/tuned_loop.py", "_EVALUATION_BATCH = 32", "_EVALUATION_BATCH = 16", set(), id="tuned"),
        pytest.param("data/splits.py", '"""', ADDED, {"split_chips", *RUNS}, id="splits"),
        pytest.param("data/retrieval.py", '"""', ADDED, None, id="simulated chips"),
    ],
)
def test_an_edit_reruns_what_it_changes(study, file, before, after, rules):
    if before == '"""':
        text = (study.folder / CORE / file).read_text(encoding="utf-8")
        before = re.search(r"^from __future__ import annotations\n", text, re.MULTILINE).group()
        after = before + after
    with edited(study, file, before, after):
        found = planned(study)
    if rules is None:
        assert "retrieve_chips" in found
    else:
        assert found == rules


def changed_everywhere(study, change, files):
    """Change the files of the project's copy, plan, and put them back."""
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    for path, text in texts.items():
        path.write_text(change(text), encoding="utf-8")
    try:
        return planned(study)
    finally:
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")


def test_docstrings_and_comments_rerun_nothing(study):
    files = sorted((study.folder / "workflow" / "scripts").rglob("*.py"))
    assert len(files) > 100

    def other_words(text):
        lines = text.splitlines(keepends=True)
        for node in ast.walk(ast.parse(text)):
            is_documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
            if is_documented:
                first = node.body[0].lineno - 1
                lines[first] = lines[first].replace('"""', '"""Other words. ', 1)
        return "".join(lines) + "\n# a comment\n"

    assert changed_everywhere(study, other_words, files) == set()


def test_messages_of_chip_discovery_rerun_nothing(study):
    """A user who takes a better message into a study is to pay no GPU pass for it."""
    message = r'((?:StudyError|Problem|ChipError|Reason)\((?:[^()"]*"\w+",)?\s*f?")([^"]* [^"]*")'
    files = [study.folder / CORE / "data" / name for name in ("discovery.py", "index.py", "chip_files.py")]
    assert sum(len(re.findall(message, path.read_text(encoding="utf-8"))) for path in files) > 10
    assert changed_everywhere(study, lambda text: re.sub(message, r"\1in other words: \2", text), files) == set()
