"""Batches of chips from worker processes, however Python starts them."""

import multiprocessing
import pickle

import numpy as np
import pytest

from terralucas.data.normalisation import Normaliser
from terralucas.training.chip_batches import Augmentation, Batch, PackedChips, TimedLoader

N = 64
RANDOM = np.random.default_rng(3)
CHIPS = RANDOM.random((N, 2, 32, 32), dtype=np.float32)
LABELS = RANDOM.integers(0, 3, N)


def packed(array):
    return PackedChips(
        array, LABELS, Normaliser("dataset", np.zeros(2), np.ones(2), np.zeros(2)), Augmentation(True, 0.1), seed=1
    )


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "chips.npy", CHIPS)
    return packed(np.asarray(np.load(tmp_path / "chips.npy", mmap_mode="c")))


def test_a_worker_gets_the_name_of_a_mapped_file_and_not_its_content(mapped):
    sent = pickle.dumps(mapped)
    assert len(sent) < CHIPS.nbytes / 50
    received = pickle.loads(sent)  # noqa: S301
    assert isinstance(received.array.base, np.memmap)
    np.testing.assert_array_equal(received.array, CHIPS)
    batch = Batch(np.array([5, 2]), epoch=3)
    np.testing.assert_array_equal(received[batch][0], mapped[batch][0])


def test_chips_in_memory_are_sent_as_they_are():
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(packed(CHIPS[::2]))).array, CHIPS[::2])  # noqa: S301


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_that_are_not_forked_load_the_same_batches(mapped, method):
    batches = [Batch(rows, epoch=2) for rows in np.split(np.arange(N), 4)]
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(method, force=True)
    try:
        loaded = list(TimedLoader(mapped, batches, workers=1, pin=False))
    finally:
        multiprocessing.set_start_method(before, force=True)
    for (chips, labels, _), batch in zip(loaded, batches, strict=True):
        np.testing.assert_array_equal(chips, mapped[batch][0])
        np.testing.assert_array_equal(labels, LABELS[batch.rows])
