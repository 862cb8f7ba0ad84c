"""What the chips of a study say about its selected models."""

from types import SimpleNamespace

import numpy as np
import pytest

from terralucas import files
from terralucas.errors import StudyError
from terralucas.predict.applicability import Reference, held_out_dissimilarity, threshold
from terralucas.predictions import PredictionTable, write_predictions
from terralucas.selection.gather import StudyChips, examine
from terralucas.selection.select import _gather_models

N, CLASSES = 40, 2
LABELS = np.arange(N) % CLASSES


class Models:
    """An ensemble whose features are given; its encoders have the models `members`. Without `logits`, they are zero."""

    def __init__(self, features, members, logits=None):
        self.features, self.n_classes, self.logits = features, CLASSES, logits
        self.groups = [SimpleNamespace(members=each) for each in members]
        self.seen = 0

    def predict(self, chips):
        rows = chips[:, 0, 0, 0].astype(int)
        self.seen += len(rows)
        members = sum(len(group.members) for group in self.groups)
        whole = np.zeros((members, N, CLASSES), dtype=np.float32) if self.logits is None else self.logits
        return whole[:, rows], [each[rows] for each in self.features]


@pytest.fixture
def study(tmp_path):
    """(chips, runs) of two seeds that test half of the chips each."""
    parts = {seed: np.where(np.arange(N) % 4 // 2 == seed, "test", "train") for seed in (0, 1)}
    runs = {}
    for seed, part in parts.items():
        test = np.flatnonzero(part == "test")
        runs[seed] = tmp_path / f"seed-{seed}"
        runs[seed].mkdir()
        logits = np.eye(CLASSES, dtype=np.float32)[LABELS[test]]
        table = PredictionTable([f"chip {row}" for row in test], part[test], LABELS[test], logits)
        write_predictions(runs[seed] / "predictions.parquet", table)
    chips = StudyChips(
        [f"chip {row}" for row in range(N)], LABELS, parts, lambda row: np.full((1, 2, 2), row, dtype=np.float32)
    )
    return chips, runs


def look(models, study, seeds=(0, 1), are_copies=False, **options):
    chips, runs = study
    arguments = {"batch_size": 16, "threads": 1, "same_test_chips": False, "coverage": 0.8}
    own = {seed: runs[seed] for seed in seeds}
    return examine(
        models, own, chips, temperatures=dict.fromkeys(own, 1.0), are_copies=are_copies, **arguments, **options
    )


def test_where_the_encoder_saw_all_chips_the_encoders_of_the_runs_give_the_threshold(study):
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(N, 3)) for _ in range(2)]
    folds = [(np.flatnonzero(study[0].parts[seed] != "test"), np.flatnonzero(study[0].parts[seed] == "test"))
             for seed in (0, 1)]  # fmt: skip
    expected = threshold(
        np.concatenate([
            held_out_dissimilarity(Reference.of(of_seed), [fold])
            for of_seed, fold in zip(features, folds, strict=True)
        ])
    )  # fmt: skip
    # All chips of a class are at one place for the encoder that was trained on them.
    models = Models([np.eye(CLASSES)[LABELS]], [[0]])
    found = look(models, study, judges=Models(features, [[0], [1]]))
    assert found.held_out.threshold == pytest.approx(expected)
    assert len(found.held_out.references) == 1, "of the model that predicts"
    assert look(models, study).held_out.threshold == 0


def test_with_one_seed_its_test_chips_are_judged_by_each_other(study):
    """With all of them in one part, no other chip would be left, and each set would have every class."""
    models = Models([np.random.default_rng(0).normal(size=(N, 3))], [[0]])
    coverage = look(models, study, seeds=(0,)).coverage
    assert coverage["chips"].tolist() == [20, 10, 10]
    assert coverage["mean_set_size"].iloc[0] < CLASSES


@pytest.mark.parametrize(("flipped", "is_refused"), [(0, False), (1, False), (2, True)])
def test_models_that_predict_other_classes_than_their_runs_recorded_are_refused(study, flipped, is_refused):
    """One of twenty chips may change by rounding; the run of more is named."""
    chips, runs = study
    logits = np.stack([np.eye(CLASSES, dtype=np.float32)[LABELS]] * 2)
    test = np.flatnonzero(chips.parts[1] == "test")[:flipped]
    logits[1, test] = logits[1, test, ::-1]
    models = Models([np.random.default_rng(0).normal(size=(N, 3))], [[0, 1]], logits)
    if is_refused:
        with pytest.raises(StudyError, match="do not predict what the study recorded") as caught:
            look(models, study, are_copies=True)
        assert caught.value.found.startswith(f"another class for test chips: 2 of 20 in {runs[1]}; logits that differ")
    else:
        compared = look(models, study, are_copies=True).comparison
        assert compared == {"test_chips": 40, "other_classes": flipped, "largest_logit_difference": float(flipped)}


def test_models_of_another_start_are_not_deleted(tmp_path, monkeypatch):
    """A job of an earlier start may go on for minutes before it gathers models."""

    def refuse():
        raise StudyError("This job ends without a change to any result.")

    monkeypatch.setattr(files, "_checks", [refuse])
    (tmp_path / "models" / "seed-0").mkdir(parents=True)
    with pytest.raises(StudyError, match="without a change"):
        _gather_models({}, None, SimpleNamespace(models="ensemble"), None, tmp_path / "models")
    assert (tmp_path / "models" / "seed-0").exists()
