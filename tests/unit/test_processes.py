"""Things that several processes compute: in their order, and with one thread each."""

import os

from threadpoolctl import threadpool_info

from terralucas.processes import compute_each


def test_results_are_in_order_and_a_closure_may_compute_them():
    factor = 3

    def times(number):
        return factor * number, os.getpid()

    alone, together = (compute_each(times, range(20), processes) for processes in (1, 2))
    assert [value for value, _ in alone] == [value for value, _ in together] == list(range(0, 60, 3))
    assert {process for _, process in alone} == {os.getpid()}
    assert os.getpid() not in {process for _, process in together}


def test_each_process_has_one_thread():
    def threads(_):
        import numpy as np

        np.ones((2, 2)) @ np.ones((2, 2))
        return [pool["num_threads"] for pool in threadpool_info()]

    found = compute_each(threads, range(2), 2)
    assert all(found) and all(number == 1 for each in found for number in each)
