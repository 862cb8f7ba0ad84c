"""Parts that cannot be joined. That the joined ones have the bytes of one pass is shown in `test_features`."""

import json

import numpy as np
import pytest

from terralucas.backbones.joined_features import cut_part, join_features
from terralucas.errors import StudyError
from terralucas.files import sha256_of_file


@pytest.fixture
def parts(tmp_path):
    written = []
    for part in range(2):
        array, record = (tmp_path / "parts" / f"{part}-of-2" / f"pooled.{suffix}" for suffix in ("npy", "json"))
        array.parent.mkdir(parents=True)
        with array.open("wb") as file:
            np.lib.format.write_array(file, np.full((3, 2), part, dtype=np.float32), version=(2, 0))
        content = {
            "kind": "pooled", "shape": [3, 2], "sha256": sha256_of_file(array), "device": "cpu", "precision": "32",
            "seconds": 2.0, "chips_per_second": 1.5, "peak_memory_mib": {"cpu": 100.0 + part},
            "fingerprint": f"of part {part}",
        }  # fmt: skip
        record.write_text(json.dumps(content))
        written.append((array, record))
    return written


def edit(record, **changes):
    record.write_text(json.dumps(json.loads(record.read_text()) | changes))


def test_the_record_is_of_all_parts(parts, tmp_path):
    done = join_features(parts, tmp_path / "pooled.npy")
    assert done == {
        "kind": "pooled", "shape": [6, 2], "sha256": sha256_of_file(tmp_path / "pooled.npy"), "device": "cpu",
        "precision": "32", "seconds": 4.0, "chips_per_second": 1.5, "peak_memory_mib": {"cpu": 101.0},
        "parts": [
            {"fingerprint": f"of part {part}", "shape": [3, 2], "sha256": sha256_of_file(array), "device": "cpu",
             "seconds": 2.0, "chips_per_second": 1.5, "peak_memory_mib": {"cpu": 100.0 + part}}
            for part, (array, _) in enumerate(parts)
        ],
    }  # fmt: skip
    np.testing.assert_array_equal(np.load(tmp_path / "pooled.npy"), np.repeat([[0, 0], [1, 1]], 3, axis=0))


def test_a_part_that_another_job_passed_is_counted_once(parts, tmp_path):
    edit(parts[1][1], same_pass_as="tokens")
    assert join_features(parts, tmp_path / "pooled.npy")["seconds"] == 2.0
    edit(parts[0][1], same_pass_as="tokens")
    assert join_features(parts, tmp_path / "pooled.npy")["same_pass_as"] == "tokens"


def test_parts_of_one_chip_each_that_have_the_same_features_are_refused(parts, tmp_path):
    for array, record in parts:
        with array.open("wb") as file:
            np.lib.format.write_array(file, np.full((1, 2), 3, dtype=np.float32), version=(2, 0))
        edit(record, shape=[1, 2], sha256=sha256_of_file(array))
    with pytest.raises(StudyError, match="The features are the same for all chips"):
        join_features(parts, tmp_path / "pooled.npy")
    assert not (tmp_path / "pooled.npy").exists()


def test_a_damaged_part_is_refused(parts, tmp_path):
    array = parts[1][0]
    array.write_bytes(array.read_bytes()[:-1] + b"!")
    with pytest.raises(StudyError, match=r"1-of-2/pooled.npy is not what was written[\s\S]*delete"):
        join_features(parts, tmp_path / "pooled.npy")
    assert not (tmp_path / "pooled.npy").exists()


def test_parts_of_different_code_are_refused(parts, tmp_path):
    for (_, record), code in zip(parts, ("abc", "def"), strict=True):
        edit(record, code=code)
    with pytest.raises(StudyError, match=r"found: code: abc in \S+, def in[\s\S]*what to do: delete"):
        join_features(parts, tmp_path / "pooled.npy")


def test_parts_of_different_precision_are_refused(parts, tmp_path):
    edit(parts[1][1], precision="16-mixed", device="cuda:0")
    with pytest.raises(StudyError, match=r"found: precision: 32 in \S+, 16-mixed in[\s\S]*instead of auto"):
        join_features(parts, tmp_path / "pooled.npy")
    edit(parts[1][1], precision="32")
    assert join_features(parts, tmp_path / "pooled.npy")["device"] == "cpu, cuda:0"


@pytest.mark.parametrize("spoil", ["fingerprint", "division", "array", "record", "earlier version"])
def test_a_part_is_cut_only_from_whole_features_of_the_same_pass(parts, tmp_path, spoil):
    joined, record, cut = (tmp_path / name for name in ("pooled.npy", "pooled.json", "cut.npy"))
    record.write_text(json.dumps(join_features(parts, joined)))
    assert cut_part(joined, 1, 2, "of part 1", cut) is not None
    assert cut.read_bytes() == parts[1][0].read_bytes()
    cut.unlink()
    if spoil == "array":
        joined.write_bytes(joined.read_bytes()[:-4] + b"\x00\x00\x00\x00")
    elif spoil == "record":
        record.unlink()
    elif spoil == "earlier version":
        edit(record, parts=2)
    fingerprint = "of other chips" if spoil == "fingerprint" else "of part 1"
    assert cut_part(joined, 1, 3 if spoil == "division" else 2, fingerprint, cut) is None
    assert not cut.exists()
    assert [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []
