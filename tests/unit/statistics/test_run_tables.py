"""Tables of runs, against direct computations."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from terralucas.errors import StudyError
from terralucas.statistics import run_tables
from terralucas.statistics.run_status import RunStatus
from terralucas.study.settings import without_secrets
from terralucas.tables.scores import RUN_SCORES
from terralucas.tables.tidy_csv import read_table, write_table

CLASSES = [{"code": "a", "name": "Alpha"}, {"code": "b", "name": "Beta"}]


def test_every_run_of_the_grid_has_a_row_and_counts_stay_whole(tmp_path):
    recipe = ("tiny", "ce", "mlp")
    entries = [
        RunStatus(recipe, 0, Path("runs/0"), "finished"),
        RunStatus(recipe, 1, Path("runs/1"), "diverged", "training loss nan in epoch 2"),
        RunStatus(recipe, 2, Path("runs/2"), "missing"),
    ]
    record = {"chips": {"train": 70, "validation": 10, "test": 20}, "epochs": 3, "best_epoch": 2}
    result = run_tables.RunResult(entries[0].names, record, dict.fromkeys(RUN_SCORES, 0.5), 0.4, np.empty((0, 4)))
    write_table(run_tables.runs_table(entries, {entries[0].run: result}), tmp_path / "runs.csv")
    text = (tmp_path / "runs.csv").read_text(encoding="utf-8").splitlines()
    assert text[1].startswith("3,tiny/ce/mlp/seed-0,tiny,ce,mlp,0,finished,,70,10,20,3,2,0.4,0.5")
    table = read_table(tmp_path / "runs.csv")
    assert table["status"].tolist() == ["finished", "diverged", "missing"]
    assert table.loc[1, "reason"] == "training loss nan in epoch 2"
    assert table.loc[1:, ["n_train", *RUN_SCORES]].isna().all(axis=None)


def result_of(seed, backbone="tiny", epochs=20, gamma=2, code="a"):
    settings = {
        "backbone": backbone, "loss": "focal", "decoder": "mlp", "seed": seed,
        "loss_setting": {"type": "focal", "gamma": gamma}, "decoder_setting": {"hidden": 4},
        "training": {"epochs": epochs, "batch_size": 8, "tuning": "lora" if backbone == "base" else "frozen"},
    }  # fmt: skip
    record = {"run": f"{backbone}/focal/mlp/seed-{seed}", "settings": settings, "code": code}
    return run_tables.RunResult({}, record, {}, 0.0, np.empty((0, 4)))


def with_history(decoder, seed, loss):
    names = {"backbone": "tiny", "loss": "ce", "decoder": decoder, "seed": seed}
    return run_tables.RunResult(names, {}, {}, 0.0, np.array([[1, 1.5, 1.4, 0.2], [2, loss, 1.3, 0.3]]))


def test_two_names_of_one_treatment_are_refused_though_each_was_audited_beside_others():
    runs = [with_history("mlp", seed, 1.0 + seed) for seed in (0, 1)]
    twins = [with_history("mlp192", seed, 1.0 + seed) for seed in (1, 0)]
    with pytest.raises(StudyError, match="Two recipes of the study are one treatment") as error:
        run_tables.require_different_treatments(runs + twins)
    assert error.value.found.endswith("tiny, ce, mlp; and tiny, ce, mlp192")
    # One seed with equal losses is chance, or a backbone for which the two do the same.
    other = [with_history("mlp192", 0, 1.0), with_history("mlp192", 1, 2.5)]
    run_tables.require_different_treatments(runs + other)


def test_runs_of_one_configuration_may_differ_by_backbone():
    run_tables.require_one_configuration([result_of(0), result_of(1), result_of(0, backbone="base", code="b")])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"epochs": 5}, "training of tiny/focal/mlp/seed-0: epochs 20; of tiny/focal/mlp/seed-1: epochs 5"),
        ({"gamma": 3}, "losses of tiny/focal/mlp/seed-0: gamma 2; of tiny/focal/mlp/seed-1: gamma 3"),
    ],
)
def test_a_configuration_that_was_edited_while_jobs_waited_is_noticed(change, found):
    with pytest.raises(StudyError, match="trained with different settings") as error:
        run_tables.require_one_configuration([result_of(0), result_of(1, **change)])
    assert error.value.found == found


def test_runs_of_different_code_are_noticed_and_starting_again_is_advised():
    with pytest.raises(StudyError, match="trained with different code") as error:
        run_tables.require_one_configuration([result_of(0), result_of(1, code="c")])
    assert error.value.found == "the code of tiny/focal/mlp/seed-0 is not that of tiny/focal/mlp/seed-1"
    assert error.value.remedy.startswith("start the study again")


def test_runs_of_another_configuration_than_the_studys_are_noticed_though_they_agree():
    expected = {"training": {"tiny": result_of(0, epochs=7).record["settings"]["training"]}}
    with pytest.raises(StudyError, match="trained with different settings") as error:
        run_tables.require_one_configuration([result_of(0), result_of(1)], expected)
    assert error.value.found == "training of the study: epochs 7; of tiny/focal/mlp/seed-0: epochs 20"
    run_tables.require_one_configuration([result_of(0, epochs=7), result_of(1, epochs=7)], expected)


def with_encoder(result, weights="b1", kind="dataset", mean=0.1, path="w.pt", bands=("RED", "NIR_BROAD")):
    features = {
        "weights": {"source": "file", "path": path, "sha256": weights},
        "bands": list(bands),
        "normalisation": {"kind": kind, "scope": "all", "mean": {"RED": mean}},
    }
    return replace(result, record={**result.record, "encoder": run_tables.describe_encoder(features)})


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"weights": "c2"}, "weights of tiny/focal/mlp/seed-0: sha256 b1; of tiny/focal/mlp/seed-0: sha256 c2"),
        ({"kind": "train"}, "normalisation of tiny/focal/mlp/seed-0: dataset; of tiny/focal/mlp/seed-0: train"),
        ({"bands": ("RED",)}, "bands of tiny/focal/mlp/seed-0: RED, NIR_BROAD; of tiny/focal/mlp/seed-0: RED"),
        ({"mean": 0.2}, "statistics of tiny/focal/mlp/seed-0: checksum"),
    ],
)
def test_runs_of_other_weights_or_another_normalisation_are_not_compared(change, found):
    """As where the runs of one loss are those of another study."""
    with pytest.raises(StudyError, match="Runs of the backbone tiny cannot be compared") as error:
        run_tables.require_one_encoder([with_encoder(result_of(0)), with_encoder(result_of(0), **change)])
    assert error.value.found.startswith(found)


def test_backbones_have_weights_of_their_own_and_seeds_statistics():
    """With `normalisation: train`, the statistics are those of the training chips. A file may lie elsewhere."""
    results = [
        with_encoder(result_of(0), kind="train"),
        with_encoder(result_of(1), kind="train", mean=0.2, path="x.pt"),
    ]
    run_tables.require_one_encoder([*results, with_encoder(result_of(0, backbone="base"), weights="c2", mean=0.3)])
    # Records of simulated studies have no such part.
    run_tables.require_one_encoder([result_of(0), result_of(1)])


def test_runs_of_another_split_than_that_of_their_seed_are_refused_though_they_agree():
    results = [
        replace(result, names={"seed": seed}, record=result.record | {"split": f"s{seed}"})
        for seed, result in enumerate([result_of(0), result_of(1)])
    ]
    run_tables.require_splits(results, {0: "s0", 1: "s1", 2: "s2"})
    with pytest.raises(StudyError, match="other chips than those of the study's splits") as error:
        run_tables.require_splits(results, {0: "s0", 1: "s9"})
    assert error.value.found == "another split, or other labels, in 1 run(s): tiny/focal/mlp/seed-1"


def test_confusion_is_pooled_over_seeds():
    names = {"backbone": "tiny", "loss": "ce", "decoder": "mlp"}
    runs = [
        run_tables.RunResult(names, {}, {"confusion": counts}, 0.0, np.empty((0, 4)))
        for counts in ([[3, 1], [0, 2]], [[2, 2], [1, 1]])
    ]
    result = run_tables.confusion_table(runs, CLASSES).set_index(["true_code", "predicted_code"])["count"]
    assert result.to_dict() == {("a", "a"): 5, ("a", "b"): 3, ("b", "a"): 1, ("b", "b"): 3}


def test_curves_are_means_over_the_seeds_that_reached_an_epoch():
    histories = {
        ("tiny", 0): [[1, 0.8, 0.9, 0.2], [2, 0.6, 0.7, 0.5]],
        ("tiny", 1): [[1, 0.4, 0.5, 0.4]],
        ("base", 0): [[1, 0.1, 0.3, 0.6]],
    }
    runs = [
        run_tables.RunResult({"backbone": backbone, "loss": "ce", "decoder": "mlp"}, {}, {}, 0.0, np.array(history))
        for (backbone, _), history in histories.items()
    ]
    table = run_tables.curves_table(runs).drop(columns=["schema_version", "loss", "decoder"])
    expected = [
        ["tiny", 1, 0.6, 0.7, 0.3, 0.2, 0.4],
        ["tiny", 2, 0.6, 0.7, 0.5, 0.5, 0.5],
        ["base", 1, 0.1, 0.3, 0.6, 0.6, 0.6],
    ]
    score = "validation_macro_accuracy"
    means = ["train_loss_mean", "validation_nll_mean", *(f"{score}_{name}" for name in ("mean", "min", "max"))]
    assert table.columns.tolist() == ["backbone", "epoch", *means]
    assert table["backbone"].tolist() == [row[0] for row in expected]
    np.testing.assert_allclose(table.iloc[:, 1:], [row[1:] for row in expected], rtol=1e-12)


def test_classes():
    table = run_tables.classes_table(np.array([0, 0, 0, 1]), CLASSES)
    assert table[["class_code", "n", "share"]].to_numpy().tolist() == [["a", 3, 0.75], ["b", 1, 0.25]]


def test_the_shown_configuration_has_no_secrets():
    config = {"dataset": {"sources": [{"type": "url", "url": "https://me:pass@host.org/a.tar.gz?token=abc"}]}}
    assert without_secrets(config)["dataset"]["sources"][0]["url"] == "https://host.org/a.tar.gz"
    assert config["dataset"]["sources"][0]["url"].endswith("token=abc")
