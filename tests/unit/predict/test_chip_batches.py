"""Batches of new chips that processes read: in order, the same with any number of them."""

import math
import multiprocessing
import os
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rasterio import Affine
from torch.utils.data import DataLoader

from helpers.chips import SIDE, make_spec, pixels, write_tif
from terralucas.predict import chip_batches as module
from terralucas.predict.chip_batches import read_chip_batches
from terralucas.predict.new_chips import ChipReader, NewChip
from terralucas.processors import count_processors

BYTES = 6 * SIDE**2 * 4
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what processes share")


@pytest.fixture
def chips(tmp_path):
    """Nine chips, of which the third is missing and the last is empty."""
    for number in range(9):
        write_tif(
            tmp_path / f"{number}.tif", pixels(number), crs="EPSG:3035", transform=Affine(30, 0, 4e6, 0, -30, 2e6)
        )
    (tmp_path / "2.tif").unlink()
    (tmp_path / "8.tif").write_bytes(b"")
    return [NewChip(str(number), str(tmp_path / f"{number}.tif")) for number in range(9)]


def copy_batches(chips, processes, in_turn):
    """Return the batches of four chips with copies of their values, whose memory is used again."""
    batches = read_chip_batches(ChipReader(make_spec(), SIDE, 30), chips, 4, processes, in_turn=in_turn)
    return [replace(batch, values=None if batch.values is None else batch.values.copy()) for batch in batches]


def watch_loader(monkeypatch):
    """Return a dictionary that receives what the loader is asked for."""
    asked = {}

    def load(*arguments, **options):
        asked.update(options)
        return DataLoader(*arguments, **options)

    monkeypatch.setattr(module, "DataLoader", load)
    return asked


@pytest.mark.parametrize("in_turn", [False, True])
@pytest.mark.parametrize(
    ("processes", "piece", "has_room", "method"),
    [
        (0, 8, True, "fork"),
        (1, 8, True, "fork"),
        (3, 3, True, "fork"),
        (2, 3, True, "forkserver"),
        (3, 3, False, "forkserver"),
    ],
)
def test_batches_have_the_values_of_their_usable_chips_in_order(
    chips, monkeypatch, processes, piece, has_room, in_turn, method
):
    monkeypatch.setattr(module, "_PIECE", piece)
    monkeypatch.setattr(module, "_shared_room", lambda: math.inf if has_room else module._LOCKS_BYTES + 1)
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(method, force=True)
    try:
        batches = copy_batches(chips, processes, in_turn)
    finally:
        multiprocessing.set_start_method(before, force=True)
    assert [len(batch.chips) for batch in batches] == [4, 4, 1]
    assert [batch.is_usable.tolist() for batch in batches] == [[True, True, False, True], [True] * 4, [False]]
    assert np.array_equal(batches[0].values, np.stack([pixels(number) for number in (0, 1, 3)]))
    assert np.array_equal(batches[1].values, np.stack([pixels(number) for number in (4, 5, 6, 7)]))
    assert batches[2].values is None
    assert batches[0].chips[2].problem.kind == "not_a_file"
    assert "empty" in batches[2].chips[0].problem.problem
    assert all(chip.values is None for batch in batches for chip in batch.chips)


@linux
def test_the_room_that_processes_share_is_what_the_folder_holds(monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=16, f_frsize=4096))
    assert module._shared_room() == 65536


@linux
@pytest.mark.parametrize("folder", ["is away", "is full"])
def test_without_shared_memory_one_process_reads(chips, monkeypatch, tmp_path, folder):
    if folder == "is away":
        monkeypatch.setattr(module, "_SHARED", str(tmp_path / "none"))
    else:
        monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=1, f_frsize=4096))
    asked = watch_loader(monkeypatch)
    batches = list(read_chip_batches(ChipReader(make_spec(), SIDE, 30), chips, 4, 2))
    assert [len(batch.chips) for batch in batches] == [4, 4, 1]
    assert asked["num_workers"] == 0


@linux
@pytest.mark.parametrize(
    ("method", "batches_free", "workers"), [("forkserver", 4, 1), ("forkserver", 3.9, 0), ("fork", 1, 1)]
)
def test_half_of_the_free_memory_holds_what_is_in_use_and_read(chips, monkeypatch, method, batches_free, workers):
    """One batch is in use, and one is read. What forked processes share does not count."""
    monkeypatch.setattr(module, "_PIECE", 1)
    monkeypatch.setattr(module, "_LOCKS_BYTES", 0)
    monkeypatch.setattr(module, "_shared_room", lambda: batches_free * 4 * BYTES)
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: method)
    asked = watch_loader(monkeypatch)
    assert len(list(read_chip_batches(ChipReader(make_spec(), SIDE, 30), chips, 4, 1))) == 3
    assert asked["num_workers"] == workers


@pytest.mark.parametrize("in_turn", [False, True])
@pytest.mark.parametrize(("processes", "piece"), [(1, 3), (2, 1), (2, 8), (5, 1)])
def test_a_batch_keeps_its_values_until_the_next_is_asked_for(chips, monkeypatch, processes, piece, in_turn):
    """Whatever processes read meanwhile, they write elsewhere."""
    monkeypatch.setattr(module, "_PIECE", piece)
    monkeypatch.setattr(module, "count_processors", lambda: 8)
    many = [chips[number] for number in (0, 1, 3, 4, 5, 6, 7) * 6]
    for number, batch in enumerate(
        read_chip_batches(ChipReader(make_spec(), SIDE, 30), many, 4, processes, in_turn=in_turn)
    ):
        expected = np.stack([pixels(int(chip.id)) for chip in many[4 * number : 4 * number + 4]])
        time.sleep(0.05)
        assert np.array_equal(batch.values, expected)


@pytest.mark.parametrize(("pieces", "workers"), [(1, 1), (6, 1), (6, 2), (13, 3), (500, 1), (500, 3), (500, 8), (1, 8)])
def test_about_a_batch_is_read_ahead(pieces, workers):
    ahead, held = module._count_ahead(pieces, workers)
    assert pieces - workers < ahead * workers <= max(pieces, workers)
    # The batch in use, and each of which a piece may be read then.
    assert held == 1 + math.ceil(ahead * workers / pieces)


@linux
def test_a_batch_of_many_pieces_needs_few_open_files(chips, monkeypatch):
    """A shell may allow 256 of them."""
    monkeypatch.setattr(module, "_PIECE", 1)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 200, limits[1]))
    try:
        read = read_chip_batches(ChipReader(make_spec(), SIDE, 30), chips[:1] * 600, 300, 1)
        assert [batch.values[299].tolist() for batch in read] == [pixels(0).tolist()] * 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_processors_that_this_process_may_not_use_do_not_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5, 7}, raising=False)
    assert count_processors() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert count_processors() == os.cpu_count()


@pytest.mark.parametrize(("processes", "in_turn"), [(0, False), (1, False), (2, True)])
def test_few_chips_need_no_memory_for_a_whole_batch(chips, processes, in_turn):
    """Memory for 10^12 chips is refused by every system."""
    (batch,) = read_chip_batches(ChipReader(make_spec(), SIDE, 30), chips, 10**12, processes, in_turn=in_turn)
    assert len(batch.chips) == len(chips)


def test_no_chips_have_no_batches():
    assert list(read_chip_batches(ChipReader(make_spec(), SIDE, 30), [], 4, 2)) == []


class NotesReads:
    """A reader that leaves a file for each chip that it has read."""

    def __init__(self, folder):
        self.folder, self.reader = folder, ChipReader(make_spec(), SIDE, 30)
        self.spec, self.side_px = self.reader.spec, self.reader.side_px

    def __call__(self, chip):
        (self.folder / chip.id).touch()
        return self.reader(chip)


@pytest.mark.parametrize("in_turn", [False, True])
def test_batches_are_read_in_advance_or_while_the_caller_waits(chips, monkeypatch, tmp_path, in_turn):
    monkeypatch.setattr(module, "count_processors", lambda: 2)
    (tmp_path / "read").mkdir()
    for number, _ in enumerate(read_chip_batches(NotesReads(tmp_path / "read"), chips, 4, 2, in_turn=in_turn), 1):
        # What is read in advance is read soon.
        deadline = time.monotonic() + (0.5 if in_turn else 60)
        wanted = min(4 * number + (0 if in_turn else 1), 9)
        while time.monotonic() < deadline and (in_turn or len(list((tmp_path / "read").iterdir())) < wanted):
            time.sleep(0.01)
        found = len(list((tmp_path / "read").iterdir()))
        assert found == wanted if in_turn else found >= wanted
