"""Parts of a prediction: they cover all chips once, in whole batches; and chips are read in order."""

import time

import pytest

from terralucas.predict.batches import read_batches
from terralucas.predict.plan import part_of


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 100, 1000])
@pytest.mark.parametrize("parts", [1, 2, 3, 7, 50])
def test_parts_cover_all_chips_once_in_whole_batches(n, parts):
    ranges = [part_of(n, 32, part, parts) for part in range(parts)]
    assert [row for each in ranges for row in each] == list(range(n))
    assert all(each.start % 32 == 0 for each in ranges if len(each))
    sizes = [len(each) for each in ranges]
    assert max(sizes) - min(sizes) < 64


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
