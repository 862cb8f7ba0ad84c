"""What is remembered beside the results of the parameters with which they were made."""

import json
import logging
import os
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake.api  # noqa: F401 - before other modules of Snakemake
from snakemake.settings.enums import RerunTrigger
from snakemake_interface_logger_plugins.common import LogEvent

from execution.records.given_to_jobs import NAME
from execution.records.made_with import MadeWith, remember_accepted, require_fitting_results, require_own_parameters
from execution.rule_names import RUN_RULES
from terralucas.errors import StudyError
from terralucas.study.head import NAME as MARK
from terralucas.study.head import this_process


class Study:
    """Snakemake's workflow of two steps, as far as it matters here: it has no records but those of `recorded`."""

    def __init__(self, folder, seed=0, planned=()):
        jobs = {
            name: SimpleNamespace(
                rule=SimpleNamespace(name=name),
                output=[str(folder / f"{name}.json")],
                params=[f"{name} {seed}"],
                input=[str(folder / "data" / "chips.parquet"), str(folder / "weights" / "tiny.json")],
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
            jobid=lambda job: next(number for number, each in enumerate(jobs.values()) if each is job),
            forcerules=set(),
        )
        self.dag_settings = SimpleNamespace(rerun_triggers=[RerunTrigger.PARAMS])
        self.touch = False

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


def begun(job_id):
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, "", (), None)
    record.event, record.jobid = LogEvent.JOB_INFO, job_id
    return record


def begin(study, folder):
    """A start that runs the study: its mark is there."""
    head = this_process()
    (folder / MARK).write_text(json.dumps(asdict(head)))
    return MadeWith(study, folder, head.start)


def make_both(folder, seed=0):
    study = Study(folder, seed, planned=("fetch_weights", "extract_features"))
    handler = begin(study, folder)
    for number, name in enumerate(("fetch_weights", "extract_features")):
        study.write(name)
        handler.emit(finished(number))
    handler.end(study)
    return study


def test_what_was_made_with_the_same_parameters_is_accepted(folder):
    make_both(folder)
    require_fitting_results(Study(folder), folder)
    with pytest.raises(StudyError, match=r"fetch_weights\.json"):
        require_fitting_results(Study(folder, seed=5), folder)


def test_a_record_of_an_earlier_start_does_not_replace_what_this_one_has_noted(folder):
    """With --drop-metadata, Snakemake writes no record, and leaves those of before."""
    study = Study(folder, seed=1, planned=("fetch_weights",))
    job = study.of["fetch_weights"]
    study.recorded[job.output[0]] = SimpleNamespace(params=["fetch_weights 0"], input=study.inputs)
    handler = begin(study, folder)
    study.write("fetch_weights")
    handler.emit(finished(0))
    assert handler.end(study)
    require_fitting_results(Study(folder, seed=1), folder)
    with pytest.raises(StudyError, match=r"fetch_weights\.json"):
        require_fitting_results(Study(folder, seed=0), folder)


def test_a_record_of_an_earlier_start_does_not_replace_what_is_known_of_a_job_that_did_not_begin(folder):
    """The second start of this configuration was interrupted; the first one had --drop-metadata."""
    make_both(folder, seed=1)
    study = Study(folder, seed=1, planned=("fetch_weights",))
    study.recorded[study.of["fetch_weights"].output[0]] = SimpleNamespace(
        params=["fetch_weights 0"], input=study.inputs
    )
    assert begin(study, folder).end(study)
    with pytest.raises(StudyError, match=r"fetch_weights\.json"):
        require_fitting_results(Study(folder, seed=0), folder)
    require_fitting_results(Study(folder, seed=1), folder)


def test_a_file_that_is_gone_is_refused_too_because_snakemake_does_not_make_it_again(folder):
    make_both(folder)
    for name in ("fetch_weights", "extract_features"):
        (folder / f"{name}.json").unlink()
    require_fitting_results(Study(folder), folder)
    with pytest.raises(StudyError) as stopped:
        require_fitting_results(Study(folder, seed=5), folder)
    assert "the option --forcerun extract_features fetch_weights " in stopped.value.remedy
    # As with that option, or with Snakemake's records.
    require_fitting_results(Study(folder, seed=5, planned=("fetch_weights", "extract_features")), folder)


def test_results_of_another_checkout_are_refused_though_this_one_has_records(folder):
    """They share the folder of results, or results were copied over those of this one."""
    make_both(folder, seed=5)
    own = Study(folder)
    own.recorded = dict.fromkeys((job.output[0] for job in own.dag.jobs), object())
    with pytest.raises(StudyError, match=r"with other parameters or inputs: [^;]*fetch_weights\.json"):
        require_fitting_results(own, folder)
    # A killed start of this checkout had planned to make them, and had not.
    begin(Study(folder, planned=("fetch_weights", "extract_features")), folder)
    with pytest.raises(StudyError, match=r"with other parameters or inputs: [^;]*fetch_weights\.json"):
        require_fitting_results(own, folder)


def write_contents(folder, chips="A", weights="B", path="w.pt"):
    (folder / "weights").mkdir(exist_ok=True)
    (folder / "weights" / "tiny.json").write_text(json.dumps({"source": "file", "path": path, "sha256": weights}))
    (folder / "data" / "chips.parquet").write_text(f"index of {chips}")


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize(("changed", "named"), [({"chips": "C"}, "chips.parquet"), ({"weights": "C"}, "tiny.json")])
def test_other_contents_of_inputs_are_refused(folder, recorded, changed, named):
    """As after a `touch` of all files, which hides from Snakemake that a step was made again alone."""
    write_contents(folder)
    make_both(folder)
    study = Study(folder)
    if recorded:
        study.recorded = dict.fromkeys((job.output[0] for job in study.dag.jobs), object())
    write_contents(folder, path="elsewhere.pt")
    require_fitting_results(study, folder)
    (folder / "weights" / "tiny.json").unlink()
    require_fitting_results(study, folder)
    write_contents(folder, **changed)
    with pytest.raises(StudyError, match=rf"found: changed since the results were made: \S*/{named} \(") as stopped:
        require_fitting_results(study, folder)
    assert "--forcerun extract_features fetch_weights " in stopped.value.remedy


def test_contents_that_were_not_known_are_those_that_snakemake_accepts(folder):
    """Results of an earlier version, at the end of the first start with this one."""
    write_contents(folder)
    make_both(folder)
    entries = json.loads((folder / NAME).read_text())
    earlier = {path: {key: entry[key] for key in ("params", "input")} for path, entry in entries.items()}
    (folder / NAME).write_text(json.dumps(earlier))
    study = Study(folder)
    path = study.of["extract_features"].output[0]
    study.recorded = {path: SimpleNamespace(params=["extract_features 0"], input=["chips"])}
    begin(study, folder).end(study)
    assert json.loads((folder / NAME).read_text()) == earlier | {path: entries[path]}
    write_contents(folder, chips="C")
    with pytest.raises(StudyError, match=r"found: changed since the results were made: \S*/chips\.parquet"):
        require_fitting_results(study, folder)


def test_outputs_of_a_job_that_was_killed_while_it_wrote_are_refused(folder):
    """Snakemake marks them as incomplete, until its records are deleted."""

    def study(seed=0, planned=()):
        found = Study(folder, seed, planned)
        found.of["fetch_weights"].output.append(str(folder / "second.json"))
        return found

    first = study(planned=("fetch_weights",))
    handler = begin(first, folder)
    for path in first.of["fetch_weights"].output:
        Path(path).write_text("old")
    handler.emit(finished(0))
    handler.end(first)
    killed = study(seed=5, planned=("fetch_weights",))
    begin(killed, folder).emit(begun(0))
    require_fitting_results(study(), folder)
    for path in reversed(killed.of["fetch_weights"].output):
        Path(path).write_text("of another seed")
        done = path == killed.of["fetch_weights"].output[0]
        for seed in (0, 5):
            if done and seed == 5:
                require_fitting_results(study(seed), folder)
            else:
                with pytest.raises(StudyError, match=r"with other parameters or inputs: [^;]*fetch_weights\.json"):
                    require_fitting_results(study(seed), folder)


def test_other_predictions_of_the_same_runs_are_refused(folder):
    """As where runs come back from a backup with their times, or from a machine that computes other digits."""

    def study(planned=()):
        found = Study(folder, planned=planned)
        found.of["extract_features"].input = [str(folder / "runs" / seed / "predictions.parquet") for seed in "ab"]
        found.of["extract_features"].input.append(str(folder / "controls" / "predictions.parquet"))
        return found

    def write(run="1", control="2"):
        for seed in "ab":
            (folder / "runs" / seed).mkdir(parents=True, exist_ok=True)
            (folder / "runs" / seed / "predictions.parquet").write_text(run)
            (folder / "runs" / seed / "run.yaml").write_text(f"status: finished\npredictions_sha256: {run}{seed}\n")
        (folder / "controls").mkdir(exist_ok=True)
        (folder / "controls" / "predictions.parquet").write_text(control)

    write()
    made = study(planned=("extract_features",))
    handler = begin(made, folder)
    made.write("extract_features")
    handler.emit(finished(1))
    handler.end(made)
    require_fitting_results(study(), folder)
    for change in ({"run": "3"}, {"control": "3"}):
        write(**change)
        with pytest.raises(
            StudyError, match=r"found: changed since the results were made: .*predictions(?: of runs|\.parquet)"
        ):
            require_fitting_results(study(), folder)


def study_with_tables(folder, planned=(), rule="make_tables"):
    """A study whose last step makes two tables of the predictions of two runs, if these are there."""
    found = Study(folder, planned=planned)
    tables = found.of["train_run"]
    tables.rule.name, tables.output = rule, [str(folder / f"{name}.csv") for name in ("runs", "summary")]
    tables.input = [str(folder / "runs" / seed / "predictions.parquet") for seed in "ab"]
    found.dag.needrun = lambda job: False
    return found


def make_tables(folder, rule="make_tables"):
    made = study_with_tables(folder, planned=("train_run",), rule=rule)
    handler = begin(made, folder)
    for path in made.of["train_run"].output:
        Path(path).write_text("1")
    handler.emit(finished(2))
    handler.end(made)


@pytest.mark.parametrize("rule", ["make_tables", "split_chips", "fit_control", "audit_treatment", "a_rule_to_come"])
def test_an_output_that_was_put_in_the_place_of_another_is_refused(folder, rule):
    """As a table or a split of an earlier configuration with its time, or the page or the controls of another study."""

    make_tables(folder, rule)
    require_fitting_results(study_with_tables(folder, rule=rule), folder)
    (folder / "summary.csv").write_text("2")
    with pytest.raises(StudyError, match=r"found: changed since the results were made: \S*/summary\.csv") as stopped:
        require_fitting_results(study_with_tables(folder, rule=rule), folder)
    assert f"--forcerun {rule} " in stopped.value.remedy


@pytest.mark.parametrize("has_jobs", [True, False])
def test_results_of_which_all_records_were_deleted_are_compared_from_the_next_start_on(folder, has_jobs):
    """Of `rm -rf .snakemake` and `rm -rf results/…/data`; that start takes them for those of its configuration."""
    make_both(folder)
    (folder / NAME).unlink()
    accepting = Study(folder, seed=0)
    require_fitting_results(accepting, folder)
    begin(accepting, folder).end(accepting) if has_jobs else remember_accepted(accepting, folder)
    require_fitting_results(Study(folder), folder)
    with pytest.raises(StudyError, match=r"parameters or inputs: \S*/extract_features\.json, \S*/fetch_weights\.json"):
        require_fitting_results(Study(folder, seed=5), folder)


@pytest.mark.parametrize("planned", [("extract_features",), ()])
def test_a_job_that_is_given_other_parameters_than_its_start_records_is_refused(folder, planned):
    """A job on a cluster reads the rules again, of a project that may have been upgraded."""

    def job_of(seed=0, inputs="chips"):
        study = Study(folder, seed)
        study.inputs = [inputs]
        study.of["extract_features"].dag = SimpleNamespace(workflow=study)
        return study.of["extract_features"]

    own = begin(Study(folder, planned=planned), folder).start
    require_own_parameters(job_of(), folder, own)
    for changed in ({"seed": 5}, {"inputs": "others"}):
        if planned:
            with pytest.raises(StudyError, match=r"found: other parameters or inputs of \S+/extract_features\.json"):
                require_own_parameters(job_of(**changed), folder, own)
        # The start of the job has not written what it records.
        require_own_parameters(job_of(**changed), folder, "start-2")
        if not planned:
            require_own_parameters(job_of(**changed), folder, own)


@pytest.mark.parametrize("gone", ["runs/a/predictions.parquet", "runs", "summary.csv"])
def test_predictions_and_tables_that_were_deleted_to_free_space_are_not_compared(folder, gone):
    for seed in "ab":
        (folder / "runs" / seed).mkdir(parents=True)
        (folder / "runs" / seed / "predictions.parquet").write_text(seed)
        (folder / "runs" / seed / "run.yaml").write_text(f"predictions_sha256: {seed}\n")
    make_tables(folder)
    shutil.rmtree(folder / gone) if (folder / gone).is_dir() else (folder / gone).unlink()
    require_fitting_results(study_with_tables(folder), folder)


def test_the_advice_keeps_what_the_command_forces(folder):
    make_both(folder)
    study = Study(folder, seed=5, planned=("fetch_weights",))
    study.dag.forcerules = [SimpleNamespace(name="fetch_weights")]
    with pytest.raises(StudyError, match="the option --forcerun extract_features fetch_weights "):
        require_fitting_results(study, folder)


def test_other_inputs_are_refused(folder):
    """As with report.controls, which changes no parameter of the tables."""
    make_both(folder)
    more = Study(folder)
    more.inputs = ["chips", "controls"]
    with pytest.raises(StudyError, match="made with other parameters or inputs"):
        require_fitting_results(more, folder)


def kill_while_features_are_made(folder, seed=0):
    """A start whose first job ended well, and whose second one may write its file or not."""
    study = Study(folder, seed, planned=("fetch_weights", "extract_features"))
    handler = begin(study, folder)
    study.write("fetch_weights")
    handler.emit(finished(0))
    handler.emit(begun(1))


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr("execution.records.made_with._PAUSE_S", 0)
    monkeypatch.setattr("execution.records.made_with._PAUSE_TIMES", 0)


def test_what_a_job_finishes_after_its_start_was_killed_is_kept_with_its_parameters_alone(folder, at_once):
    """As on a cluster, where jobs outlive the process that submitted them."""
    kill_while_features_are_made(folder)
    Study(folder).write("extract_features")
    require_fitting_results(Study(folder), folder)
    with pytest.raises(StudyError, match=r"parameters or inputs: \S*/extract_features\.json, \S*/fetch_weights\.json"):
        require_fitting_results(Study(folder, seed=5), folder)


def test_what_is_there_of_a_job_that_had_not_begun_is_refused(folder):
    """It came from a backup, which was copied over what a killed start had left."""
    begin(Study(folder, planned=("fetch_weights", "extract_features")), folder).emit(begun(0))
    for name in ("fetch_weights", "extract_features"):
        Study(folder).write(name)
    with pytest.raises(StudyError, match=r"found: made with other parameters or inputs: \S*/extract_features\.json \("):
        require_fitting_results(Study(folder), folder)


def test_of_a_job_that_a_kill_kept_from_writing_the_earlier_file_counts(folder, at_once):
    make_both(folder)
    kill_while_features_are_made(folder, seed=5)
    with pytest.raises(StudyError, match=r"found: made with other parameters or inputs: \S*/extract_features\.json"):
        require_fitting_results(Study(folder, seed=5), folder)
    # The same after a second start that was killed.
    kill_while_features_are_made(folder, seed=5)
    with pytest.raises(StudyError, match=r"found: made with other parameters or inputs: \S*/extract_features\.json"):
        require_fitting_results(Study(folder, seed=5), folder)
    with pytest.raises(StudyError, match=r"found: made with other parameters or inputs: \S*/fetch_weights\.json"):
        require_fitting_results(Study(folder), folder)


def test_of_a_job_that_deleted_the_earlier_file_before_a_kill_this_file_counts(folder, at_once):
    """What follows from it was made from it."""
    make_both(folder)
    kill_while_features_are_made(folder, seed=5)
    (folder / "extract_features.json").unlink()
    with pytest.raises(StudyError, match=r"found: made with other parameters or inputs: \S*/extract_features\.json"):
        require_fitting_results(Study(folder, seed=5), folder)


def test_a_failed_job_that_left_the_earlier_files_leaves_what_was_known_of_them(folder):
    make_both(folder)
    study = Study(folder, seed=5, planned=("fetch_weights", "extract_features"))
    handler = begin(study, folder)
    (folder / "extract_features.json").unlink()
    handler.end(study)
    require_fitting_results(Study(folder), folder)
    with pytest.raises(StudyError, match=r"parameters or inputs: \S*/extract_features\.json, \S*/fetch_weights\.json"):
        require_fitting_results(Study(folder, seed=5), folder)


@pytest.mark.parametrize("begins", [True, False])
def test_files_that_lost_their_times_are_not_those_of_a_job_that_a_kill_kept_from_writing(folder, begins):
    """As after `tar`, which keeps seconds: all outputs have other times than the killed start saw, also an array."""

    def study(params="train_run 0", planned=()):
        found = study_with_tables(folder, planned)
        found.of["train_run"].params = [params]
        found.of["train_run"].output.append(str(folder / "array.npy"))
        return found

    make_tables(folder)
    (folder / "array.npy").write_text("1")
    killed = begin(study("of another configuration", planned=("train_run",)), folder)
    if begins:
        killed.emit(begun(2))
    for path in study().of["train_run"].output:
        os.utime(path, (1, 1))
    require_fitting_results(study(), folder)
    with pytest.raises(StudyError, match=r"found: made with other parameters or inputs: \S*/runs\.csv"):
        require_fitting_results(study("of another configuration"), folder)


@pytest.mark.parametrize("rule", ["make_tables", "train_run"])
def test_snakemakes_record_of_another_output_does_not_replace_what_is_known(folder, rule):
    """As where the folder .snakemake comes back from before, and a start does not look at parameters."""
    make_tables(folder, rule)
    later = study_with_tables(folder, rule=rule)
    later.recorded = {later.of["train_run"].output[0]: SimpleNamespace(params=["of another"], input=["chips"])}
    begin(later, folder).end(later)
    if rule in RUN_RULES:
        # Snakemake notices no change of theirs that their own records say to be none.
        with pytest.raises(StudyError, match="made with other parameters"):
            require_fitting_results(study_with_tables(folder, rule=rule), folder)
    else:
        require_fitting_results(study_with_tables(folder, rule=rule), folder)


@pytest.mark.parametrize("other", [True, False])
def test_a_start_that_another_one_took_for_dead_remembers_nothing(folder, other):
    """It was stopped for long, and goes on: the results are those of the other one, which may have ended."""
    study = Study(folder, seed=5, planned=("fetch_weights", "extract_features"))
    stopped = begin(study, folder)
    make_both(folder)
    if other:
        (folder / MARK).write_text(json.dumps(asdict(replace(this_process(), pid=5, machine="login2"))))
    else:
        (folder / MARK).unlink()
    study.recorded = {path: SimpleNamespace(params=["of seed 5"], input=["chips"]) for path in stopped.known}
    stopped.emit(finished(0))
    stopped.end(study)
    require_fitting_results(Study(folder), folder)


def test_files_that_were_replaced_while_the_study_ran_are_told_at_its_end(folder):
    """As by a backup of earlier results that was copied over them; tables and report are of these then."""
    made = study_with_tables(folder, planned=("train_run",))
    handler = begin(made, folder)
    handler.require_unchanged()
    for path in made.of["train_run"].output:
        Path(path).write_text("1")
    handler.emit(finished(2))
    handler.end(made)
    handler.require_unchanged()
    os.utime(folder / "summary.csv", (1, 1))
    handler.require_unchanged()
    (folder / "summary.csv").write_text("2")
    with pytest.raises(StudyError, match=r"found: changed since jobs of this start .*: \S*/summary\.csv\n") as stopped:
        handler.require_unchanged()
    assert "--forcerun make_tables " in stopped.value.remedy
    with pytest.raises(StudyError, match=r"changed since the results were made: \S*/summary\.csv"):
        require_fitting_results(study_with_tables(folder), folder)


def test_what_may_not_be_read_is_accepted_without_a_checksum(folder, monkeypatch):
    """The rule that reads it says so."""
    study = study_with_tables(folder)
    for path in study.of["train_run"].output:
        Path(path).write_text("1")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("execution.records.file_checksums.sha256_of_file", refuse)
    remember_accepted(study, folder)
    assert study.known()["runs"]["checksums"] == {}


def test_what_ends_within_the_pause_is_written_after_it(folder, monkeypatch):
    """And not only when the next job ends, before which the start may be killed."""
    monkeypatch.setattr("execution.records.made_with._PAUSE_S", 0.05)
    study = Study(folder, planned=("fetch_weights", "extract_features"))
    handler = begin(study, folder)
    for number, name in enumerate(("fetch_weights", "extract_features")):
        study.write(name)
        handler.emit(finished(number))
    until = time.monotonic() + 20
    while any("by" in entry for entry in study.known().values()) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any("by" in entry for entry in study.known().values())


def test_what_is_not_known_is_accepted(folder):
    require_fitting_results(Study(folder, seed=5), folder)


def test_touch_keeps_results_whose_times_alone_are_other_ones(folder):
    """It would have Snakemake record that results of other parameters are those of now."""
    make_both(folder)
    planned = ("fetch_weights", "extract_features")
    same, other = Study(folder, planned=planned), Study(folder, seed=1, planned=planned)
    same.touch = True
    require_fitting_results(same, folder)
    require_fitting_results(other, folder)
    other.touch = True
    # Snakemake has a record of the parameters before.
    other.recorded = {each.output[0]: SimpleNamespace(params=[], input=[]) for each in other.dag.jobs}
    with pytest.raises(
        StudyError, match="With --touch, results would count as those of another configuration"
    ) as caught:
        require_fitting_results(other, folder)
    assert "extract_features.json" in caught.value.found
    assert "start without --touch" in caught.value.remedy
