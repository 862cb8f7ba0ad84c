"""That Snakemake finds no results of a job that failed after it had written them."""

import os
import subprocess
import sys
import textwrap

import pytest

from execution.jobs.job_results import JobResults
from helpers.paths import SCRIPTS


@pytest.mark.parametrize(("rule", "is_removed"), [("make_tables", True), ("export_models", True), ("train_run", False)])
def test_what_a_failed_job_has_written_is_deleted(tmp_path, rule, is_removed):
    file, folder = tmp_path / "summary.csv", tmp_path / "exported"
    results = JobResults(rule, [file, folder, tmp_path / "not written"])
    file.write_text("1")
    (folder / "models").mkdir(parents=True)
    results.remove_new()
    assert file.exists() != is_removed
    assert folder.exists() != is_removed


def test_earlier_results_that_it_has_not_replaced_stay(tmp_path):
    kept, replaced, folder = tmp_path / "kept.csv", tmp_path / "replaced.csv", tmp_path / "folder"
    for path in (kept, replaced):
        path.write_text("1")
    folder.mkdir()
    results = JobResults("make_tables", [kept, replaced, folder])
    new = tmp_path / "new"
    new.write_text("1")
    new.replace(replaced)
    (folder / "a file beside the result").write_text("1")
    results.remove_new()
    assert kept.exists()
    assert not replaced.exists()
    assert folder.exists()


@pytest.mark.parametrize(
    ("end", "is_kept"),
    [
        ("pass", True),
        ("raise StudyError('Chips were changed while they were predicted.')", False),
        ("1 / 0", False),
        ("Path('given.csv').write_text('other')", False),
    ],
    ids=["finished", "refused", "fault", "input replaced"],
)
def test_the_results_of_a_job_stay_only_if_it_has_finished(tmp_path, end, is_kept):
    (tmp_path / "given.csv").write_text("1")
    code = f"""
        from pathlib import Path
        from types import SimpleNamespace
        from execution.jobs.job import job
        from terralucas.errors import StudyError
        given = dict(rule="predict_part", log=["rule.log"], input=["given.csv"], output=["part.csv"])
        with job(SimpleNamespace(**given)):
            Path("part.csv").write_text("1")
            {end}
    """
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, env=environment, check=False)
    assert (done.returncode == 0) == is_kept
    assert (tmp_path / "part.csv").exists() == is_kept
