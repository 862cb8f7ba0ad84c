"""Features that are there, or that the pass of another job wrote: used where they are those of this job."""

import hashlib
import json

import numpy as np
import pytest

from terralucas.backbones.shared_passes import is_passed, keep_record, kinds_to_share, take_over


@pytest.fixture
def shared(tmp_path):
    """The job of tokens wrote pooled features, too."""
    others = kinds_to_share(tmp_path / "tokens.npy", ["tokens", "pooled"], tmp_path, "of these chips")
    assert list(others) == ["pooled"]
    np.save(others["pooled"], np.arange(6.0))
    record = {"kind": "pooled", "sha256": hashlib.sha256(others["pooled"].read_bytes()).hexdigest()}
    keep_record(others["pooled"], record, "tokens", "of these chips")
    return tmp_path / "pooled.npy"


def test_the_job_takes_them_over_and_says_whose_pass_it_was(shared):
    record = take_over(shared, "of these chips")
    assert record == {"kind": "pooled", "sha256": record["sha256"], "same_pass_as": "tokens"}
    np.testing.assert_array_equal(np.load(shared), np.arange(6.0))
    assert [path.name for path in shared.parent.iterdir()] == ["pooled.npy"]
    assert take_over(shared, "of these chips") is None


@pytest.mark.parametrize("spoil", ["fingerprint", "array", "record", "no array"])
def test_what_is_not_of_this_job_is_deleted(shared, spoil):
    array = shared.with_name(".pooled.npy")
    if spoil == "array":
        array.write_bytes(array.read_bytes()[:-1])
    elif spoil == "record":
        array.with_suffix(".json").write_text("{", encoding="utf-8")
    elif spoil == "no array":
        array.unlink()
    assert take_over(shared, "of others" if spoil == "fingerprint" else "of these chips") is None
    assert list(shared.parent.iterdir()) == []


def test_kinds_that_are_there_are_not_computed_again(tmp_path):
    record, part = tmp_path / "pooled.json", tmp_path / "parts" / "0-of-2" / "tokens.npy"
    for content in (
        {"fingerprint": "of these"},
        {"parts": [{"fingerprint": "of these"}, {"fingerprint": "of others"}]},
    ):
        record.write_text(json.dumps(content), encoding="utf-8")
        for features in (tmp_path / "tokens.npy", part):
            assert kinds_to_share(features, ["tokens", "pooled"], tmp_path, "of these") == {}
            # Chips changed, and the job of the other kind is still to come.
            changed = kinds_to_share(features, ["tokens", "pooled"], tmp_path, "of changed ones")
            assert changed == {"pooled": features.with_name(".pooled.npy")}
    other = kinds_to_share(part, ["tokens", "pooled-6"], tmp_path, "of these")
    assert other == {"pooled-6": part.with_name(".pooled-6.npy")}


def test_features_of_the_same_pass_are_known_only_whole_and_with_their_record(tmp_path):
    features, record = tmp_path / "pooled.npy", tmp_path / "pooled.json"
    np.save(features, np.arange(6.0))
    content = {"sha256": hashlib.sha256(features.read_bytes()).hexdigest(), "fingerprint": "of these chips"}
    assert not is_passed(features, record, "of these chips"), "no record"
    record.write_text(json.dumps({"sha256": content["sha256"]}), encoding="utf-8")
    assert not is_passed(features, record, "of these chips"), "the record of an earlier version"
    record.write_text(json.dumps(content), encoding="utf-8")
    assert is_passed(features, record, "of these chips")
    assert not is_passed(features, record, "of others")
    features.write_bytes(features.read_bytes()[:-1])
    assert not is_passed(features, record, "of these chips"), "cut off"
    features.unlink()
    assert not is_passed(features, record, "of these chips"), "deleted"
