"""Earlier outputs are kept, with Snakemake's records of them, where a job that replaces them fails."""

import asyncio
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.jobs import Job

from execution.records.earlier_outputs import keep_until_new, remove_mixtures


class NoCopy:
    """As the files among the logs of a record that Snakemake has changed."""

    def __deepcopy__(self, memo):
        raise TypeError


class Records:
    """Snakemake's records of outputs: those that were read are kept, and changed in place."""

    def __init__(self, known):
        self.known, self.read = known, {}

    def metadata(self, path):
        if str(path) not in self.read:
            self.read[str(path)] = dict(self.known[str(path)]) if str(path) in self.known else None
        return self.read[str(path)]

    def finished(self, job):
        self._clear_cache()
        for path in job.output:
            record = self.metadata(path) or {}
            record.update(params=job.params, log=NoCopy())
            self.read[str(path)], self.known[str(path)] = record, {"params": job.params}

    def _clear_cache(self):
        self.read.clear()

    def _write_record(self, key, record):
        self.known[key] = record

    def _delete_record(self, key):
        self.known.pop(key, None)


@pytest.fixture
def patched(monkeypatch):
    """Snakemake's functions, as far as they matter here."""

    def register(self, external_jobid=None):
        pass

    async def remove_existing_output(self):
        for path in self.output:
            Path(path).unlink(missing_ok=True)

    async def postprocess(self, error=False):
        self.dag.workflow.persistence.finished(self)

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
        records = self.dag.workflow.persistence
        contents = {Path(path).read_text() if Path(path).is_file() else None for path in self.output}
        known = {(records.metadata(path) or {}).get("params") for path in self.output}
        assert known == {records.known.get(path, {}).get("params") for path in self.output}, "read and kept"
        return contents, known

    def write(self, *numbers):
        for number in numbers:
            other = Path(f"{self.output[number]}.tmp")
            other.write_text("new")
            other.replace(self.output[number])


def test_a_failed_job_leaves_files_and_records_as_they_were(patched, tmp_path):
    job = FakeJob(tmp_path, "index_chips", "new")
    for _attempt in range(3):
        assert job.run(lambda: None, error=True) == ({"old"}, {"old"})


def test_a_member_of_a_pack_that_never_began_gets_no_record_of_what_it_did_not_make(patched, tmp_path):
    job = FakeJob(tmp_path, "train_run", "new")
    job.dag.workflow.persistence.known.clear()
    Job.register(job)
    asyncio.run(Job.postprocess(job, error=True))
    assert {Path(path).read_text() for path in job.output} == {"old"}
    assert job.dag.workflow.persistence.known == {}


@pytest.mark.parametrize(("rule", "kept"), [("index_chips", False), ("train_run", True), ("draw_figures", True)])
def test_what_a_kill_may_have_mixed_is_deleted_at_the_next_start(tmp_path, rule, kept):
    job = FakeJob(tmp_path, rule, "new")
    persistence = SimpleNamespace(_get_key=str, _filter_incomplete_keys=lambda keys: set(keys[1:]))
    remove_mixtures(SimpleNamespace(persistence=persistence, dag=SimpleNamespace(needrun_jobs=lambda: [job])))
    assert {Path(path).exists() for path in job.output} == {kept}


def test_a_single_output_which_the_script_reads_again_outlives_a_kill(tmp_path):
    job = FakeJob(tmp_path, "fetch_weights", "new")
    job.output = job.output[:1]
    persistence = SimpleNamespace(_get_key=str, _filter_incomplete_keys=set)
    remove_mixtures(SimpleNamespace(persistence=persistence, dag=SimpleNamespace(needrun_jobs=lambda: [job])))
    assert Path(job.output[0]).exists()


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


def test_the_earlier_record_of_weights_is_there_for_the_script_also_without_a_record_of_snakemake(patched, tmp_path):
    job, read = FakeJob(tmp_path, "fetch_weights", "new"), []
    job.dag.workflow.persistence.known.clear()
    job.run(lambda: read.append(Path(job.output[0]).read_text()), error=False)
    assert read == ["old"]


def test_a_completed_model_card_is_kept_before_the_folder_of_an_export_is_deleted(patched, monkeypatch, tmp_path):
    async def remove_existing_output(self):
        shutil.rmtree(self.output[0])

    monkeypatch.setattr(Job, "remove_existing_output", remove_existing_output)
    keep_until_new()
    exported = tmp_path / "exported"
    exported.mkdir()
    (exported / "export.json").write_text('{"files": {"README.md": {"sha256": "of the card as it was written"}}}')
    (exported / "README.md").write_text("completed")
    job = SimpleNamespace(rule=SimpleNamespace(name="export_models"), output=[str(exported)], log=[])
    asyncio.run(Job.remove_existing_output(job))
    assert not exported.exists()
    assert (tmp_path / "exported-kept/1/README.md").read_text() == "completed"
