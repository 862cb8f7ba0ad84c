"""That a job ends with an error if what it reads is replaced while it runs."""

import os

import pytest

from execution.jobs.job_inputs import JobInputs
from terralucas.errors import StudyError


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "summary.csv"
    path.write_text("of one")
    return path


def replace(path):
    path.write_text("of two")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [replace, os.unlink])
def test_an_input_that_is_replaced_or_deleted_is_an_error(table, change):
    inputs = JobInputs("make_tables", [table, table.parent])
    inputs.require_unchanged()
    change(table)
    with pytest.raises(StudyError, match=r"were replaced while it ran.*\n  found: .*: \S*/summary\.csv\n"):
        inputs.require_unchanged()


def test_an_input_that_comes_meanwhile_is_an_error(tmp_path):
    inputs = JobInputs("make_tables", [tmp_path / "new.csv"])
    (tmp_path / "new.csv").write_text("1")
    with pytest.raises(StudyError, match="were replaced"):
        inputs.require_unchanged()


def test_links_and_rights_of_a_backup_change_nothing(table):
    inputs = JobInputs("make_tables", [table])
    (table.parent / "backup.csv").hardlink_to(table)
    table.chmod(0o600)
    inputs.require_unchanged()


@pytest.mark.parametrize("rule", ["train_run", "tune_run", "extract_features"])
def test_rules_that_take_long_compare_the_content_themselves(table, rule):
    inputs = JobInputs(rule, [table])
    replace(table)
    inputs.require_unchanged()
