"""Earlier outputs are kept, with Snakemake's records of them, where a job that replaces them fails."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.jobs import Job

from _earlier_outputs import keep_until_new


@dataclass
class Records:
    """Snakemake's records of outputs, which it changes in place."""

    known: dict = field(default_factory=dict)

    def metadata(self, path):
        return self.known.get(str(path))

    def _write_record(self, key, record):
        self.known[key] = record


@pytest.fixture
def patched(monkeypatch):
    """Snakemake's functions, as far as they matter here."""

    def register(self, external_jobid=None):
        pass

    async def remove_existing_output(self):
        for path in self.output:
            Path(path).unlink(missing_ok=True)

    async def postprocess(self, error=False):
        records = self.dag.workflow.persistence
        for path in self.output:
            records.known.setdefault(str(path), {}).update(params=self.params)

    for function in (register, remove_existing_output, postprocess):
        monkeypatch.setattr(Job, function.__name__, function)
    keep_until_new()


class FakeJob:
    def __init__(self, folder, rule, params):
        self.rule, self.params, self.log = SimpleNamespace(name=rule), params, []
        self.output = [str(folder / "chips.parquet"), str(folder / "report.json")]
        known = {path: {"params": "old"} for path in self.output}
        self.dag = SimpleNamespace(workflow=SimpleNamespace(persistence=Records(known)))
        for path in self.output:
            Path(path).write_text("old")

    def run(self, script, error):
        Job.register(self)
        asyncio.run(Job.remove_existing_output(self))
        script()
        asyncio.run(Job.postprocess(self, error=error))
        records = self.dag.workflow.persistence.known
        contents = {Path(path).read_text() if Path(path).is_file() else None for path in self.output}
        return contents, {records[path]["params"] for path in self.output}

    def write(self, *numbers):
        for number in numbers:
            other = Path(f"{self.output[number]}.tmp")
            other.write_text("new")
            other.replace(self.output[number])


def test_a_failed_job_leaves_files_and_records_as_they_were(patched, tmp_path):
    job = FakeJob(tmp_path, "index_chips", "new")
    assert job.run(lambda: None, error=True) == ({"old"}, {"old"})


def test_a_job_that_ends_well_replaces_both(patched, tmp_path):
    job = FakeJob(tmp_path, "index_chips", "new")
    assert job.run(lambda: job.write(0, 1), error=False) == ({"new"}, {"new"})


def test_a_job_that_fails_after_it_wrote_something_leaves_no_mixture(patched, tmp_path):
    job = FakeJob(tmp_path, "index_chips", "new")
    assert job.run(lambda: job.write(0), error=True) == ({"new", None}, {"new"})


def test_outputs_without_a_record_and_those_of_other_rules_are_deleted_as_ever(patched, tmp_path):
    other = FakeJob(tmp_path, "draw_figures", "new")
    assert other.run(lambda: None, error=True) == ({None}, {"new"})
    unknown = FakeJob(tmp_path, "index_chips", "new")
    unknown.dag.workflow.persistence.known.clear()
    assert unknown.run(lambda: None, error=True) == ({None}, {"new"})
