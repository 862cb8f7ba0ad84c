"""A short form of the drill: some faults, each of another kind. `make drill` does all kinds, 60 times."""

import pytest

from helpers.drill import Drill
from helpers.faults import FAULTS

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def drill(cluster, tmp_path_factory):
    return Drill(tmp_path_factory.mktemp("drill"), cluster, seed=7)


@pytest.mark.parametrize(("number", "kind"), [(0, "sigkill_job"), (1, "jobs_end_without_head")])
def test_a_fault_costs_time_but_no_numbers(drill, number, kind):
    assert drill.trial(number, kind).problem == ""


def test_the_drill_would_notice_other_numbers(drill):
    """A trial whose study trains otherwise is not survived."""

    def other(trial):
        config = trial.drill.project.folder / "config" / f"{trial.name}.yaml"
        config.write_text(config.read_text("utf-8").replace("learning_rate: 0.001", "learning_rate: 0.002"), "utf-8")
        trial.must_end_well()

    FAULTS["other"] = other
    try:
        assert "differs from the undisturbed study" in drill.trial(90, "other").problem
    finally:
        del FAULTS["other"]
