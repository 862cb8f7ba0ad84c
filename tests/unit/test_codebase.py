"""Which code a rule runs, and when two states of it count as the same."""

import pytest

from terralucas import codebase
from terralucas.codebase import PACKAGE, SCRIPTS, Fingerprints, code_of, fingerprint
from terralucas.errors import StudyError

# Run by the Snakefile and by make, not by a rule.
OUTSIDE_RULES = {
    *("codebase", "study/dataset_problems", "study/job_limits", "study/manual", "study/settings"),
    "study/validation",
    # For those who use a finished study, and for `make example`.
    *(
        "training/trained_run",
        "predict/__main__",
        "predict/command",
        "mapping/__main__",
        "data/simulation/example_chips",
    ),
    # For those who prepare their chips.
    *(f"data/rewrite/{name}" for name in ("__init__", "__main__", "rewrite", "grids", "missing_pixels")),
    # Records of what was read: they change no result, so that no edit of them reruns a study.
    *(
        "contents",
        "data/discovery/chips_root",
        "study/class_names",
        "study/head",
        "study/invalid_chips",
        "study/lost_files",
        "study/source_files",
        "study/source_order",
    ),
}


def modules(script):
    """Names such as `training/run` of the core's modules that a script runs."""
    found = code_of(SCRIPTS / f"{script}.py")
    return {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in found if path.is_relative_to(PACKAGE)}


def test_follows_imports_through_modules_and_into_functions():
    train = modules("train_run")
    assert {"training/run", "training/frozen_loop", "training/losses", "training/resume", "files", "errors"} <= train
    assert {"__init__", "training/__init__"} <= train, "the packages on the way are run too"
    assert "backbones/duplicates" in modules("fetch_weights"), "imported inside a function"


def test_leaves_out_what_a_script_does_not_run():
    assert "backbones/encoder" not in modules("train_run")
    assert {"training/tuned_loop", "training/tuned", "data/packed_chips"}.isdisjoint(modules("train_run"))
    assert "training/frozen_loop" not in modules("extract_features")


def test_names_the_files_that_modules_read():
    assert {"assets/italy_outline", "assets/landscape", "assets/lucas_class_spectra"} <= modules("retrieve_chips")
    assert {"report/templates/page.html", "report/templates/page", "assets/italy_outline"} <= (
        modules("build_report") | modules("draw_figures")
    )
    assert "assets/landscape" not in modules("index_chips")


def test_follows_relative_imports_and_packages(tmp_path, monkeypatch):
    package = tmp_path / "terralucas" / "inner"
    package.mkdir(parents=True)
    (tmp_path / "terralucas" / "assets").mkdir()
    for path, text in {
        "script.py": "from terralucas.inner import near\n",
        "terralucas/__init__.py": "",
        "terralucas/far.py": "",
        "terralucas/inner/__init__.py": "from .started import VALUE\n",
        "terralucas/inner/near.py": "def f():\n    from .. import far\n",
        "terralucas/inner/started.py": "VALUE = 1\n",
        "terralucas/inner/alone.py": "",
    }.items():
        (tmp_path / path).write_text(text)
    monkeypatch.setattr("terralucas.codebase.SCRIPTS", tmp_path)
    monkeypatch.setattr("terralucas.codebase.PACKAGE", tmp_path / "terralucas")
    found = {path.relative_to(tmp_path).as_posix() for path in code_of(tmp_path / "script.py")}
    assert found == {
        "script.py", "terralucas/__init__.py", "terralucas/far.py", "terralucas/inner/__init__.py",
        "terralucas/inner/near.py", "terralucas/inner/started.py",
    }  # fmt: skip


def written(folder, text, name="a.py"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


CODE = '"""Doc."""\n\n\ndef f(x):\n    """More."""\n    return x + 1  # why\n'


@pytest.mark.parametrize(
    "same",
    [
        '"""Another text."""\ndef f(x):\n    return x + 1\n',
        "def f(\n    x,\n):\n    # a comment\n    return (x + 1)\n",
    ],
)
def test_docstrings_comments_and_layout_do_not_count(tmp_path, same):
    assert fingerprint([written(tmp_path / "one", CODE)]) == fingerprint([written(tmp_path / "two", same)])


@pytest.mark.parametrize(
    "other",
    [
        CODE.replace("+ 1", "+ 2"),
        CODE.replace("+ 1", "- 1"),
        CODE.replace("f(x)", "f(x, y=0)"),
        CODE + 'print("said")\n',
        CODE.replace("return x + 1", "yield x + 1"),
        CODE.replace("+ 1", "+ 1.0"),
    ],
)
def test_what_code_does_counts(tmp_path, other):
    assert fingerprint([written(tmp_path / "one", CODE)]) != fingerprint([written(tmp_path / "two", other)])


MESSAGES = """
REMEDIES = {"size": "cut all chips to one size"}
def f(x):
    logger.info("one of %s", x)
    raise ChipError("size", f"is {x.side} px; expected 224", remedy=REMEDIES["size"])
"""


@pytest.mark.parametrize(
    "before, after",
    [
        ("cut all chips", "crop the chips"),
        ("one of %s", "this is %s"),
        ("px; expected 224", "px wide; it must be 224"),
        ("is {x.side}", "has {x.side}"),
    ],
)
def test_the_text_of_messages_does_not_count(tmp_path, before, after):
    assert before in MESSAGES
    changed = MESSAGES.replace(before, after)
    assert fingerprint([written(tmp_path / "one", MESSAGES)]) == fingerprint([written(tmp_path / "two", changed)])


@pytest.mark.parametrize(
    "before, after",
    [
        ('ChipError("size"', 'ChipError("shape"'),
        ("x.side", "x.width"),
        ("raise ChipError", "raise Problem"),
        ("logger.info", "print"),
        ("REMEDIES = {", "COLUMNS = {"),
        ('"size": "cut', '"shape": "cut'),
    ],
)
def test_what_a_message_is_made_of_counts(tmp_path, before, after):
    assert before in MESSAGES
    changed = MESSAGES.replace(before, after, 1)
    assert fingerprint([written(tmp_path / "one", MESSAGES)]) != fingerprint([written(tmp_path / "two", changed)])


def test_strings_outside_messages_count(tmp_path):
    first, second = written(tmp_path / "one", "X = 'a b'\n"), written(tmp_path / "two", "X = 'a c'\n")
    assert fingerprint([first]) != fingerprint([second])


def test_files_of_one_name_in_two_folders_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr("terralucas.codebase.SCRIPTS", tmp_path)
    first = [written(tmp_path, "x = 1\n", "p/run.py"), written(tmp_path, "x = 2\n", "q/run.py")]
    swapped = [written(tmp_path / "r", "x = 2\n", "p/run.py"), written(tmp_path / "r", "x = 1\n", "q/run.py")]
    before = fingerprint(first)
    monkeypatch.setattr("terralucas.codebase.SCRIPTS", tmp_path / "r")
    assert fingerprint(swapped) != before


def test_other_files_count_by_their_bytes(tmp_path):
    first, second = written(tmp_path / "one", "a{}", "page.css"), written(tmp_path / "two", "a{ }", "page.css")
    assert fingerprint([first]) != fingerprint([second])


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """Two scripts that share one module."""
    folder = tmp_path / "scripts"
    for name in ("first", "second"):
        written(folder, "from terralucas import shared\nX = 1\n", f"{name}.py")
    written(folder, "", "terralucas/__init__.py")
    written(folder, "X = 1\n", "terralucas/shared.py")
    (folder / "terralucas" / "assets").mkdir()
    monkeypatch.setattr("terralucas.codebase.SCRIPTS", folder)
    monkeypatch.setattr("terralucas.codebase.PACKAGE", folder / "terralucas")
    # The kept syntax trees of one path belong to one process and one state of the files.
    monkeypatch.setattr("terralucas.codebase._hash_content", codebase._hash_content.__wrapped__)
    monkeypatch.setattr("terralucas.codebase._parse", codebase._parse.__wrapped__)
    return folder / "first.py", folder / "second.py"


def test_kept_fingerprints_are_those_of_the_code(scripts, tmp_path, monkeypatch):
    first, second = scripts
    kept = tmp_path / "kept" / "fingerprints.json"
    shared = set(code_of(first)) & set(code_of(second))
    for _ in range(2):
        fingerprints = Fingerprints(kept)
        assert fingerprints.of(first) == fingerprint(code_of(first))
        assert fingerprints.of(first, second) == fingerprint(shared) != fingerprints.of(first)
    monkeypatch.setattr("terralucas.codebase.code_of", lambda script: pytest.fail("nothing is computed again"))
    assert Fingerprints(kept).of(first) == fingerprints.of(first)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"state": "of another time", "fingerprints": {"first": "old"}}'])
def test_kept_fingerprints_of_other_files_do_not_count(scripts, tmp_path, content):
    kept = written(tmp_path, content, "kept.json")
    assert Fingerprints(kept).of(scripts[0]) == fingerprint(code_of(scripts[0]))


def test_an_edit_of_a_module_makes_a_new_fingerprint_though_another_is_kept(scripts, tmp_path):
    kept = tmp_path / "kept.json"
    before = Fingerprints(kept).of(scripts[0])
    written(tmp_path / "scripts", "X = 2\n", "terralucas/shared.py")
    assert Fingerprints(kept).of(scripts[0]) != before
    written(tmp_path / "scripts", "X = 1\n", "terralucas/shared.py")
    assert Fingerprints(kept).of(scripts[0]) == before


def test_fingerprints_are_computed_where_nothing_can_be_kept(scripts, tmp_path):
    written(tmp_path, "", "no_folder")
    assert Fingerprints(tmp_path / "no_folder" / "kept.json").of(scripts[0]) == fingerprint(code_of(scripts[0]))


def test_every_module_is_run_by_some_rule():
    scripts = [*SCRIPTS.glob("*.py"), *(SCRIPTS / "execution").rglob("*.py")]
    used = {module for script in scripts for module in modules(script.relative_to(SCRIPTS).with_suffix(""))}
    there = {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py")}
    assert there - used == OUTSIDE_RULES - used


@pytest.mark.parametrize(("text", "line"), [("X = 1\n<<<<<<< HEAD\n", 2), ("X = (\n", 1)])
def test_a_file_with_conflict_marks_is_named(scripts, tmp_path, text, line):
    path = written(tmp_path / "scripts", text, "terralucas/shared.py")
    with pytest.raises(StudyError) as error:
        Fingerprints(tmp_path / "kept.json").of(scripts[0])
    for part in (f"found: {path}, line {line}: ", "expected: ", "conflict marks of git"):
        assert part in str(error.value)
