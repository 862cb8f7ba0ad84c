"""What is remembered beside the results of the parameters with which they were made."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake.api  # noqa: F401 - before other modules of Snakemake
from snakemake.settings.enums import RerunTrigger
from snakemake_interface_logger_plugins.common import LogEvent

from _made_with import BEING_MADE, NAME, MadeWith, require_same_parameters
from terralucas.errors import StudyError


class Study:
    """Snakemake's workflow of two steps, as far as it matters here: it has no records but those of `recorded`."""

    def __init__(self, folder, seed=0, planned=()):
        jobs = {
            name: SimpleNamespace(
                rule=SimpleNamespace(name=name), output=[str(folder / f"{name}.json")], params=[f"{name} {seed}"]
            )
            for name in ("fetch_weights", "extract_features", "train_run")
        }
        self.folder, self.recorded, self.inputs = folder, {}, ["chips"]
        self.of = jobs
        self.persistence = SimpleNamespace(
            metadata=lambda path: self.recorded.get(str(path)),
            _params=lambda job: job.params,
            _input=lambda job: self.inputs,
        )
        self.dag = SimpleNamespace(
            jobs=list(jobs.values()),
            needrun=lambda job: job.rule.name in planned,
            needrun_jobs=lambda: [jobs[name] for name in planned],
            jobid=lambda job: list(jobs).index(job.rule.name),
            forcerules=set(),
        )
        self.dag_settings = SimpleNamespace(rerun_triggers=[RerunTrigger.PARAMS])

    def write(self, name):
        Path(self.of[name].output[0]).write_text(name)

    def known(self):
        known = json.loads((self.folder / NAME).read_text())
        return {Path(path).stem: entry for path, entry in known.items()}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path


def finished(job_id):
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, "", (), None)
    record.event, record.job_id = LogEvent.JOB_FINISHED, job_id
    return record


def make_both(folder, seed=0):
    study = Study(folder, seed, planned=("fetch_weights", "extract_features"))
    handler = MadeWith(study, folder)
    for number, name in enumerate(("fetch_weights", "extract_features")):
        study.write(name)
        handler.emit(finished(number))
    handler.end(study)
    return study


def test_what_was_made_with_the_same_parameters_is_accepted(folder):
    make_both(folder)
    require_same_parameters(Study(folder), folder)
    with pytest.raises(StudyError, match=r"fetch_weights\.json"):
        require_same_parameters(Study(folder, seed=5), folder)


def test_a_file_that_is_gone_is_refused_too_because_snakemake_does_not_make_it_again(folder):
    make_both(folder)
    for name in ("fetch_weights", "extract_features"):
        (folder / f"{name}.json").unlink()
    require_same_parameters(Study(folder), folder)
    with pytest.raises(StudyError) as stopped:
        require_same_parameters(Study(folder, seed=5), folder)
    assert "the option --forcerun extract_features fetch_weights " in stopped.value.remedy
    # As with that option, or with Snakemake's records.
    require_same_parameters(Study(folder, seed=5, planned=("fetch_weights", "extract_features")), folder)


def test_results_of_another_checkout_are_refused_though_this_one_has_records(folder):
    """They share the folder of results, or results were copied over those of this one."""
    make_both(folder, seed=5)
    own = Study(folder)
    own.recorded = dict.fromkeys((job.output[0] for job in own.dag.jobs), object())
    with pytest.raises(StudyError, match=r"fetch_weights\.json, of other parameters"):
        require_same_parameters(own, folder)
    # Snakemake's own record says that what a killed start planned is as it was.
    known = json.loads((folder / NAME).read_text())
    (folder / NAME).write_text(json.dumps(dict.fromkeys(known, BEING_MADE)))
    require_same_parameters(own, folder)


def test_the_advice_keeps_what_the_command_forces(folder):
    make_both(folder)
    study = Study(folder, seed=5, planned=("fetch_weights",))
    study.dag.forcerules = [SimpleNamespace(name="fetch_weights")]
    with pytest.raises(StudyError, match="the option --forcerun extract_features fetch_weights "):
        require_same_parameters(study, folder)


def test_other_inputs_are_refused(folder):
    """As with report.controls, which changes no parameter of the tables."""
    make_both(folder)
    more = Study(folder)
    more.inputs = ["chips", "controls"]
    with pytest.raises(StudyError, match="of other parameters or inputs"):
        require_same_parameters(more, folder)


def test_a_killed_start_leaves_what_its_jobs_were_given(folder, monkeypatch):
    """One job had ended well, and the next one may have written its files or not."""
    monkeypatch.setattr("_made_with._PAUSE_S", 0)
    monkeypatch.setattr("_made_with._PAUSE_TIMES", 0)
    study = Study(folder, planned=("fetch_weights", "extract_features"))
    handler = MadeWith(study, folder)
    study.write("fetch_weights")
    handler.emit(finished(0))
    study.write("extract_features")
    # Killed here.
    assert study.known()["extract_features"] == BEING_MADE
    with pytest.raises(StudyError, match=r"extract_features\.json, being made when an earlier start was killed"):
        require_same_parameters(Study(folder), folder)
    with pytest.raises(StudyError, match=r"fetch_weights\.json, of other parameters or inputs"):
        require_same_parameters(Study(folder, seed=5), folder)


def test_a_failed_job_that_left_the_earlier_files_leaves_what_was_known_of_them(folder):
    before = make_both(folder).known()
    study = Study(folder, seed=5, planned=("fetch_weights", "extract_features"))
    handler = MadeWith(study, folder)
    study.write("extract_features")
    (folder / "extract_features.json").rename(folder / "x")
    study.write("extract_features")
    handler.end(study)
    assert study.known() == before | {"extract_features": BEING_MADE}


def test_what_an_earlier_version_remembered_still_counts(folder):
    known = make_both(folder).known()
    old = {str(folder / f"{name}.json"): entry["params"] for name, entry in known.items()}
    (folder / NAME).write_text(json.dumps(old))
    require_same_parameters(Study(folder), folder)
    with pytest.raises(StudyError):
        require_same_parameters(Study(folder, seed=5), folder)


def test_what_is_not_known_is_accepted(folder):
    require_same_parameters(Study(folder, seed=5), folder)
