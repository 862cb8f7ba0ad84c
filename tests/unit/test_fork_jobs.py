"""Scripts that are forked from a process with the imports of most jobs: they run and end as scripts of their own do."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from snakemake.script import PythonScript

from execution.jobs import fork_jobs as _fork_jobs
from execution.jobs.processes import FORK_SERVER, end_children
from helpers.paths import SCRIPTS
from terralucas.errors import StudyError

pytestmark = pytest.mark.slow

TELL = """
import sys
preloaded = sorted({"snakemake.iocontainers", "snakemake.logging", "terralucas.training.run", "torch"} & {*sys.modules})
import json, multiprocessing, os, signal, tempfile
import psutil, torch
parents = [each.name() for each in psutil.Process().parents()]
told = {
    "preloaded": preloaded, "name": __name__, "argv": sys.argv, "folder": os.getcwd(),
    "temporary": tempfile.gettempdir(),
    "variable": os.environ["OMP_NUM_THREADS"], "threads": torch.get_num_threads(), "parent": parents[0],
    "start": multiprocessing.get_start_method(), "process": psutil.Process().name(),
    "stop": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
    "interrupt": signal.getsignal(signal.SIGINT) == signal.default_int_handler,
}
open(sys.argv[0] + ".json", "w").write(json.dumps(told))
"""


@pytest.fixture(scope="module", autouse=True)
def _server():
    """The server, started as from a terminal; tests that a shell starts in the background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    assert _fork_jobs._is_server_ready()
    yield
    signal.signal(signal.SIGINT, before)


def script_of(**resources):
    return SimpleNamespace(threads=1, rulename="train_run", resources=resources, bench_record=None, log=[])


def run(folder, text, **resources):
    path = folder / "script.py"
    path.write_text(text)
    _fork_jobs._run(script_of(**resources), str(path))
    return path


def test_a_script_finds_what_it_would_find_as_a_program(tmp_path):
    path = run(tmp_path, TELL, tmpdir=str(tmp_path))
    assert json.loads(path.with_suffix(".py.json").read_text()) == {
        "preloaded": ["snakemake.iocontainers", "snakemake.logging", "terralucas.training.run", "torch"],
        "name": "__main__",
        "argv": [str(path)],
        "folder": str(Path.cwd()),
        "temporary": str(tmp_path),
        "variable": "1",
        "threads": 1,
        "parent": FORK_SERVER,
        "start": "fork",
        "process": "train_run",
        "stop": True,
        # Where a shell started the tests in the background, it is ignored.
        "interrupt": signal.getsignal(signal.SIGINT) == signal.default_int_handler,
    }


def test_the_program_that_starts_jobs_is_not_run_again_in_each(tmp_path, monkeypatch):
    """As .venv/bin/snakemake would be, which imports all of Snakemake."""
    program = tmp_path / "program.py"
    program.write_text(f"open({str(tmp_path / 'was run')!r}, 'w')", encoding="utf-8")
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__file__", str(program), raising=False)
    monkeypatch.setattr(main, "__spec__", None)
    run(tmp_path, "")
    assert not (tmp_path / "was run").exists()
    assert main.__file__ == str(program)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("import sys; sys.exit(3)", 3),
        ("raise ValueError('wrong')", 1),
        ("import os; os._exit(143)", 143),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 128 + signal.SIGTERM),
    ],
)
def test_how_a_script_ended_is_known(tmp_path, text, status):
    with pytest.raises(subprocess.CalledProcessError) as error:
        run(tmp_path, text)
    assert error.value.returncode == status


INTERRUPTED = """
import os, signal
from types import SimpleNamespace
# As a terminal does it, while a script imports.
os.kill(os.getpid(), signal.SIGINT)
from execution.jobs.job import job
with job(SimpleNamespace(rule="train_run", log=[{log!r}], input=[], output=[])):
    print("it ran")
"""


@pytest.mark.parametrize("way", ["fork", "own"])
def test_an_interrupt_while_a_script_imports_is_told_in_one_line(tmp_path, capfd, way):
    log = tmp_path / "run.log"
    path = tmp_path / "script.py"
    path.write_text(INTERRUPTED.format(log=str(log)))

    def execute(self, fname, edit=False):
        subprocess.run([sys.executable, fname], env=os.environ | {"PYTHONPATH": str(SCRIPTS)}, check=True)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(subprocess.CalledProcessError) as error:
        patch.setattr(PythonScript, "execute_script", execute)
        dag = SimpleNamespace(needrun_jobs=lambda: range(2))
        _fork_jobs.fork_jobs(SimpleNamespace(dag=dag, local_exec=True, is_main_process=True), way == "fork")
        script = script_of()
        script.conda_env = script.container_img = script.env_modules = None
        PythonScript.execute_script(script, str(path))
    assert error.value.returncode == 128 + signal.SIGINT
    if way == "own":
        # The server, which this module starts, has the terminal of before.
        assert capfd.readouterr() == ("", "train_run: ended by SIGINT\n")
    (line,) = log.read_text(encoding="utf-8").splitlines()
    assert line.endswith("train_run: ended by SIGINT")
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ()), "this process is interrupted as before"


def test_an_interrupt_while_the_server_imports_ends_the_job_that_waits_for_it(tmp_path):
    """In a process of its own, whose server is interrupted the moment it is there."""
    code = """
import signal, subprocess, sys
from multiprocessing import forkserver
import psutil
signal.signal(signal.SIGINT, signal.default_int_handler)
from execution.jobs import fork_jobs as _fork_jobs
assert _fork_jobs._is_server_ready()
server = psutil.Process(forkserver._forkserver._forkserver_pid)
server.send_signal(signal.SIGINT)
from types import SimpleNamespace
script = SimpleNamespace(threads=1, rulename="train_run", resources={}, bench_record=None, log=[])
try:
    _fork_jobs._run(script, sys.argv[1])
except subprocess.CalledProcessError as error:
    print(error.returncode)
"""
    path = tmp_path / "script.py"
    log = tmp_path / "run.log"
    path.write_text(INTERRUPTED.replace("os.kill", "# ").format(log=str(log)))
    done = subprocess.run(
        [sys.executable, "-c", code, path], env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "130\n", "train_run: ended by SIGINT\n")


def test_scripts_that_end_at_the_same_time_are_told_apart(tmp_path):
    statuses = [0, 7] * 20
    found = {}

    def one(number):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            run(folder, f"import sys; sys.exit({statuses[number]})")
            found[number] = 0
        except subprocess.CalledProcessError as error:
            found[number] = error.returncode

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(statuses))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [found[number] for number in range(len(statuses))] == statuses


def test_ending_what_this_process_started_spares_the_server_and_waits_for_the_script(tmp_path):
    """SLURM's SIGTERM reaches the server, too, which must live to tell how its scripts ended."""
    saved = tmp_path / "saved"
    text = f"""
import signal, sys, time
def save(*_):
    time.sleep(0.3)
    open({str(saved)!r}, "w").write("saved")
    sys.exit(5)
signal.signal(signal.SIGTERM, save)
open({str(saved)!r} + ".ready", "w").close()
time.sleep(60)
"""
    ended = {}

    def one():
        with pytest.raises(subprocess.CalledProcessError) as error:
            run(tmp_path, text)
        ended["status"] = error.value.returncode

    thread = threading.Thread(target=one)
    thread.start()
    ready = tmp_path / "saved.ready"
    while not ready.exists():
        assert thread.is_alive()
    (server,) = [each for each in psutil.Process().children() if each.name() == FORK_SERVER]
    server.terminate()
    begun = time.monotonic()
    end_children(60)
    assert time.monotonic() - begun < 30, "it does not wait for what ends with its parent"
    thread.join(60)
    assert (saved.read_text(), ended["status"]) == ("saved", 5)
    assert server.is_running()


LOGGED = """
import subprocess, time
from execution.jobs.processes import end_children
job = subprocess.Popen(["sleep", "60"])
time.sleep(0.5)
end_children(20)
print("ended with", job.wait())
"""


def test_the_reader_of_a_scripts_output_is_left_alone(tmp_path):
    """It is a child of the study where a script of SLURM ends with `exec`."""
    log, beside = tmp_path / "study.log", tmp_path / "beside"
    helper = f'(sleep 0.1; sleep 4 || touch "{beside}") &'
    script = f'{helper}\nexec > >(tee "{log}") 2>&1\nexec "{sys.executable}" -c \'{LOGGED}\''
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    subprocess.run(["bash", "-c", script], check=True, env=environment, stdout=subprocess.DEVNULL, timeout=60)
    deadline = time.monotonic() + 20
    while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert log.read_text() == "ended with -15\n"
    assert not beside.exists(), "what another process of the script started was ended"


def test_a_machine_that_hides_processes_is_no_error(monkeypatch):
    """Linux does where /proc is mounted with hidepid=1."""

    def hidden(self, recursive=False):
        raise psutil.AccessDenied(1)

    monkeypatch.setattr(psutil.Process, "children", hidden)
    end_children(0)


SAVE = """
import signal, sys, time
from pathlib import Path
def save(*_):
    Path(sys.argv[0] + ".saved").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
Path(sys.argv[0] + ".begun").touch()
time.sleep(100)
"""
# What Snakemake does for a job.
HEAD = """
import sys
from types import SimpleNamespace
from execution.jobs import fork_jobs as _fork_jobs
if __name__ == "__main__":
    _fork_jobs._is_server_ready()
    script = SimpleNamespace(threads=1, rulename="train_run", resources={}, bench_record=None, log=[])
    _fork_jobs._run(script, sys.argv[1])
"""


@pytest.mark.parametrize("killed", ["Snakemake", "fork server"])
def test_a_script_saves_and_ends_when_what_started_it_was_killed(tmp_path, killed):
    path = tmp_path / "script.py"
    path.write_text(SAVE)
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    snakemake = tmp_path / "snakemake"
    snakemake.write_text(HEAD)
    head = subprocess.Popen([sys.executable, snakemake, path], env=environment, stderr=subprocess.DEVNULL)
    try:
        until(path.with_name("script.py.begun").exists)
        victims = [head] if killed == "Snakemake" else psutil.Process(head.pid).children()
        for victim in victims:
            if killed == "Snakemake" or victim.name() == FORK_SERVER:
                victim.kill()
        until(path.with_name("script.py.saved").exists)
    finally:
        head.kill()
        head.wait()


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_script_that_was_killed_has_the_reason_in_its_log(tmp_path):
    script = script_of()
    script.log = [str(tmp_path / "run.log")]
    path = tmp_path / "script.py"
    path.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        _fork_jobs._run(script, str(path))
    assert failed.value.returncode == 137
    assert (tmp_path / "run.log").read_text() == (
        "ERROR: train_run was killed by SIGKILL; the system or SLURM does that when memory runs out\n"
    )


@pytest.fixture
def executed(monkeypatch):
    """What is executed, as Snakemake does it and as a fork."""
    calls = []
    monkeypatch.setattr(PythonScript, "execute_script", lambda self, fname, edit=False: calls.append("own"))
    monkeypatch.setattr(_fork_jobs, "_run", lambda script, path: calls.append("fork"))
    return calls


@pytest.mark.parametrize(
    ("workflow", "script", "expected"),
    [
        ({"jobs": 2}, {}, "fork"),
        ({"jobs": 2, "is_wanted": False}, {}, "own"),
        ({"jobs": 1}, {}, "own"),
        ({"jobs": 2, "local_exec": False}, {}, "own"),
        ({"jobs": 2, "local_exec": False, "is_main_process": False}, {}, "fork"),
        ({"jobs": 2}, {"conda_env": "environment"}, "own"),
        ({"jobs": 2}, {"container_img": "image"}, "own"),
    ],
)
def test_scripts_are_forked_where_that_pays(executed, workflow, script, expected):
    jobs, is_wanted = workflow["jobs"], workflow.get("is_wanted", True)
    workflow = {name: value for name, value in workflow.items() if name not in ("jobs", "is_wanted")}
    workflow = {"local_exec": True, "is_main_process": True} | workflow
    dag = SimpleNamespace(needrun_jobs=lambda: range(jobs))
    _fork_jobs.fork_jobs(SimpleNamespace(dag=dag, **workflow), is_wanted)
    script = SimpleNamespace(**{"conda_env": None, "container_img": None, "env_modules": None} | script)
    PythonScript.execute_script(script, "script.py")
    assert executed == [expected]


@pytest.mark.parametrize("error", [EOFError, ConnectionResetError, BrokenPipeError])
def test_a_script_is_a_program_of_its_own_where_the_server_ends_before_it_forks(monkeypatch, error):
    """As where the server imports a file that is being edited."""

    class Process:
        def __init__(self, **_):
            pass

        def start(self):
            raise error

    calls = []
    monkeypatch.setattr(PythonScript, "execute_script", lambda self, fname, edit=False: calls.append("own"))
    monkeypatch.setattr(_fork_jobs._context, "Process", Process)
    dag = SimpleNamespace(needrun_jobs=lambda: range(2))
    _fork_jobs.fork_jobs(SimpleNamespace(dag=dag, local_exec=True, is_main_process=True), True)
    script = script_of()
    script.conda_env = script.container_img = script.env_modules = None
    PythonScript.execute_script(script, "script.py")
    assert calls == ["own"]


def test_a_script_whose_server_was_killed_has_the_reason_in_its_log(tmp_path):
    script = script_of()
    script.log = [str(tmp_path / "run.log")]
    path = tmp_path / "script.py"
    # The server itself knows that a process ended with this status only by itself.
    path.write_text("import os\nos._exit(255)\n")
    with pytest.raises(subprocess.CalledProcessError):
        _fork_jobs._run(script, str(path))
    assert "the process from which it was forked was killed" in (tmp_path / "run.log").read_text()


EDITED = """
from execution.records import executed_code as _executed_code
_executed_code.executed[_executed_code._SCRIPTS / "terralucas/training/losses.py"] = b"EDITED = 1"
"""


# This process stands for the server.
SERVER = """
import os, sys, types
sys.server = 1
sys.modules["execution.jobs.preloaded"] = types.ModuleType("execution.jobs.preloaded")
sys.modules["execution.jobs.preloaded"].is_complete = True
from execution.jobs import forked_script as _forked_script
_forked_script._limit_threads = lambda threads: None
_forked_script.terminate_with_snakemake = lambda: None
_forked_script.run_script(sys.argv[1], "train_run", dict(os.environ), 1)
"""


@pytest.mark.parametrize(("edit", "is_forked"), [("", True), (EDITED, False)])
def test_a_script_is_not_forked_from_other_code_than_is_on_the_disk(tmp_path, edit, is_forked):
    path, told = tmp_path / "script.py", tmp_path / "told"
    path.write_text(f"import sys\nopen({str(told)!r}, 'w').write(str(hasattr(sys, 'server')))\n")
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    subprocess.run([sys.executable, "-c", edit + SERVER, path], env=environment, check=True, timeout=60)
    assert told.read_text() == str(is_forked)


def test_the_last_script_of_several_is_forked_too(executed):
    left = [2]
    dag = SimpleNamespace(needrun_jobs=lambda: range(left[0]))
    _fork_jobs.fork_jobs(SimpleNamespace(dag=dag, local_exec=True, is_main_process=True), True)
    script = SimpleNamespace(conda_env=None, container_img=None, env_modules=None)
    for _ in range(2):
        PythonScript.execute_script(script, "script.py")
        left[0] = 1
    assert executed == ["fork", "fork"]


@pytest.mark.parametrize(("value", "expected"), [("true", "fork"), ("false", "own")])
def test_the_texts_of_a_command_line_are_choices(executed, value, expected):
    """Snakemake does not read `--config fork_jobs=false` as YAML."""
    dag = SimpleNamespace(needrun_jobs=lambda: range(2))
    _fork_jobs.fork_jobs(SimpleNamespace(dag=dag, local_exec=True, is_main_process=True), value)
    PythonScript.execute_script(SimpleNamespace(conda_env=None, container_img=None, env_modules=None), "script.py")
    assert executed == [expected]


@pytest.mark.parametrize("value", ["no", 1, None])
def test_a_value_that_is_no_choice_is_refused(value):
    with pytest.raises(StudyError, match="expected: true or false"):
        _fork_jobs.fork_jobs(None, value)
