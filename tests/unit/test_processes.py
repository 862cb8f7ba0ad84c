"""Things that several processes compute: in their order, and with one thread each."""

import os
import subprocess
import sys

from threadpoolctl import threadpool_info

from helpers.paths import SCRIPTS
from terralucas.processes import compute_each

# As a fork of a job is started.
FORK = """
import multiprocessing
from terralucas.processes import compute_each
def job():
    print(compute_each(lambda number: -number, [1, 2, 3], 2), flush=True)
def failing_job():
    try:
        compute_each(lambda number: 1 / number, [1, 0], 2)
    except ZeroDivisionError as error:
        print(error, flush=True)
if __name__ == "__main__":
    for target in (job, failing_job):
        process = multiprocessing.get_context("forkserver").Process(target=target)
        process.start()
        process.join(60)
        print(process.exitcode, flush=True)
        process.kill()
"""


def test_results_are_in_order_and_a_closure_may_compute_them():
    factor = 3

    def times(number):
        return factor * number, os.getpid()

    alone, together = (compute_each(times, range(20), processes) for processes in (1, 2))
    assert [value for value, _ in alone] == [value for value, _ in together] == list(range(0, 60, 3))
    assert {process for _, process in alone} == {os.getpid()}
    assert os.getpid() not in {process for _, process in together}


def test_a_function_is_pickled_once_for_all_its_items():
    pickled = []

    class Table:
        """What a function refers to: large in a study of many runs."""

        def __reduce__(self):
            pickled.append(self)
            return int, ()

    table = Table()
    assert compute_each(lambda number: (number, table), range(5), 2) == [(number, 0) for number in range(5)]
    assert pickled == [table]


def test_each_process_has_one_thread():
    def threads(_):
        import numpy as np

        np.ones((2, 2)) @ np.ones((2, 2))
        return [pool["num_threads"] for pool in threadpool_info()]

    found = compute_each(threads, range(2), 2)
    assert all(found) and all(number == 1 for each in found for number in each)


def test_a_process_of_multiprocessing_ends_its_workers(tmp_path):
    """Without that it waits for them for five minutes."""
    (tmp_path / "fork.py").write_text(FORK)
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(
        [sys.executable, tmp_path / "fork.py"], capture_output=True, text=True, check=True, env=environment, timeout=150
    )
    assert (done.stdout.splitlines(), done.stderr) == (["[-1, -2, -3]", "0", "division by zero", "0"], "")
