"""Batches of new chips that processes read: in order, the same with any number of them."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from rasterio import Affine

from helpers.chips import SIDE, make_spec, pixels, write_tif
from terralucas.predict import chip_batches as module
from terralucas.predict.chip_batches import read_chip_batches
from terralucas.predict.new_chips import ChipReader, NewChip


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


@pytest.mark.parametrize(("processes", "piece", "has_room"), [(0, 8, True), (1, 8, True), (3, 3, True), (3, 3, False)])
def test_batches_have_the_values_of_their_usable_chips_in_order(chips, monkeypatch, processes, piece, has_room):
    monkeypatch.setattr(module, "_PIECE_BYTES", piece * 6 * SIDE**2 * 4)
    monkeypatch.setattr(module, "_has_room", lambda size: has_room)
    batches = list(read_chip_batches(ChipReader(make_spec(), SIDE, 30), chips, 4, processes))
    assert [len(batch.chips) for batch in batches] == [4, 4, 1]
    assert [batch.is_usable.tolist() for batch in batches] == [[True, True, False, True], [True] * 4, [False]]
    assert np.array_equal(batches[0].values, np.stack([pixels(number) for number in (0, 1, 3)]))
    assert np.array_equal(batches[1].values, np.stack([pixels(number) for number in (4, 5, 6, 7)]))
    assert batches[2].values is None
    assert batches[0].chips[2].problem.kind == "not_a_file"
    assert "empty" in batches[2].chips[0].problem.problem
    assert all(chip.values is None for batch in batches for chip in batch.chips)


def test_the_room_that_processes_share_is_asked_for(monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=16, f_frsize=4096))
    assert module._has_room(65536)
    assert not module._has_room(65537)


def test_no_chips_have_no_batches():
    assert list(read_chip_batches(ChipReader(make_spec(), SIDE, 30), [], 4, 2)) == []
