"""Which modules a script runs."""

from pathlib import Path

from terralucas.codebase import PACKAGE, fingerprint, modules_of

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"


def names(script):
    return {path.stem for path in modules_of(SCRIPTS / f"{script}.py")}


def test_follows_imports_through_modules_and_into_functions():
    train = names("train_run")
    assert {"runs", "training", "losses", "decoders", "sidecar", "files", "errors"} <= train
    assert "metrics" in train, "imported inside a function"


def test_leaves_out_what_a_script_does_not_run():
    assert "backbone" not in names("train_run")
    assert {"end_to_end", "tuned", "packed_chips"}.isdisjoint(names("train_run")), "frozen runs go on without them"
    assert "training" not in names("extract_features")
    assert {"report", "figures"}.isdisjoint(names("make_tables"))


def test_fingerprint_follows_content_not_place_or_time(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.py").write_text("x = 1\n")
    assert fingerprint([tmp_path / "a.py"]) == fingerprint([tmp_path / "sub" / "a.py"])
    (tmp_path / "a.py").write_text("x = 2\n")
    assert fingerprint([tmp_path / "a.py"]) != fingerprint([tmp_path / "sub" / "a.py"])


def test_every_module_is_run_by_some_rule():
    used = {module for script in SCRIPTS.glob("*.py") for module in names(script.stem)}
    # Run by the Snakefile and by make, not by a rule.
    assert {path.stem for path in PACKAGE.glob("*.py")} - used == {
        "__init__", "codebase", "config", "manual", "requirements",
    } - used  # fmt: skip
