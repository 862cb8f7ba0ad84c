"""Splits, by their properties: every chip tested once, rare classes in every part, groups never divided."""

import itertools
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
import rasterio
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from helpers.paths import ROOT
from terralucas.data import group_covers
from terralucas.data.dataset import DatasetSpec
from terralucas.data.indexing.index import index_chips
from terralucas.data.split_files import PARTS, read_split, write_split
from terralucas.data.splits import make_split, require_splits, spatial_blocks
from terralucas.errors import StudyError
from terralucas.study.validation import resolve

LUCAS_COUNTS = [511, 178, 205, 704, 126, 57, 125, 43, 20, 25]
NAMES = [f"class {index}" for index in range(30)]
# Without the second half, the chips of the class would be the next error: their label is no class.
OUT = "class out of dataset.classes and set dataset.on_invalid: drop"
KFOLD = {
    "strategy": "kfold", "folds": 5, "test_share": 0.2, "validation_share": 0.15, "validation_is_test": False,
    "block_km": None, "random_state": 42,
}  # fmt: skip


def labels_of(counts, seed=0):
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(seed).permutation(labels)


def split_of(labels, seed, groups=None, **changes):
    return make_split(labels, groups, KFOLD | changes, seed, NAMES)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(5, 60), min_size=2, max_size=8),
    repetition=st.integers(0, 3),
    state=st.integers(0, 1000),
    folds=st.integers(3, 5),
)
def test_k_seeds_test_every_chip_once_and_no_class_is_missing(counts, repetition, state, folds):
    labels = labels_of(counts)
    tested = np.zeros(len(labels), dtype=int)
    for fold in range(folds):
        parts = split_of(labels, repetition * folds + fold, folds=folds, random_state=state)
        tested += parts == "test"
        for part in PARTS:
            assert set(labels[parts == part]) == set(range(len(counts)))
        for label, count in enumerate(counts):
            n_test = int(np.sum((labels == label) & (parts == "test")))
            assert np.floor(count / folds) <= n_test <= np.ceil(count / folds)
    assert np.all(tested == 1)


def test_lucas_shares():
    labels = labels_of(LUCAS_COUNTS)
    parts = split_of(labels, 0)
    assert abs(np.sum(parts == "test") - 1994 / 5) <= 5
    assert abs(np.sum(parts == "validation") - 0.15 * 1994 * 4 / 5) <= 5
    assert [int(np.sum((labels == 8) & (parts == part))) for part in PARTS] == [14, 2, 4]


def test_same_seed_same_split_other_seed_other_split():
    labels = labels_of(LUCAS_COUNTS)
    assert np.array_equal(split_of(labels, 3), split_of(labels, 3))
    assert not np.array_equal(split_of(labels, 3), split_of(labels, 4))
    assert not np.array_equal(split_of(labels, 0), split_of(labels, 5)), "a new repetition draws new folds"
    assert not np.array_equal(split_of(labels, 0), split_of(labels, 0, random_state=1))


def test_parts_do_not_depend_on_which_other_seeds_exist():
    labels = labels_of(LUCAS_COUNTS)
    alone = split_of(labels, 7)
    for seed in range(7):
        split_of(labels, seed)
    assert np.array_equal(split_of(labels, 7), alone)


@settings(max_examples=20, deadline=None)
@given(state=st.integers(0, 10_000), block_km=st.sampled_from([10.0, 30.0, 60.0]))
def test_no_block_crosses_parts(state, block_km):
    random = np.random.default_rng(state)
    labels = labels_of([200, 120, 80, 40], state)
    place = random.uniform(0, 600_000, (2, len(labels)))
    groups = spatial_blocks(place[0], place[1], block_km)
    tested = np.zeros(len(labels), dtype=int)
    for seed in range(5):
        parts = split_of(labels, seed, groups)
        assert all(len(set(parts[groups == group])) == 1 for group in np.unique(groups))
        for part in PARTS:
            assert set(labels[parts == part]) == {0, 1, 2, 3}
        tested += parts == "test"
    assert np.all(tested == 1)


def test_blocks_follow_the_grid():
    blocks = spatial_blocks(np.array([0.0, 9_999.0, 10_000.0]), np.array([0.0, 0.0, 0.0]), 10)
    assert blocks[0] == blocks[1] != blocks[2]


def test_blocks_without_coordinates_are_an_error():
    with pytest.raises(StudyError, match="1 of 2 chips without coordinates"):
        spatial_blocks(np.array([0.0, np.nan]), np.array([0.0, 0.0]), 10)


def test_a_class_too_rare_for_the_folds_is_named_with_its_count():
    labels = labels_of([4, 50])
    with pytest.raises(StudyError, match=r"'class 0' \(4 chips\) has none for test") as caught:
        for seed in range(5):
            split_of(labels, seed)
    assert OUT in caught.value.remedy


def test_a_class_in_too_few_blocks_is_named():
    labels = labels_of([10, 90])
    groups = np.where(labels == 0, 0, np.arange(len(labels)) + 1)
    with pytest.raises(StudyError, match=r"'class 0' \(10 chips in 1 blocks\)"):
        split_of(labels, 0, groups)


def test_a_split_that_one_seed_cannot_have_is_refused_for_all():
    """Class 0 is in four blocks, so that one of five folds has none of it; the jobs of the other seeds fail too."""
    labels = labels_of([40, 160])
    groups = np.where(labels == 0, np.arange(len(labels)) % 4, np.arange(len(labels)) + 4)
    refused = []
    for seed in range(5):
        try:
            split_of(labels, seed, groups)
        except StudyError:
            refused.append(seed)
    assert len(refused) == 1
    with pytest.raises(StudyError, match=r"'class 0' \(40 chips in 4 blocks\) has none for test"):
        require_splits(labels, groups, KFOLD, range(5), 5, NAMES)
    require_splits(labels, groups, KFOLD | {"folds": 4}, range(5), 4, NAMES)


def test_a_class_in_too_few_blocks_is_named_alone():
    """Other classes lie in few blocks too, but in enough of them."""
    random, labels = np.random.default_rng(1), np.repeat(np.arange(40), 12)
    blocks = [random.choice(100, 6 if label else 4, replace=False) for label in range(40)]
    groups = np.concatenate([np.tile(own, 12 // len(own)) for own in blocks])
    names = [f"class {label}" for label in range(40)]
    with pytest.raises(StudyError, match="can't have every class") as caught:
        require_splits(labels, groups, KFOLD, range(5), 5, names)
    assert "'class 0'" in caught.value.found
    assert ";" not in caught.value.found, "no other class"


@pytest.mark.parametrize("state", range(20))
def test_each_of_two_folds_can_be_divided_again_if_any_folds_can(state):
    """Two blocks of each class are not enough: {0, 1}, {0, 2} and {1, 2} have no two parts with all of them."""
    of_blocks = [{2}, {0, 1}, {0, 1, 2}, {0, 2}, {0}, {1, 2}, {1, 2}]
    labels = np.array([label for own in of_blocks for label in sorted(own) for _ in range(3)])
    groups = np.repeat(np.arange(7), [3 * len(own) for own in of_blocks])
    for seed in range(2):
        part = make_split(labels, groups, KFOLD | {"folds": 2, "random_state": state}, seed, ["a", "b", "c"])
        assert all(set(labels[part == each]) == {0, 1, 2} for each in ("train", "validation", "test"))


def test_of_two_folds_one_can_be_tested_that_leaves_two_blocks_of_a_class():
    """Class 0 lies in three blocks, so that only one fold has two of them, which are training and validation."""
    labels = labels_of([30, 90])
    groups = np.where(labels == 0, np.arange(len(labels)) % 3, 3 + np.arange(len(labels)) % 20)
    for state in range(10):
        accepted = []
        for seed in (0, 1):
            with suppress(StudyError):
                parts = split_of(labels, seed, groups, folds=2, random_state=state)
                accepted.append(has_all(labels, parts, ["train", "validation", "test"]))
        assert accepted == [True]


def test_a_search_that_takes_too_long_does_not_say_that_there_is_no_split(monkeypatch):
    """The limit is a number of steps: with one of time, the answer would depend on the machine."""
    random = np.random.default_rng(9)
    groups = random.integers(0, 90, 1800)
    labels = random.integers(0, 5, 1800)
    for label in range(5, 76):
        for block in random.choice(90, 7, replace=False):
            free = np.flatnonzero((groups == block) & (labels < 5))
            if len(free) > 2:
                labels[random.choice(free, int(random.integers(1, 4)))] = label
    names = [f"class {label}" for label in range(76)]
    monkeypatch.setattr(group_covers, "_MOST_NODES_AND_VARIABLES", 1)
    monkeypatch.setattr(group_covers, "_FEWEST_NODES", 1)
    with pytest.raises(StudyError, match=r"(?s)No split was found.*there may be one.*another split\.random_state"):
        require_splits(labels, groups, KFOLD | {"random_state": 0}, range(5), 5, names)


def test_groups_that_are_not_the_smallest_do_where_the_search_for_these_takes_too_long(monkeypatch):
    """Three parts of different shares."""
    random = np.random.default_rng(0)
    counts = np.zeros((100, 60))
    for label in range(60):
        counts[random.choice(100, 5, replace=False), label] = random.integers(1, 9, 5)
    monkeypatch.setattr(group_covers, "_SHARE_FOR_SMALLEST", 1e-9)
    cover = group_covers.find_cover(counts, range(60), (0.6, 0.15, 0.25), (1, 1, 1), np.random.default_rng(0))
    for part in range(3):
        groups = [group for group, own in cover.items() if own == part]
        assert (counts[groups] > 0).any(axis=0).all()


def test_a_class_with_fewer_chips_than_folds_is_refused_for_all_seeds():
    labels = labels_of([4, 50])
    with pytest.raises(StudyError, match="'class 0' has 4 chips") as caught:
        require_splits(labels, None, KFOLD, [0], 5, NAMES)
    assert OUT in caught.value.remedy
    assert "set split.folds to 4" in caught.value.remedy
    require_splits(labels, None, KFOLD | {"folds": 4}, [0], 4, NAMES)


def test_holdout_is_scikit_learns_split_on_the_row_order():
    labels = labels_of(LUCAS_COUNTS)
    parts = split_of(labels, 0, strategy="holdout", validation_is_test=True)
    _, test = train_test_split(np.arange(1994), test_size=0.2, stratify=labels, random_state=42)
    assert sorted(np.flatnonzero(parts == "test")) == sorted(test)
    assert [int(np.sum(parts == part)) for part in PARTS] == [1595, 0, 399], "the original's 1,595 and 399 chips"


def test_the_notebooks_own_split(tmp_path):
    """From files to parts as a study does it, against scikit-learn on the table as pandas reads it, in its order."""
    config = resolve(yaml.safe_load((ROOT / "config" / "notebook.yaml").read_text(encoding="utf-8")))
    random = np.random.default_rng(3)
    codes = 1 + labels_of([count // 8 + 3 for count in LUCAS_COUNTS])
    ids = random.permutation([f"{4500 + 2 * (k % 50)}{2200 + 2 * (k // 50)}" for k in range(len(codes))])
    profile = {"driver": "GTiff", "count": 6, "height": 16, "width": 16, "dtype": "float32"}
    profile["transform"] = rasterio.Affine(30, 0, 0, 0, -30, 0)
    for point, code in zip(ids, codes, strict=True):
        (tmp_path / "Chips" / str(code)).mkdir(parents=True, exist_ok=True)
        with rasterio.open(tmp_path / "Chips" / str(code) / f"{point}.tif", "w", **profile) as target:
            target.write(random.uniform(0.02, 0.5, (6, 16, 16)).astype(np.float32))
    table = tmp_path / "Chips" / config["dataset"]["layout"]["table"]
    pd.DataFrame({"Point_ID": ids, "STR18": codes}).to_csv(table, index=False)

    index, _ = index_chips(
        tmp_path, DatasetSpec.from_config(config["dataset"]), min_chips_per_class=2, threads=1, progress=False
    )
    parts = make_split(index["label"].to_numpy(), None, config["split"], 0, NAMES)

    read = pd.read_csv(table)
    train, test = train_test_split(read, test_size=0.2, stratify=read["STR18"], random_state=42)
    points = index["point_id"].to_numpy()
    assert set(points[parts == "test"]) == set(test["Point_ID"].astype(str))
    assert set(points[parts == "train"]) == set(train["Point_ID"].astype(str))


@pytest.mark.parametrize(("share", "advice"), [(0.01, "higher"), (0.995, "lower")])
def test_a_holdout_without_room_for_every_class_is_refused(share, advice):
    with pytest.raises(StudyError, match=f"test_share {share} of 400 chips") as caught:
        split_of(labels_of([300, 60, 20, 10, 10]), 0, strategy="holdout", test_share=share, validation_is_test=True)
    assert caught.value.remedy.startswith(f"set split.test_share {advice}, or take")
    assert OUT in caught.value.remedy


def test_a_class_without_test_chips_in_a_holdout_gets_them_by_the_advice():
    labels = labels_of([2, 198])
    with pytest.raises(StudyError, match=r"'class 0' \(2 chips\) has none for test") as caught:
        split_of(labels, 0, strategy="holdout", test_share=0.2, validation_is_test=True)
    assert caught.value.remedy.startswith("set split.test_share higher or more chips")
    parts = split_of(labels, 0, strategy="holdout", test_share=0.3, validation_is_test=True)
    assert (parts[labels == 0] == "test").sum() == 1


def test_holdout_is_the_same_for_every_seed():
    labels = labels_of(LUCAS_COUNTS)
    assert np.array_equal(split_of(labels, 0, strategy="holdout"), split_of(labels, 9, strategy="holdout"))


def test_round_trip_with_hostile_ids_and_foreign_chips(tmp_path):
    path, ids = tmp_path / "split.csv", ['a,"b"', "c", "№ 3"]
    write_split(path, ids, ["train", "validation", "test"])
    assert read_split(path, ids).tolist() == ["train", "validation", "test"]
    with pytest.raises(StudyError, match="belongs to other chips"):
        read_split(path, ["a", "c", "№ 3"])


@pytest.mark.parametrize(("share", "blocks"), [(0.5, 1), (0.8, 2)])
def test_a_holdout_that_takes_all_blocks_is_refused_in_words(share, blocks):
    labels, groups = np.array([0, 1] * 12), np.arange(24) // 2 % blocks
    split = {"strategy": "holdout", "test_share": share, "validation_share": 0.15, "validation_is_test": False}
    with pytest.raises(StudyError, match="has none for train, validation") as error:
        make_split(labels, groups, split | {"block_km": 50, "random_state": 42}, 0, ["a", "b"])
    assert error.value.remedy.startswith("set split.test_share lower, smaller blocks (split.block_km) or more chips")


def in_few_blocks(seed, classes, chips, blocks, in_blocks):
    """Labels and blocks of classes that lie in few blocks of unequal size."""
    random = np.random.default_rng(seed)
    own = [random.choice(blocks, int(random.integers(*in_blocks)), replace=False) for _ in range(classes)]
    groups = [random.choice(each, chips, p=random.dirichlet(np.ones(len(each)))) for each in own]
    return np.repeat(np.arange(classes), chips), np.concatenate(groups)


def has_all(labels, parts, names):
    return {(label, part) for label, part in zip(labels, parts, strict=True)} == set(
        itertools.product(np.unique(labels), names)
    )


@pytest.mark.parametrize("blocks", [5, 7])
def test_a_holdout_in_blocks_is_refused_only_if_no_split_is_possible(blocks):
    """Against all ways in which the blocks can be divided into three parts."""
    possible = []
    for seed in range(40):
        labels, groups = in_few_blocks(seed, 3, 10, blocks, (3, 5))
        numbers, index = np.unique(groups, return_inverse=True)
        ways = (np.array(way)[index] for way in itertools.product(range(3), repeat=len(numbers)))
        possible.append(any(has_all(labels, parts, range(3)) for parts in ways))
        if possible[-1]:
            parts = split_of(labels, 0, groups, strategy="holdout")
            assert has_all(labels, parts, ["train", "validation", "test"])
            assert len({(group, part) for group, part in zip(groups, parts, strict=True)}) == len(numbers)
        else:
            with pytest.raises(StudyError, match="can't have every class in every part"):
                split_of(labels, 0, groups, strategy="holdout")
    assert 5 < sum(possible) < 40, "both are tested"


@pytest.mark.parametrize(("classes", "chips", "blocks", "folds"), [(4, 40, 20, 3), (4, 40, 20, 2), (10, 100, 100, 5)])
def test_classes_that_lie_in_few_blocks_get_into_each_part_of_each_fold(classes, chips, blocks, folds):
    for study in range(10):
        labels, groups = in_few_blocks(study, classes, chips, blocks, (folds + 3, folds + 7))
        tests = []
        for seed in range(folds):
            parts = split_of(labels, seed, groups, folds=folds)
            assert has_all(labels, parts, ["train", "validation", "test"])
            assert not set(groups[parts == "train"]) & set(groups[parts != "train"])
            # Blocks cannot be divided, but validation does not take most of what is not tested.
            assert 0.02 < np.mean(parts[parts != "test"] == "validation") < 0.45
            tests.append(parts == "test")
        assert (np.sum(tests, axis=0) == 1).all(), "each chip is tested once"
