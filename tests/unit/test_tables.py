"""Tables: pairing, pooling and intervals, against direct computations."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from terralucas import tables
from terralucas.config import without_secrets
from terralucas.metrics import METRICS

CLASSES = [{"code": "a", "name": "Alpha"}, {"code": "b", "name": "Beta"}]


def runs_of(scores, n_train=70, n_test=20):
    """A runs table from {(backbone, loss, decoder): [macro accuracy by seed]}."""
    rows = [
        {
            "backbone": backbone, "loss": loss, "decoder": decoder, "seed": seed, "n_train": n_train, "n_test": n_test,
            **{metric: value if metric == "macro_accuracy" else 0.5 for metric in METRICS},
        }
        for (backbone, loss, decoder), values in scores.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_summary_is_the_mean_over_seeds_with_the_corrected_interval():
    values = [0.3, 0.34, 0.38, 0.31]
    table = tables.summary_table(runs_of({("tiny", "ce", "mlp"): values}), "kfold", 0.9)
    row = table[table["metric"] == "macro_accuracy"].iloc[0]
    half = stats.t.ppf(0.95, 3) * np.sqrt((1 / 4 + 20 / 70) * np.var(values, ddof=1))
    assert row["mean"] == pytest.approx(np.mean(values))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((np.mean(values) - half, np.mean(values) + half))
    assert (row["n_seeds"], row["interval"], row["level"]) == (4, "nadeau_bengio_t", 0.9)
    assert len(table) == len(METRICS)


def test_a_fixed_split_has_the_ordinary_interval_and_says_so():
    table = tables.summary_table(runs_of({("tiny", "ce", "mlp"): [0.3, 0.34, 0.38]}), "holdout", 0.95)
    row = table[table["metric"] == "macro_accuracy"].iloc[0]
    low, high = stats.t.interval(0.95, 2, loc=0.34, scale=stats.sem([0.3, 0.34, 0.38]))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high))
    assert row["interval"] == "t_fixed_split"


def test_contrasts_pair_seeds_and_average_over_the_other_factors():
    scores = {
        ("tiny", "focal", "identity"): [0.50, 0.60], ("tiny", "ce", "identity"): [0.40, 0.52],
        ("base", "focal", "identity"): [0.55, 0.58], ("base", "ce", "identity"): [0.53, 0.54],
    }  # fmt: skip
    contrast = {"factor": "loss", "a": "focal", "b": "ce"}
    table = tables.contrasts_table(runs_of(scores), [contrast], "kfold", 0.95)
    macro = table[table["metric"] == "macro_accuracy"].set_index("scope")
    by_seed = [(0.10 + 0.02) / 2, (0.08 + 0.04) / 2]
    assert macro.loc["all", "difference"] == pytest.approx(np.mean(by_seed))
    assert macro.loc["all", "n_cells"] == 2
    assert macro.loc["tiny", "difference"] == pytest.approx(0.09)
    assert macro.loc["base", "difference"] == pytest.approx(0.03)
    assert macro.loc["tiny", "contrast"] == "focal − ce"
    swapped = tables.contrasts_table(runs_of(scores), [{"factor": "loss", "a": "ce", "b": "focal"}], "kfold", 0.95)
    row = swapped[(swapped["metric"] == "macro_accuracy") & (swapped["scope"] == "all")].iloc[0]
    assert row["difference"] == pytest.approx(-np.mean(by_seed))


def test_pairing_removes_what_seeds_share():
    """Seeds that differ by 0.2 and a difference of 0.01 for all of them: only the pairing shows it."""
    base = np.array([0.3, 0.4, 0.5, 0.45, 0.35])
    wobble = 0.001 * np.array([1, -1, 0, 1, -1])
    scores = {("tiny", "focal", "mlp"): base + 0.01 + wobble, ("tiny", "ce", "mlp"): base}
    contrast = [{"factor": "loss", "a": "focal", "b": "ce"}]
    row = tables.contrasts_table(runs_of(scores), contrast, "kfold", 0.95).iloc[0]
    assert row["ci_low"] > 0
    summary = tables.summary_table(runs_of(scores), "kfold", 0.95)
    macro = summary[summary["metric"] == "macro_accuracy"]
    assert macro["ci_low"].max() < macro["ci_high"].min(), "the recipes' own intervals overlap"


def test_a_contrast_of_settings_that_are_not_in_the_grid_has_no_rows():
    table = tables.contrasts_table(
        runs_of({("tiny", "ce", "mlp"): [0.1, 0.2]}), [{"factor": "loss", "a": "focal", "b": "ce"}], "kfold", 0.95
    )
    assert table.empty
    assert {"contrast", "difference", "p_value"} <= set(table.columns)


def test_per_class_leaves_undefined_precisions_out_and_counts_them():
    table = runs_of({("tiny", "ce", "mlp"): [0.5, 0.5]})
    per_class = [
        {"recall": [0.5, 0.0], "precision": [0.4, None], "f1": [0.45, 0.0], "n": [10, 2]},
        {"recall": [0.7, 0.5], "precision": [0.6, 0.2], "f1": [0.65, 0.3], "n": [9, 3]},
    ]
    runs = [tables.RunResult({}, {}, {"per_class": scores}, 0.0, pd.DataFrame()) for scores in per_class]
    result = tables.per_class_table(runs, table, CLASSES, "kfold", 0.95).set_index(["class_code", "metric"])
    assert result.loc[("b", "precision"), ["mean", "n_seeds"]].tolist() == [0.2, 1]
    assert result.loc[("b", "recall"), ["mean", "n_seeds", "n_test"]].tolist() == [0.25, 2, 5]
    assert result.loc[("a", "recall"), "mean"] == pytest.approx(0.6)


def test_confusion_is_pooled_over_seeds():
    table = runs_of({("tiny", "ce", "mlp"): [0.5, 0.5]})
    runs = [
        tables.RunResult({}, {}, {"confusion": counts}, 0.0, pd.DataFrame())
        for counts in ([[3, 1], [0, 2]], [[2, 2], [1, 1]])
    ]
    result = tables.confusion_table(runs, table, CLASSES).set_index(["true_code", "predicted_code"])["count"]
    assert result.to_dict() == {("a", "a"): 5, ("a", "b"): 3, ("b", "a"): 1, ("b", "b"): 3}


def test_classes():
    table = tables.classes_table(np.array([0, 0, 0, 1]), CLASSES)
    assert table[["class_code", "n", "share"]].to_numpy().tolist() == [["a", 3, 0.75], ["b", 1, 0.25]]


def test_the_shown_configuration_has_no_secrets():
    config = {"dataset": {"sources": [{"type": "url", "url": "https://me:pass@host.org/a.tar.gz?token=abc"}]}}
    assert without_secrets(config)["dataset"]["sources"][0]["url"] == "https://host.org/a.tar.gz"
    assert config["dataset"]["sources"][0]["url"].endswith("token=abc")
