"""What the process a user started shows, and when it starts no more jobs."""

import io
import json
import logging
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from execution.end.stop import StopAtFailedCheck
from execution.slurm.refusals import REFUSED
from execution.start.terminal import Terminal, duration
from terralucas.errors import StudyError


class Output(list):
    """Output files, some of them with names, as Snakemake's."""

    def __init__(self, *files, **named):
        super().__init__([*files, *named.values()])
        self.__dict__.update(named)


def job(tmp_path, rule, local=False, **wildcards):
    folder = tmp_path / "-".join([rule, *map(str, wildcards.values())])
    return SimpleNamespace(
        rule=SimpleNamespace(name=rule), wildcards=wildcards, output=Output(metrics=folder / "metrics.json"),
        log=[str(folder / "log")], is_local=local,
    )  # fmt: skip


def finish(run, macro=0.4123, micro=0.66):
    run.output.metrics.parent.mkdir(parents=True, exist_ok=True)
    run.output.metrics.write_text(json.dumps({"test": {"macro_accuracy": macro, "micro_accuracy": micro}}))


@pytest.fixture
def runs(tmp_path):
    return {
        seed: job(tmp_path, "train_run", backbone="tiny", loss="focal", decoder="mlp", seed=seed) for seed in range(4)
    }


def test_a_run_that_diverged_is_told_with_its_log(runs, clock):
    logger, shown = terminal(runs)
    start(logger)
    path = runs[1].output.metrics
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"status": "diverged"}))
    end(logger, 1)
    assert f"tiny · focal · mlp · seed 1: diverged (log: {runs[1].log[0]})" in shown.getvalue()


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr("execution.start.terminal.time.monotonic", lambda: now.seconds)
    return now


def terminal(jobs, is_remote=True):
    shown = io.StringIO()
    handler = Terminal(jobs, total=10, finished=6, is_remote=is_remote, stream=shown)
    logger = logging.Logger("snakemake")
    logger.addHandler(handler)
    return logger, shown


def start(logger, rule="train_run", message="Training"):
    logger.info(None, extra={"event": LogEvent.JOB_INFO, "rule_name": rule, "rule_msg": message})


def end(logger, *ids):
    for job_id in ids:
        logger.info("Finished", extra={"event": LogEvent.JOB_FINISHED, "job_id": job_id})
    logger.info(None, extra={"event": LogEvent.PROGRESS, "done": 1, "total": 2})


def test_one_line_for_each_finished_run_with_score_and_time_left(runs, clock):
    logger, shown = terminal(runs)
    start(logger)
    finish(runs[2])
    clock.seconds = 120.0
    end(logger, 2)
    finish(runs[0])
    finish(runs[1])
    clock.seconds = 300.0
    end(logger, 0, 1)
    finish(runs[3])
    end(logger, 3)
    score = "macro accuracy 0.412, micro accuracy 0.660"
    # One run in 120 s leaves three of 120 s each; three in 300 s leave one of 100 s.
    assert shown.getvalue().splitlines() == [
        "4 runs to do; 6 of the study's 10 were there",
        f"1 of 4  tiny · focal · mlp · seed 2: {score}  (about 6 min left)",
        f"2 of 4  tiny · focal · mlp · seed 0: {score}",
        f"3 of 4  tiny · focal · mlp · seed 1: {score}  (about 2 min left)",
        f"4 of 4  tiny · focal · mlp · seed 3: {score}",
    ]


def test_stages_are_named_once_and_snakemakes_bookkeeping_is_not_shown(runs):
    logger, shown = terminal(runs)
    start(logger, "make_tables", "Computing the tables")
    logger.info("Select jobs to execute...")
    logger.warning("No SLURM account given, trying to guess.")
    logger.error("Exiting because a job execution failed. Look above for error messages")
    logger.error("A plugin's own error.")
    assert shown.getvalue().splitlines()[1:] == ["Computing the tables", "A plugin's own error."]


def fail(logger, jobs, ids, logs=(), said=None):
    logger.error("Error", extra={ "said": said,
        "event": LogEvent.GROUP_ERROR, "job_error_info": [{"jobid": i} for i in ids], "aux_logs": list(logs),
    })  # fmt: skip
    for job_id in ids:
        logger.error("Error", extra={
            "event": LogEvent.JOB_ERROR, "jobid": job_id, "indent": True, "rule_msg": None, "log": jobs[job_id].log,
        })  # fmt: skip


def write_log(run, text):
    path = run.output.metrics.parent / "log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_pack_shows_what_finished_and_what_the_others_said(runs, clock):
    logger, shown = terminal(runs)
    start(logger)
    finish(runs[0])
    for seed in (1, 2):
        write_log(
            runs[seed],
            """\
2026-01-01 10:00:00,000 INFO terralucas.training.frozen_loop: epoch 1
2026-01-01 10:00:01,000 ERROR train_run: The training loss is not finite in epoch 2.
  found: nan
2026-01-01 10:00:01,000 INFO terralucas: the end
""",
        )
    fail(logger, runs, [0, 1, 2], ["slurm.log"])
    logger.info("Trying to restart job 1.")
    end(logger, 0)
    lines = shown.getvalue().splitlines()[1:]
    assert lines[0].startswith("1 of 4  tiny · focal · mlp · seed 0: macro accuracy 0.412")
    assert lines[1] == f"FAILED  tiny · focal · mlp · seed 1  (log: {runs[1].log[0]}, slurm.log)"
    assert lines[2].startswith("FAILED  tiny · focal · mlp · seed 2")
    assert lines[3:] == [
        "        The training loss is not finite in epoch 2.",
        "          found: nan",
        "        it is started again",
    ]


def test_what_a_run_said_before_is_no_reason_of_a_job_that_ended_before_it_began(runs, tmp_path):
    """The log of an earlier start, or of an earlier attempt, is still there."""
    slurm = tmp_path / "7.log"
    write_log(runs[1], "2026-01-01 10:00:00,000 ERROR train_run: tokens.npy is not what was written.\n")
    logger, shown = terminal(runs)
    slurm.write_text("slurmstepd-n1: error: *** JOB 7 ON n1 CANCELLED ***\n")
    fail(logger, runs, [1], [str(slurm)])
    assert shown.getvalue().splitlines()[-1] == "        *** JOB 7 ON n1 CANCELLED ***"
    write_log(runs[1], "2026-01-01 11:00:00,000 ERROR train_run: The run diverged.\n")
    fail(logger, runs, [1], [str(slurm)])
    assert shown.getvalue().splitlines()[-1] == "        The run diverged."
    fail(logger, runs, [1], [str(slurm)])
    assert shown.getvalue().splitlines()[-1] == "        *** JOB 7 ON n1 CANCELLED ***"


def test_a_job_that_failed_after_all_its_runs_has_a_reason(runs):
    logger, shown = terminal(runs)
    for seed in (0, 1):
        finish(runs[seed])
    fail(logger, runs, [0, 1], ["8.log"], said="SLURM-job '8' failed, SLURM status is: 'NODE_FAIL'.")
    assert shown.getvalue().splitlines()[-2:] == [
        "FAILED  the job of runs that are all finished  (log: 8.log)",
        "        SLURM-job '8' failed, SLURM status is: 'NODE_FAIL'.",
    ]


def test_what_slurm_says_of_a_job_it_ended_is_found(runs, tmp_path):
    slurm = tmp_path / "5.log"
    slurm.write_text(
        "Will exit after finishing\nslurmstepd-node1: error: *** JOB 5 ON node1 CANCELLED DUE TO TIME LIMIT ***\n"
    )
    write_log(runs[1], "2026-01-01 10:00:00,000 INFO terralucas.training.frozen_loop: epoch 1\n")
    logger, shown = terminal(runs)
    fail(logger, runs, [1], [str(slurm)])
    assert "DUE TO TIME LIMIT" in shown.getvalue()
    fail(logger, runs, [2])
    assert "it ended without an error in its log" in shown.getvalue()
    fail(logger, runs, [2], said="sbatch: error: invalid partition\n    sbatch call:\n sbatch --parsable …")
    assert shown.getvalue().splitlines()[-1] == "        sbatch: error: invalid partition"


def test_a_job_that_ctrl_c_ended_says_so(runs):
    logger, shown = terminal(runs)
    write_log(runs[1], "2026-01-01 10:00:00,000 INFO progress: train_run: ended by SIGINT\n")
    fail(logger, runs, [1])
    assert shown.getvalue().splitlines()[-1] == "        ended by SIGINT"


def test_what_slurm_says_of_a_script_that_never_began_is_found(runs, tmp_path):
    slurm = tmp_path / "5.log"
    slurm.write_text("slurmstepd-n1: error: execve(): python: No such file or directory\n")
    logger, shown = terminal(runs)
    fail(logger, runs, [1], [str(slurm)], said="SLURM-job '5' failed, SLURM status is: 'FAILED'.")
    assert shown.getvalue().splitlines()[-1] == "        execve(): python: No such file or directory"


CLOCKS = """\
Building DAG of jobs...
WorkflowError in rule train_run in file "/p/workflow/rules/train.smk", line 5:
Output predictions.parquet has older modification time (00:47) than input tokens.npy (02:34). This could indicate a \
clock skew problem in your network. (rule train_run, line 5, /p/workflow/rules/train.smk)
Exiting because a job execution failed. Look above for error messages
WorkflowError:
At least one job did not complete successfully.
"""
STOPPED = """\
Building DAG of jobs...
StudyStoppedError:
This job ends without a change to any result.
  found: process 5 on login2
"""
BROKEN = """\
Building DAG of jobs...
/bin/bash: line 1: 4711 Illegal instruction     (core dumped) /p/.venv/bin/python /p/.snakemake/scripts/x.py
RuleException:
CalledProcessError in file "/p/workflow/rules/train.smk", line 50:
Command 'python' returned non-zero exit status 132.
WorkflowError:
At least one job did not complete successfully.
"""
UNREADABLE = """\
Building DAG of jobs...
Traceback (most recent call last):
  File "/p/workflow/scripts/terralucas/training/run.py", line 25, in <module>
    import torch
    ^^^^^^^^^^^^
ImportError: libtorch_cuda.so: failed to map segment from shared object
RuleException:
CalledProcessError in file "/p/workflow/rules/train.smk", line 50:
Command 'python' returned non-zero exit status 1.
WorkflowError:
At least one job did not complete successfully.
"""
IGNORED = """\
Exception ignored in: <function _MultiProcessingDataLoaderIter.__del__ at 0x7f>
Traceback (most recent call last):
  File "/p/torch/utils/data/dataloader.py", line 1664, in __del__
    self._shutdown_workers()
AssertionError: can only test a child process
"""
FULL = """\
Building DAG of jobs...
RuleException:
OSError in file "/p/workflow/rules/train.smk", line 50:
[Errno 28] No space left on device
  File "/usr/lib/python3.11/tempfile.py", line 483, in func_wrapper
WorkflowError:
At least one job did not complete successfully.
"""
KILLED = "/bin/bash: line 1: 4711 Killed                  /p/.venv/bin/python x.py"
FAILED = "SLURM-job '5' failed, SLURM status is: 'FAILED', SLURM's reason: NonZeroExitCode (it ended with an error)."


@pytest.mark.parametrize(
    ("log", "shown_at_last"),
    [
        (CLOCKS, ["Output predictions.parquet has older modification time (00:47) than input tokens.npy (02:34)."]),
        (
            FULL,
            [
                "There is no space left to write .snakemake, or the folder TMPDIR of the node.",
                "  found: No space left on device",
                "  expected: space for the whole file",
                "  what to do: free space or raise the limit",
            ],
        ),
        (STOPPED, ["This job ends without a change to any result.", "  found: process 5 on login2"]),
        (BROKEN, [FAILED, "  its log ends with: /bin/bash: line 1: 4711 Illegal instruction "]),
        (
            UNREADABLE,
            [
                FAILED,
                "  its log ends with: ImportError: libtorch_cuda.so: failed to map segment from shared object",
            ],
        ),
        (
            "Traceback (most recent call last):\n  x\nImportError: no\n",
            [FAILED, "  its log ends with: ImportError: no"],
        ),
        (f"Building DAG of jobs...\n{IGNORED}", [FAILED]),
        (f"Building DAG of jobs...\n{IGNORED}{KILLED}\n", [FAILED, f"  its log ends with: {KILLED}"]),
        (f"Building DAG of jobs...\nx\n{IGNORED[IGNORED.index('Trace') :]}epoch 2\n", [FAILED]),
        (
            'Traceback (most recent call last):\n  File "x.py", line 2, in f\nKeyboardInterrupt\nmore\n',
            [FAILED, "  its log ends with: more"],
        ),
        (
            "/spool/job00027/slurm_script: 4: /scratch/none/bin/python: not found\n",
            [FAILED, "  its log ends with: /spool/job00027/slurm_script: 4: /scratch/none/bin/python: not found"],
        ),
        (
            "/p/bin/python: No module named 'snakemake'\n\n",
            [FAILED, "  its log ends with: /p/bin/python: No module named 'snakemake'"],
        ),
        (
            "python: /lib64/libc.so.6: version `GLIBC_2.28' not found (required by python)\n",
            [
                FAILED,
                "  its log ends with: python: /lib64/libc.so.6: version `GLIBC_2.28' not found (required by python)",
            ],
        ),
        ("Building DAG of jobs...\nExecute 1 jobs...\n", [FAILED]),
        ("", [FAILED]),
    ],
)
def test_the_reason_of_a_job_in_which_no_script_said_it_is_in_slurms_log(runs, tmp_path, log, shown_at_last):
    slurm = tmp_path / "5.log"
    slurm.write_text(log)
    logger, shown = terminal(runs)
    fail(logger, runs, [1], [str(slurm)], said=FAILED)
    last = shown.getvalue().splitlines()[-len(shown_at_last) :]
    assert [line[8:][: len(said)] for line, said in zip(last, shown_at_last, strict=True)] == shown_at_last


def test_a_run_that_snakemake_touches_though_it_is_not_finished_is_passed_over(runs, capsys):
    logger, shown = terminal(runs)
    end(logger, 0, 1)
    assert shown.getvalue().splitlines() == ["4 runs to do; 6 of the study's 10 were there"]
    assert "Traceback" not in capsys.readouterr().err


def test_the_reason_of_a_refused_job_is_not_looked_for_in_the_log_of_an_earlier_one(runs):
    write_log(runs[1], "2026-01-01 10:00:00,000 ERROR train_run: Bad split.\n")
    logger, shown = terminal(runs)
    fail(logger, runs, [1], said=f"{REFUSED}\n  found: Invalid qos\n    sbatch call:\n sbatch …")
    assert shown.getvalue().splitlines()[-2:] == [f"        {REFUSED}", "          found: Invalid qos"]


def test_a_pack_that_slurm_does_not_take_finished_nothing_though_files_of_earlier_runs_are_there(runs):
    for seed in (0, 1):
        finish(runs[seed])
    logger, shown = terminal(runs)
    fail(logger, runs, [0, 1], said=f"{REFUSED}\n  found: Invalid qos")
    assert shown.getvalue().count("FAILED") == 2


def test_a_pack_that_ended_before_its_last_run_began_does_not_show_the_earlier_result_of_that(runs, clock):
    """As where a pack that trains runs with other settings reaches its time limit."""
    for seed in (0, 1):
        finish(runs[seed])
    logger, shown = terminal(runs)
    start(logger)
    finish(runs[0], macro=0.5)
    fail(logger, runs, [0, 1], said="SLURM status is: 'TIMEOUT'.")
    lines = shown.getvalue().splitlines()
    assert sum("macro accuracy" in line for line in lines) == 1
    assert [line.partition("  (log")[0] for line in lines if "FAILED" in line] == [
        "FAILED  tiny · focal · mlp · seed 1"
    ]


def test_nodes_that_are_not_excluded_are_not_said_to_be(runs):
    logger, shown = terminal(runs)
    plugin = "failed due to a node failure, SLURM status is: 'NODE_FAIL'. Failed nodes will be excluded from future …"
    fail(logger, runs, [1], said=plugin)
    assert shown.getvalue().splitlines()[-1].strip() == plugin.partition(" Failed nodes")[0]


def test_what_the_study_says_about_slurm_is_shown(runs):
    logger, shown = terminal(runs)
    logger.info("SLURM: 2 jobs wait: Priority.")
    logger.info("SLURM run ID: 7")
    assert shown.getvalue().splitlines()[1:] == ["SLURM: 2 jobs wait: Priority."]


def fail_alone(logger, job_id, failed_job):
    logger.error("Error", extra={
        "event": LogEvent.JOB_ERROR, "jobid": job_id, "rule_name": failed_job.rule.name, "indent": False,
        "rule_msg": None, "log": failed_job.log,
    })  # fmt: skip


def test_a_job_of_this_machine_has_spoken_for_itself(tmp_path):
    local = {7: job(tmp_path, "index_chips", local=True)}
    write_log(local[7], "2026-01-01 10:00:00,000 ERROR index_chips: Bad chips.\n")
    logger, shown = terminal(local)
    assert shown.getvalue() == ""
    fail_alone(logger, 7, local[7])
    assert shown.getvalue().splitlines() == [f"FAILED  index_chips  (log: {local[7].log[0]})"]


def listed_at_the_end(logger, shown):
    before = len(shown.getvalue())
    logger.handlers[0].show_failures()
    return shown.getvalue()[before:].splitlines()


def test_what_failed_is_listed_again_at_the_end_with_its_reason(runs, tmp_path):
    jobs = runs | {7: job(tmp_path, "audit_treatment", local=True, section="losses", setting="soft")}
    write_log(jobs[7], "2026-01-01 10:00:00,000 ERROR audit_treatment: Not what it says.\n  found: the same\n")
    error = StudyError("Bad split:\n1. of folds", found="two\nlines")
    write_log(jobs[0], f"2026-01-01 10:00:00,000 ERROR train_run: {error}\n")
    write_log(jobs[1], f"2026-01-01 10:00:00,000 ERROR train_run: {error}\n")
    logger, shown = terminal(jobs)
    fail_alone(logger, 7, jobs[7])
    fail_alone(logger, 0, jobs[0])
    fail_alone(logger, 1, jobs[1])
    assert listed_at_the_end(logger, shown) == [
        "",
        "Failed:",
        f"  audit_treatment · losses · soft  (log: {jobs[7].log[0]})",
        "        Not what it says.",
        "          found: the same",
        f"  tiny · focal · mlp · seed 0  (log: {jobs[0].log[0]})",
        f"  tiny · focal · mlp · seed 1  (log: {jobs[1].log[0]})",
        "        Bad split:",
        "          1. of folds",
        "          found: two",
        "          lines",
    ]


def test_a_job_that_finished_after_a_failure_is_not_listed(runs, clock):
    logger, shown = terminal(runs)
    fail(logger, runs, [0, 1])
    for seed in (0, 1):
        finish(runs[seed])
    # One finishes by itself; the other in a pack of which a third run fails.
    end(logger, 0)
    fail(logger, runs, [1, 2])
    failed = [line for line in listed_at_the_end(logger, shown) if "seed" in line]
    assert failed == [f"  tiny · focal · mlp · seed 2  (log: {runs[2].log[0]})"]


def test_nothing_is_listed_where_nothing_failed(runs):
    logger, shown = terminal(runs)
    assert listed_at_the_end(logger, shown) == []


def test_errors_of_snakemake_itself_are_shown_and_listed_but_not_those_that_repeat_a_job(runs):
    logger, shown = terminal(runs)
    for message in (
        "RuleException:\nCalledProcessError in file train.smk",
        "MissingOutputException in rule train_run",
        "WorkflowError:\nAt least one job did not complete successfully.",
    ):
        logger.error(message, extra={"event": LogEvent.ERROR, "exception": message.partition(":")[0]})
    assert shown.getvalue().splitlines()[1:] == ["MissingOutputException in rule train_run"]
    assert listed_at_the_end(logger, shown) == ["", "Failed:", "  MissingOutputException in rule train_run"]


@pytest.mark.parametrize("path", ["", ": '/p/.snakemake/metadata/abc'"])
def test_a_full_disk_of_snakemakes_records_is_told_with_what_to_do_and_once(runs, path):
    logger, shown = terminal(runs)
    said = "WorkflowError:\nError recording metadata for finished job ([Errno 28] No space left on device"
    said += f"{path}). Please ensure write permissions for the directory /p/.snakemake"
    for _ in range(2):
        logger.error(said, extra={"event": LogEvent.ERROR, "exception": "WorkflowError"})
    lines = shown.getvalue().splitlines()[1:]
    assert lines[:3] == [*said.splitlines(), "There is no space left to write /p/.snakemake."]
    assert lines[3] == "  found: No space left on device"
    assert "  what to do: free space" in lines[-1]
    assert shown.getvalue().count("no space left to write") == 1
    assert "  There is no space left to write /p/.snakemake." in listed_at_the_end(logger, shown)


@pytest.mark.parametrize(("rule", "goes_on"), [("audit_treatment", False), ("train_run", True)])
def test_only_a_failed_check_turns_keep_going_off_and_is_told(tmp_path, rule, goes_on):
    jobs = {number: job(tmp_path, rule, local=True, number=number) for number in (7, 8)}
    logger, shown = terminal(jobs)
    scheduler = SimpleNamespace(keepgoing=True)
    logger.addHandler(StopAtFailedCheck(scheduler, ["audit_treatment"], logger))
    for number in jobs:
        fail_alone(logger, number, jobs[number])
    assert scheduler.keepgoing == goes_on
    assert shown.getvalue().count("No more jobs are started") == (0 if goes_on else 1)


def test_parts_are_counted_as_they_finish(tmp_path):
    jobs = {number: job(tmp_path, "predict_part", number=number) for number in range(3)}
    jobs |= {9: job(tmp_path, "map_part", number=9)}
    logger, shown = terminal(jobs)
    for number in (1, 0, 0, 9):
        logger.info("", extra={"event": LogEvent.JOB_FINISHED, "job_id": number})
    assert [line for line in shown.getvalue().splitlines() if "parts" in line] == [
        "1 of 3 parts are predicted",
        "2 of 3 parts are predicted",
        "2 of 3 parts are predicted",
    ]


@pytest.mark.parametrize("has_error", [True, False])
def test_what_the_user_ended_is_no_failure(tmp_path, has_error):
    ended = job(tmp_path, "audit_treatment", local=True, number=7)
    logger, shown = terminal({7: ended})
    scheduler = SimpleNamespace(keepgoing=True)
    logger.addHandler(StopAtFailedCheck(scheduler, ["audit_treatment"], logger))
    logger.info("Terminating processes on user request, this might take some time.")
    word = "ERROR terralucas: The loss is wrong." if has_error else "INFO progress: audit_treatment: ended by SIGINT"
    write_log(ended, f"2026-11-28 08:00:00,000 {word}\n")
    fail_alone(logger, 7, ended)
    assert "must be corrected" not in shown.getvalue()
    assert ("FAILED" in shown.getvalue()) == has_error
    assert any("The loss is wrong" in line for line in listed_at_the_end(logger, shown)) == has_error


@pytest.mark.parametrize(
    ("seconds", "said"), [(40, "40 s"), (95, "2 min"), (720, "12 min"), (5400, "1 h 30 min"), (12000, "3 h 20 min")]
)
def test_durations_are_said_as_one_would(seconds, said):
    assert duration(seconds) == said
