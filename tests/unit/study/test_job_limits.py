"""What jobs ask a cluster for."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from terralucas.errors import StudyError
from terralucas.study.job_limits import (
    Workload,
    dataset_size,
    explanation_passes,
    features_memory_mb,
    features_minutes,
    training_memory_mb,
    training_minutes,
    tuning_memory_mb,
    tuning_minutes,
    tuning_threads,
)


def work(size="base", chips=1994, side_px=64, kind="tokens"):
    return Workload(f"terramind_v1_{size}", chips, side_px, kind)


def test_the_size_of_the_data_is_that_of_the_arrays():
    # 224 px in patches of 16 are 14 x 14 tokens of 768 float32 numbers.
    assert work(side_px=224).features_mb == 1994 * 14 * 14 * 768 * 4 / 1e6
    assert work(kind="pooled").features_mb == 1994 * 768 * 4 / 1e6
    assert work(side_px=65).tokens == 25, "a chip is padded to whole patches"


def test_runs_of_a_large_study_do_not_ask_for_all_its_features():
    assert replace(work(), bytes_per_number=2).features_mb == work().features_mb / 2
    large = work(chips=340_000, side_px=224)
    assert large.features_mb > 200_000
    assert training_memory_mb(large) < 40_000


def test_more_work_asks_for_more():
    for more, less in [
        (work("base"), work("tiny")), (work(chips=20_000), work()), (work(side_px=224), work()),
        (work(), work(kind="pooled")), (work("large"), work("base")),
    ]:  # fmt: skip
        assert training_memory_mb(more) > training_memory_mb(less)
        assert training_minutes(more, 100, 8, 0) >= training_minutes(less, 100, 8, 0)
    assert training_minutes(work(), 200, 8, 0) > training_minutes(work(), 100, 8, 0)
    assert features_minutes(work("large"), 1, 0) > features_minutes(work("tiny"), 1, 0)
    assert features_minutes(work("large"), 8, 0) < features_minutes(work("large"), 1, 0)
    assert features_memory_mb(work("large")) > features_memory_mb(work("base"))


def test_an_explanation_asks_for_all_that_passes_through_the_models():
    # 5 models with 200 chips, unchanged and 5 times with 6 bands and 4 groups; 30 chips with 28 × 28 squares each.
    assert explanation_passes(5, 1994, 224, 6, 10, chips=200, permutations=5) == 5 * (200 * 51 + 30 * 784)
    assert explanation_passes(5, 100, 224, 6, 10, chips=200, permutations=5) == 5 * (100 * 51 + 30 * 784)


def test_the_studys_requests_leave_room_over_what_was_measured():
    """Measured on a CPU core: 0.5 ms a step on pooled vectors of base, 7 and 48 ms on 16 and 196 tokens; 1.2 GB."""
    steps = 100 * 250
    assert 60 * training_minutes(work(kind="pooled"), 100, 8, 0) > 2 * steps * 0.0005
    assert 60 * training_minutes(work(), 100, 8, 0) > 2 * steps * 0.007
    assert 60 * training_minutes(work(side_px=224), 100, 8, 0) > 2 * steps * 0.048
    assert features_memory_mb(work()) > 2 * 1200
    assert 10 * training_minutes(work("large", side_px=224), 100, 8, 1) < 4 * 60, "a pack on a GPU fits usual limits"


def test_more_tuning_asks_for_more():
    for more, less in [
        (work("base"), work("tiny")), (work("large"), work("base")), (work(side_px=224), work()),
    ]:  # fmt: skip
        assert tuning_memory_mb(more, "full", 8, 0) > tuning_memory_mb(less, "full", 8, 0)
        assert tuning_minutes(more, "full", 8, 10, 1, 0) > tuning_minutes(less, "full", 8, 10, 1, 0)
    assert tuning_memory_mb(work(), "full", 8, 1) > tuning_memory_mb(work(), "lora", 8, 1)
    assert tuning_memory_mb(work(), "lora", 16, 0) > tuning_memory_mb(work(), "lora", 8, 0)
    assert tuning_minutes(work(), "full", 8, 10, 4, 0) < tuning_minutes(work(), "full", 8, 10, 1, 0)
    assert tuning_minutes(work(), "full", 8, 20, 1, 1) > tuning_minutes(work(), "full", 8, 10, 1, 1)


def test_a_tuned_run_has_processors_for_those_that_read_chips_ahead():
    assert tuning_threads({"threads": 2, "end_to_end": {"workers": 3}}) == 5
    assert tuning_threads({"threads": 2, "end_to_end": {"workers": 0}}) == 2


def test_the_size_of_an_index_is_read_and_a_new_one_noticed(tmp_path):
    index = tmp_path / "chips.parquet"
    assert dataset_size(index) == (1994, 224)
    for chips, side in ((3, 120), (5, 224)):
        pq.write_table(pa.table({"height": [side] * chips, "width": [side] * chips}), index)
        assert dataset_size(index) == (chips, side)


@pytest.mark.parametrize("content", [b"", b"PAR1"])
def test_an_index_that_is_damaged_is_named(tmp_path, content):
    index = tmp_path / "chips.parquet"
    index.write_bytes(content)
    with pytest.raises(StudyError, match=r"chips.parquet cannot be read[\s\S]*delete it and start"):
        dataset_size(index)
