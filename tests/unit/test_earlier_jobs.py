"""Jobs of earlier starts of a study are found by their names, and cancelled or reported."""

import getpass
import logging
import time
from types import SimpleNamespace

import pytest

from execution.cluster.prepare import check_before_jobs
from execution.slurm import earlier_jobs as _earlier_jobs
from execution.slurm.earlier_jobs import name_of_jobs, settle_earlier_jobs, with_jobs_in_queue
from terralucas.errors import StudyError


@pytest.fixture
def said():
    return []


@pytest.fixture
def logger(said):
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger = logging.Logger("slurm", logging.INFO)
    logger.addHandler(handler)
    return logger


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A queue in a file, as squeue would print it; scancel empties it."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(_earlier_jobs, "_PAUSE_S", 0.01)
    monkeypatch.setattr(_earlier_jobs, "_SILENT_PAUSE_S", 0.02)
    path = tmp_path / "queue"
    path.write_text("")
    for name, script in (
        # As in a partition that is hidden.
        ("squeue", f"echo 'JOBID|STATE|NAME'; case $1 in --all) cat '{path}';; esac"),
        ("scancel", f"echo $@ > '{tmp_path}/cancelled'; : > '{path}'"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    return path


@pytest.fixture
def name(tmp_path):
    return name_of_jobs(tmp_path / "results" / "italy")


def fill(queue, name, tmp_path):
    other = name_of_jobs(tmp_path / "results" / "italy-2")
    queue.write_text(f"7|RUNNING|{name}uuid-1\n8|PENDING|{name}uuid-2\n9|RUNNING|{other}uuid-3\n10|RUNNING|mine\n")


def replace_sleep(monkeypatch, sleep):
    """In this module alone: `subprocess` sleeps, too."""
    monkeypatch.setattr(_earlier_jobs, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))


def empty_after_five_pauses(queue, monkeypatch):
    """Let the jobs end during the fifth pause; return the list that will have the pauses."""
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 5:
            queue.write_text("")

    replace_sleep(monkeypatch, sleep)
    return pauses


def test_they_are_cancelled_and_those_of_others_are_not(queue, name, tmp_path, logger, said):
    fill(queue, name, tmp_path)
    settle_earlier_jobs(name, "cancel", logger)
    assert (tmp_path / "cancelled").read_text() == "7 8\n"
    (line,) = said
    assert line.startswith(
        "SLURM: jobs of earlier starts of this study were cancelled or have ended: 7 (running), 8 (pending)."
    )


def test_they_are_reported_where_the_profile_says_so(queue, name, tmp_path, logger, said):
    fill(queue, name, tmp_path)
    settle_earlier_jobs(name, "report", logger)
    assert not (tmp_path / "cancelled").exists()
    (line,) = said
    assert "are in the queue: 7 (running), 8 (pending)." in line
    assert line.endswith("To cancel them at once: scancel 7 8.")


def test_nothing_is_said_where_there_are_none(queue, name, tmp_path, logger, said):
    queue.write_text("10|RUNNING|mine\n")
    settle_earlier_jobs(name, "cancel", logger)
    assert said == []


def test_those_that_are_ending_are_waited_for(queue, name, tmp_path, logger, said, monkeypatch):
    queue.write_text(f"7|COMPLETING|{name}uuid-1\n")
    replace_sleep(monkeypatch, lambda seconds: queue.write_text(""))
    settle_earlier_jobs(name, "cancel", logger)
    assert not (tmp_path / "cancelled").exists()
    assert said == []


def test_what_a_site_says_before_the_titles_is_no_job(queue, name, tmp_path, logger, said):
    (tmp_path / "squeue").write_text("""#!/bin/sh
echo 'Welcome to Cluster One'
case $* in *--noheader*) ;; *) echo 'JOBID|STATE|NAME';; esac
""")
    settle_earlier_jobs(name, "cancel", logger, is_stopped=lambda: bool(said))
    assert said == []


def test_jobs_are_those_of_the_user_also_where_squeue_has_no_option_for_that(queue, name, tmp_path, logger, said):
    """`--me` came with Slurm 20.02."""
    fill(queue, name, tmp_path)
    (tmp_path / "squeue").write_text(f"""#!/bin/sh
case $* in *--user={getpass.getuser()}*) echo 'JOBID|STATE'; cat '{queue}';;
*) echo "squeue: unrecognized option" >&2; exit 1;; esac
""")
    settle_earlier_jobs(name, "cancel", logger)
    assert (tmp_path / "cancelled").read_text() == "7 8\n"


AWAY = "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact' >&2\nexit 1\n"


# A site that limits questions may end the third so.
@pytest.mark.parametrize("answer", [AWAY, "#!/bin/sh\necho 'the site is busy'\n", "#!/bin/sh\nexit 0\n"])
def test_slurm_is_asked_until_it_answers_and_jobs_that_it_then_lists_are_cancelled(
    queue, name, tmp_path, logger, said, monkeypatch, answer
):
    fill(queue, name, tmp_path)
    works = (tmp_path / "squeue").read_text()
    (tmp_path / "squeue").write_text(answer)
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            (tmp_path / "squeue").write_text(works)

    replace_sleep(monkeypatch, sleep)
    settle_earlier_jobs(name, "cancel", logger)
    assert (tmp_path / "cancelled").read_text() == "7 8\n"
    asked, cancelled = said
    assert "could not be looked for (" in asked and "nothing is submitted until it answers" in asked
    assert cancelled.startswith("SLURM: jobs of earlier starts of this study were cancelled")


def test_a_scancel_without_an_answer_is_tried_again(queue, name, tmp_path, logger, said, monkeypatch):
    fill(queue, name, tmp_path)
    works = (tmp_path / "scancel").read_text()
    (tmp_path / "scancel").write_text(AWAY)
    replace_sleep(monkeypatch, lambda seconds: (tmp_path / "scancel").write_text(works))
    settle_earlier_jobs(name, "cancel", logger)
    assert (tmp_path / "cancelled").read_text() == "7 8\n"


def test_nothing_goes_on_while_such_jobs_are_left(queue, name, tmp_path, logger, said, monkeypatch):
    """They are named after a while, and cancelled once more."""
    monkeypatch.setattr(_earlier_jobs, "_PATIENCE_S", 0.0)
    fill(queue, name, tmp_path)
    (tmp_path / "scancel").write_text(f"#!/bin/sh\necho $@ >> '{tmp_path}/cancelled'\n")
    pauses = empty_after_five_pauses(queue, monkeypatch)
    settle_earlier_jobs(name, "cancel", logger)
    assert (len(pauses), (tmp_path / "cancelled").read_text()) == (5, "7 8\n" * 5)
    waiting, _cancelled = said
    assert waiting.startswith(
        "SLURM: waiting for jobs of earlier starts of this study to end: 7 (running), 8 (pending). Ctrl-C ends this"
    )


def test_a_scancel_that_is_refused_is_tried_after_a_pause_and_its_words_are_said(
    queue, name, tmp_path, logger, said, monkeypatch
):
    monkeypatch.setattr(_earlier_jobs, "_SILENT_PAUSE_S", 3600.0)
    monkeypatch.setattr(_earlier_jobs, "_PATIENCE_S", 0.0)
    fill(queue, name, tmp_path)
    words = "scancel: error: Kill job error on job id 7: Access/permission denied"
    (tmp_path / "scancel").write_text(f"#!/bin/sh\necho $@ >> '{tmp_path}/cancelled'\necho '{words}' >&2\nexit 1\n")
    empty_after_five_pauses(queue, monkeypatch)
    settle_earlier_jobs(name, "cancel", logger)
    assert (tmp_path / "cancelled").read_text() == "7 8\n"
    assert f"7 (running), 8 (pending). They could not be cancelled ({words}). Ctrl-C ends" in said[0]


def test_a_refusal_is_not_said_of_jobs_that_are_ending_meanwhile(queue, name, tmp_path, logger, said, monkeypatch):
    """One of the two had ended, which makes scancel fail."""
    monkeypatch.setattr(_earlier_jobs, "_PATIENCE_S", 0.05)
    fill(queue, name, tmp_path)
    ending = f"printf '8|COMPLETING|{name}uuid-2\\n' > '{queue}'"
    (tmp_path / "scancel").write_text(f"#!/bin/sh\n{ending}\necho 'scancel: error: job 7 is completed' >&2\nexit 1\n")
    replace_sleep(monkeypatch, lambda seconds: queue.write_text("") if said else time.sleep(0.01))
    settle_earlier_jobs(name, "cancel", logger)
    assert said[0].startswith("SLURM: waiting for jobs") and "8 (completing). Ctrl-C ends" in said[0]


def test_slurm_that_can_never_answer_ends_the_start(queue, name, tmp_path, logger, said):
    (tmp_path / "squeue").write_text(
        "#!/bin/sh\necho 'squeue: fatal: Could not establish a configuration source' >&2\nexit 1\n"
    )
    with pytest.raises(StudyError, match=r"found: squeue: fatal: Could not establish[\s\S]*set SLURM_CONF"):
        settle_earlier_jobs(name, "cancel", logger)


def test_a_study_that_is_stopped_meanwhile_ends(queue, name, tmp_path, logger, said):
    (tmp_path / "squeue").write_text(AWAY)
    with pytest.raises(StudyError, match="Stopped before the first job"):
        settle_earlier_jobs(name, "cancel", logger, is_stopped=lambda: bool(said))


def test_a_report_does_not_wait(queue, name, tmp_path, logger, said):
    (tmp_path / "squeue").write_text(AWAY)
    settle_earlier_jobs(name, "report", logger)
    (line,) = said
    assert "could not be looked for (slurm_load_jobs error: Unable to contact)" in line
    assert name in line


def test_the_name_is_that_of_the_place_however_it_is_reached(tmp_path):
    folder = tmp_path / "results" / "italy"
    folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "results")
    assert name_of_jobs(tmp_path / "link" / "italy") == name_of_jobs(folder)
    assert name_of_jobs(folder) != name_of_jobs(tmp_path / "other" / "italy")


def test_any_name_of_a_study_gives_one_that_slurm_takes(tmp_path):
    assert name_of_jobs(tmp_path / "été à l'eau; $(x)" / ("n" * 200)).startswith("n" * 30 + "-")
    assert name_of_jobs(tmp_path / "a b'c").startswith("a-b-c-")


def test_a_refused_start_names_the_jobs_that_go_on(queue, name, tmp_path):
    """They would finish more runs of the settings for which the start is refused."""
    refused = StudyError("Finished runs have other settings.", found="1 run", remedy="delete the folders of these runs")
    assert with_jobs_in_queue(refused, tmp_path / "results" / "italy") is refused
    fill(queue, name, tmp_path)
    error = with_jobs_in_queue(refused, tmp_path / "results" / "italy")
    assert error.problem == refused.problem
    assert error.found.startswith("1 run; and jobs of earlier starts")
    assert "7 (running), 8 (pending)" in error.found
    assert error.remedy == "scancel 7 8, if these jobs are to end; then: delete the folders of these runs"
    assert queue.read_text(), "nothing was cancelled"
    (tmp_path / "squeue").write_text("#!/bin/sh\nexit 1\n")
    assert with_jobs_in_queue(refused, tmp_path / "results" / "italy") is refused


@pytest.mark.parametrize("is_local", [False, True])
def test_a_refused_start_on_this_machine_names_them_too(queue, name, tmp_path, monkeypatch, is_local):
    """A start on SLURM was killed, and the study is started again without its profile."""
    workflow = SimpleNamespace(local_exec=is_local, executor_plugin=SimpleNamespace(name="slurm"))

    def refuse():
        raise StudyError("Finished runs have other settings.", found="1 run")

    fill(queue, name, tmp_path)
    with pytest.raises(StudyError, match=r"1 run; and jobs of earlier starts.* 7 \(running\), 8 \(pending\)"):
        check_before_jobs(refuse, workflow, tmp_path / "results" / "italy")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StudyError, match=r"found: 1 run$"):
        check_before_jobs(refuse, workflow, tmp_path / "results" / "italy")
