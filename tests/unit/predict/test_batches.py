"""Batches of new chips: in order, and read ahead by threads."""

import time

import pytest

from terralucas.predict.batches import read_batches


@pytest.mark.parametrize("n", [0, 1, 4, 9])
def test_batches_are_in_order_though_early_chips_take_longer(n):
    def read(number):
        time.sleep(0.02 if number % 4 == 0 else 0)
        return number

    batches = list(read_batches(read, range(n), 4, 3))
    assert [number for batch in batches for number in batch] == list(range(n))
    assert all(len(batch) == 4 for batch in batches[:-1])


def test_not_all_chips_are_in_memory_at_once():
    begun = []
    batches = read_batches(lambda number: begun.append(number) or number, range(1000), 4, 2)
    next(batches)
    assert len(begun) < 40
    batches.close()


def test_an_error_of_reading_reaches_the_caller():
    def read(number):
        raise OSError(number)

    with pytest.raises(OSError, match="0"):
        list(read_batches(read, range(20), 4, 2))
