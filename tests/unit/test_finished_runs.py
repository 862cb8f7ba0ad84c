"""A job for a run that is finished leaves its files alone; any other job begins without the files of an earlier one."""

import asyncio
import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake.exceptions import WorkflowError
from snakemake.jobs import Job
from snakemake.settings.enums import RerunTrigger

from execution.end.stopped import StudyStoppedError
from execution.records import finished_runs as finished_runs_module
from execution.records.finished_runs import describe_danger, is_of_these_settings, patch_deletion
from execution.start.run_status import runs_of_other_settings
from terralucas.errors import StudyError
from terralucas.files import write_json

SETTINGS = {
    "backbone": "tiny", "loss": "focal", "decoder": "mlp", "seed": 3, "loss_setting": {"type": "focal", "gamma": 2.0},
    "decoder_setting": {"pooling": "tokens"}, "training": {"epochs": 5, "learning_rate": 0.001}, "n_classes": 10,
}  # fmt: skip
WEIGHTS = {"source": "file", "seed": None, "path": "w.pt", "sha256": "b1"}
RECORD = {
    "run": "tiny/focal/mlp/seed-3", "settings": SETTINGS, "code": "c0de",
    "features": {"sha256": "f1", "weights": WEIGHTS},
}  # fmt: skip


class FakeJob:
    """What is read of a Snakemake job."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class Files(list):
    """Files of a job, by number and by name."""

    def __init__(self, **named):
        super().__init__(named.values())
        self.__dict__.update(named)


@pytest.fixture
def run(tmp_path):
    """A job for a finished run, and the files of that run."""
    names = {"predictions": "predictions.parquet", "model": "model.ckpt", "record": "run.yaml"}
    output = Files(**{name: str(tmp_path / file) for name, file in names.items()})
    for path in output:
        (tmp_path / path).write_text("content")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(RECORD))
    (tmp_path / "features.npy").write_text("input")
    write_json(tmp_path / "features.json", {"sha256": "f1"})
    write_json(tmp_path / "weights.json", WEIGHTS)
    for name in ("features.npy", "features.json"):
        os.utime(tmp_path / name, (1000, 1000))
    for path in output:
        os.utime(path, (2000, 2000))
    wildcards = SimpleNamespace(backbone="tiny", loss="focal", decoder="mlp", seed="3")
    params = SimpleNamespace(
        loss=SETTINGS["loss_setting"], decoder=SETTINGS["decoder_setting"], training=SETTINGS["training"], n_classes=10,
        code="c0de",
    )  # fmt: skip
    rule = SimpleNamespace(name="train_run")
    dag = SimpleNamespace(
        workflow=SimpleNamespace(persistence=SimpleNamespace(metadata=lambda path: None, _clear_cache=lambda: None))
    )
    names = {"features": str(tmp_path / "features.npy"), "features_record": str(tmp_path / "features.json")}
    files = {"output": output, "input": Files(**names)}
    return FakeJob(rule=rule, wildcards=wildcards, params=params, dag=dag, **files)


@pytest.fixture
def patched(monkeypatch):
    """Snakemake's functions, which delete outputs and give them the time of the job's end."""

    async def remove_existing_output(self):
        for path in self.output:
            Path(path).unlink()

    async def postprocess(
        self, store_in_storage=True, handle_log=True, handle_touch=True, error=False, ignore_missing_output=False,
        check_output_mtime=True,
    ):  # fmt: skip
        for path in self.output:
            os.utime(path)

    monkeypatch.setattr(Job, "register", Job.register)
    monkeypatch.setattr(Job, "remove_existing_output", remove_existing_output)
    monkeypatch.setattr(Job, "postprocess", postprocess)
    patch_deletion()


def times(run):
    return {Path(path).stat().st_mtime for path in run.output}


def test_the_files_of_a_finished_run_are_kept_with_their_times(run, patched):
    asyncio.run(Job.remove_existing_output(run))
    asyncio.run(Job.postprocess(run))
    assert times(run) == {2000}


@pytest.mark.parametrize("error", [False, True])
def test_a_job_whose_start_is_over_neither_records_nor_deletes_files(run, patched, monkeypatch, error):
    """Its process was taken for dead, and goes on: the files are those of another start."""

    def over():
        raise StudyError("The start is over.")

    asyncio.run(Job.remove_existing_output(run))
    before = times(run)
    monkeypatch.setattr(finished_runs_module, "require_own_start", over)
    os.utime(run.input[0], (3000, 3000))
    asyncio.run(Job.postprocess(run, error=error))
    assert times(run) == before


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), WorkflowError("Error recording metadata")])
def test_a_failed_job_whose_log_cannot_be_made_ends_no_other(run, monkeypatch, failure):
    """Snakemake makes an empty log of it; at an error, it would end the start and cancel the jobs of others."""

    async def postprocess(
        self, store_in_storage=True, handle_log=True, handle_touch=True, error=False, ignore_missing_output=False,
        check_output_mtime=True,
    ):  # fmt: skip
        raise failure

    for name in ("register", "remove_existing_output"):
        monkeypatch.setattr(Job, name, getattr(Job, name))
    monkeypatch.setattr(Job, "postprocess", postprocess)
    patch_deletion()
    said = []
    run.dag.workflow.logger_manager = SimpleNamespace(logger=SimpleNamespace(error=said.append))
    asyncio.run(Job.postprocess(run, error=True))
    assert said == [f"After a failed job of rule train_run: {failure}"]
    with pytest.raises(type(failure)):
        asyncio.run(Job.postprocess(run))


def test_a_run_whose_record_cannot_be_read_is_not_taken_for_one_of_other_settings(run, patched, monkeypatch):
    """Its files would be deleted; the record may be there again, as on a network drive that hung."""

    def refuse(self, *args, **options):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(StudyStoppedError, match=r"The disk of \S+/run\.yaml does not answer"):
        asyncio.run(Job.remove_existing_output(run))
    assert times(run) == {2000}


def test_the_files_of_a_colleague_are_kept_though_only_their_owner_may_set_their_times(run, patched, monkeypatch):
    set_times = os.utime

    def refuse(path, times=None, *, ns=None):
        if ns is not None:
            raise PermissionError(1, "Operation not permitted")
        set_times(path, times)

    before = [Path(path).read_bytes() for path in run.output]
    monkeypatch.setattr(os, "utime", refuse)
    asyncio.run(Job.remove_existing_output(run))
    asyncio.run(Job.postprocess(run))
    assert [Path(path).read_bytes() for path in run.output] == before


def test_a_run_whose_inputs_are_newer_is_new_when_its_job_has_ended(run, patched):
    os.utime(run.input[0], (3000, 3000))
    asyncio.run(Job.remove_existing_output(run))
    asyncio.run(Job.postprocess(run))
    assert min(times(run)) > 3000


def change_settings(run):
    run.params.training = {"epochs": 6, "learning_rate": 0.001}


def change_code(run):
    run.params.code = "other"


def change_features(run):
    write_json(Path(run.input.features_record), {"sha256": "f2"})


def damage_the_record(run):
    Path(run.output.record).write_text("{")


def be_another_rule(run):
    run.rule.name = "make_tables"


@pytest.mark.parametrize("change", [change_settings, change_code, change_features, damage_the_record, be_another_rule])
def test_the_files_of_another_run_are_deleted_as_ever(run, patched, change):
    change(run)
    asyncio.run(Job.remove_existing_output(run))
    assert not any(Path(path).exists() for path in run.output)


def test_a_run_that_lacks_a_file_is_not_finished(run):
    assert is_of_these_settings(run)
    Path(run.output.model).unlink()
    assert not is_of_these_settings(run)


def test_a_run_whose_features_are_gone_is_of_these_settings(run):
    Path(run.input.features_record).unlink()
    assert is_of_these_settings(run)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"path": "elsewhere/w.pt"}, True),
        ({"sha256": "c2"}, False),
        ({"source": "random", "seed": 1, "sha256": None}, False),
    ],
)
def test_a_tuned_run_is_of_these_settings_with_the_weights_that_are_there(run, tmp_path, change, expected):
    run.rule.name = "tune_run"
    packed, weights = str(tmp_path / "features.json"), str(tmp_path / "weights.json")
    run.input = Files(packed_record=packed, weights=weights)
    write_json(Path(weights), WEIGHTS | change)
    assert is_of_these_settings(run) == expected
    write_json(Path(weights), WEIGHTS)
    write_json(Path(packed), {"sha256": "p2", "other": "size"})
    assert not is_of_these_settings(run), "it was trained on other chips"


def test_another_snakemake_deletes_as_it_does_and_the_danger_is_described(monkeypatch, caplog):
    async def postprocess(self, other):
        """As another version might have it."""

    monkeypatch.setattr(Job, "postprocess", postprocess)
    before = Job.remove_existing_output
    problem = patch_deletion()
    assert Job.remove_existing_output is before and Job.postprocess is postprocess
    assert caplog.records == [], "each job on a node comes here, too"
    said = describe_danger(problem)
    for part in (
        "found: postprocess(self, other)",
        "expected: postprocess(self, store_in_storage, ",
        "requirements.lock",
    ):
        assert part in said


def test_the_snakemake_that_is_installed_has_the_functions(monkeypatch):
    for name in ("register", "remove_existing_output", "postprocess"):
        # It is as it was after the test.
        monkeypatch.setattr(Job, name, getattr(Job, name))
    assert patch_deletion() is None


def workflow_with(run, planned, triggers):
    dag = SimpleNamespace(jobs=[run], needrun=lambda job: planned)
    return SimpleNamespace(dag=dag, dag_settings=SimpleNamespace(rerun_triggers=triggers))


def test_a_run_of_other_settings_that_snakemake_would_keep_is_found(run):
    every = RerunTrigger.all()
    assert runs_of_other_settings(workflow_with(run, False, every)) == []
    run.params.training = {"epochs": 7}
    assert runs_of_other_settings(workflow_with(run, False, every)) == [("tiny", "focal", "mlp", "3")]
    assert runs_of_other_settings(workflow_with(run, True, every)) == [], "Snakemake trains it again by itself"
    assert runs_of_other_settings(workflow_with(run, False, {RerunTrigger.MTIME})) == [], "the user wants to keep it"


def test_a_run_that_has_lost_a_file_is_not_one_of_other_settings(run):
    """As a model that was deleted to free space: the tables do not need it."""
    every = RerunTrigger.all()
    model = next(path for path in run.output if path.endswith("model.ckpt"))
    Path(model).unlink()
    assert not is_of_these_settings(run)
    assert runs_of_other_settings(workflow_with(run, False, every)) == []
    run.params.training = {"epochs": 7}
    assert runs_of_other_settings(workflow_with(run, False, every)) == [("tiny", "focal", "mlp", "3")]
