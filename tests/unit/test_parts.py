"""Parts of the chips: they cover all of them once, in whole batches."""

import pytest

from terralucas.parts import part_of


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 100, 1000])
@pytest.mark.parametrize("parts", [1, 2, 3, 7, 50])
def test_parts_cover_all_chips_once_in_whole_batches(n, parts):
    ranges = [part_of(n, 32, part, parts) for part in range(parts)]
    assert [row for each in ranges for row in each] == list(range(n))
    assert all(each.start % 32 == 0 for each in ranges if len(each))
    sizes = [len(each) for each in ranges]
    assert max(sizes) - min(sizes) < 64
