"""Which runs are compared when some are lost."""

import pytest
import yaml

from terralucas.errors import StudyError
from terralucas.statistics.run_status import ComparableRuns, comparable_runs, read_run_status

CE, FOCAL, MLP = ("tiny", "ce", "identity"), ("tiny", "focal", "identity"), ("tiny", "ce", "mlp")
SEEDS = [0, 1, 2, 3]


@pytest.fixture
def roll(tmp_path):
    """read_run_status of a study in which these runs finished and those diverged."""

    def take(finished, diverged=(), logged=(), log="2026-01-01 12:00:00,123 ERROR train_run: the disk is full\n"):
        def put(root, run, name, content):
            path = root.joinpath(*run[0], name.format(run[1]))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")

        for runs, status in ((finished, "finished"), (diverged, "diverged")):
            for run in runs:
                record = {"status": status, "diverged": "epoch 2" if status == "diverged" else ""}
                put(tmp_path / "runs", run, "seed-{}/run.yaml", yaml.safe_dump(record))
        for run in logged:
            put(tmp_path / "logs", run, "seed-{}.log", log)
        return read_run_status(tmp_path / "runs", tmp_path / "logs", [CE, FOCAL, MLP], SEEDS)

    return take


def all_of(*recipes):
    return [(recipe, seed) for recipe in recipes for seed in SEEDS]


def test_the_roll_tells_what_became_of_every_run(roll):
    entries = roll(all_of(CE), diverged=[(FOCAL, 0)], logged=[(FOCAL, 1)])
    found = {entry.run: (entry.status, entry.reason) for entry in entries}
    assert len(found) == 12
    assert found["tiny/ce/identity/seed-3"] == ("finished", "")
    assert found["tiny/focal/identity/seed-0"] == ("diverged", "epoch 2")
    assert found["tiny/focal/identity/seed-1"][0] == "failed"
    assert found["tiny/focal/identity/seed-1"][1].endswith("tiny/focal/identity/seed-1.log")
    assert found["tiny/ce/mlp/seed-0"] == ("missing", "")


@pytest.mark.parametrize(
    ("log", "status"),
    [
        ("2026-01-01 12:00:00,123 INFO terralucas.training.run: epoch 1: train_loss 1.0\n", "missing"),
        ("", "missing"),
        ("2026-01-01 12:00:00,123 INFO progress: train_run: ended by SIGTERM\n", "failed"),
        ("2026-01-01 12:00:00,123 INFO progress: train_run: ended by SIGINT\n", "missing"),
        ("epoch 1\nERROR: train_run was killed by SIGKILL\n", "failed"),
    ],
)
def test_a_run_whose_log_has_no_error_is_missing_and_did_not_fail(roll, log, status):
    """The folder of a finished run was lost, and its log is still there."""
    entries = roll(all_of(CE), logged=[(FOCAL, 1)], log=log)
    assert {entry.status for entry in entries if (entry.recipe, entry.seed) == (FOCAL, 1)} == {status}


def test_a_whole_study_is_compared_whole(roll):
    assert comparable_runs(roll(all_of(CE, FOCAL, MLP))) == ComparableRuns([CE, FOCAL, MLP], SEEDS)


def test_a_lost_run_takes_its_seed_from_all_recipes(roll):
    runs = [run for run in all_of(CE, FOCAL, MLP) if run != (FOCAL, 2)]
    entries = roll(runs, diverged=[(FOCAL, 2)])
    chosen = comparable_runs(entries)
    assert chosen == ComparableRuns([CE, FOCAL, MLP], [0, 1, 3])
    assert sum(chosen.includes(entry) for entry in entries) == 9


def test_a_recipe_that_lost_most_of_its_seeds_is_left_out(roll):
    assert comparable_runs(roll([*all_of(CE, FOCAL), (MLP, 1)])) == ComparableRuns([CE, FOCAL], SEEDS)


def test_too_few_runs_are_an_error_that_counts_them(roll):
    with pytest.raises(StudyError, match=r"1 of 12 runs finished, 1 diverged"):
        comparable_runs(roll([(CE, 0)], diverged=[(FOCAL, 0)]))
    with pytest.raises(StudyError, match="a seed that all such recipes share"):
        comparable_runs(roll([(CE, 0), (CE, 1), (FOCAL, 2), (FOCAL, 3)]))
