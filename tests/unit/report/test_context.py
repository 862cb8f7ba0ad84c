"""What the report says about where its numbers come from, and what a reader must know before any of them."""

import os
import platform
import subprocess
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from helpers.paths import ROOT
from terralucas.data.splits import make_split
from terralucas.device import autocast
from terralucas.report.context import git_state, notices, report_context
from terralucas.study.validation import resolve

ARCHIVE = {"source": "gdrive", "origin": "file 1oaY", "sha256": "ab" * 32, "failures": []}
DATA = {
    "data_fingerprint": "cd" * 32, "n_valid": 1990, "n_dropped": 4, "chip_size_px": 224, "bands": ["RED", "NIR_BROAD"],
    "unit": "reflectance", "problem_counts": {"duplicate_content": 3, "size": 1},
    "scaling": [{"scale": 1.0, "offset": 0.0, "chips": 1990, "class_counts": {"1": 1000, "2": 990}}],
    "bright_classes": {}, "left_out": {}, "pixel_sizes": None, "places": {"from": "files", "chips": 0}, "notices": [],
}  # fmt: skip
HUB, RANDOM = {"source": "huggingface"}, {"source": "random"}
OPTIMISTIC = "Checkpoints were chosen on the test chips: the scores are optimistic."
UNEQUAL = "The seeds do not cover all folds equally: some chips are tested less often than others, or never."


def shipped(name, **changes):
    """A shipped configuration with other values in some of its sections."""
    written = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text(encoding="utf-8"))
    for section, values in changes.items():
        written[section] = written.get(section, {}) | values if isinstance(values, dict) else values
    return resolve(written)


def passes(weights=HUB, backbones=("tiny", "base")):
    """Records of two feature passes of each backbone."""
    return [
        {"backbone": name, "kind": kind, "seconds": 10.0 * number, "weights": weights, "precision": "32"}
        for number, name in enumerate(backbones, 1)
        for kind in ("pooled", "tokens")
    ]


def durations(devices=("cpu", "cpu", "cpu"), libraries="torch 2.9.1"):
    seconds = [20.0, 30.5, 0.25][: len(devices)]
    return pd.DataFrame({"device": devices, "seconds": seconds, "libraries": libraries})


def context_of(config=None, retrieval=ARCHIVE, features=None, tuned=None, times=None, registrations=(), data=DATA):
    return report_context(
        config or shipped("config"), retrieval, data, passes() if features is None else features, tuned or {},
        durations() if times is None else times, list(registrations),
    )  # fmt: skip


def notices_of(config, retrieval, data, features, tuned, times=None):
    return notices(config, retrieval, data, features, tuned, durations() if times is None else times)


# Version control


def git(folder, *arguments):
    command = ["git", "-C", folder, "-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    return subprocess.run([*command, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit, whose tree is clean."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "repository"
    (folder / "package").mkdir(parents=True)
    (folder / "package" / "code.py").write_text("x = 1\n")
    (folder / ".gitignore").write_text("results/\n")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=First")
    return folder


def test_a_clean_tree_is_its_commit_seen_from_any_of_its_folders(repository):
    commit = (repository / ".git" / "refs" / "heads" / "main").read_text().strip()
    assert len(commit) == 40
    assert git_state(repository) == git_state(repository / "package") == (commit, False)


def edited(repository):
    (repository / "package" / "code.py").write_text("x = 2\n")


def added(repository):
    (repository / "new.py").write_text("")


def staged(repository):
    added(repository)
    git(repository, "add", "new.py")


def deleted(repository):
    (repository / ".gitignore").unlink()


@pytest.mark.parametrize("change", [edited, added, staged, deleted])
def test_what_is_not_committed_is_told_wherever_it_lies(repository, change):
    before, _ = git_state(repository)
    change(repository)
    assert git_state(repository / "package") == (before, True)


def test_ignored_files_are_no_change_and_a_commit_makes_the_tree_clean_again(repository):
    first, _ = git_state(repository)
    (repository / "results").mkdir()
    (repository / "results" / "report.html").write_text("")
    assert git_state(repository) == (first, False)
    edited(repository)
    git(repository, "commit", "--quiet", "--all", "--message=Second")
    second, dirty = git_state(repository)
    assert second != first
    assert not dirty


def test_outside_version_control_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "folder").mkdir()
    assert git_state(tmp_path / "folder") == (None, False)


def test_a_repository_without_a_commit_has_none(tmp_path):
    git(tmp_path, "init", "--quiet")
    assert git_state(tmp_path) == (None, False)


def test_a_machine_without_git_says_nothing_of_commits(repository, monkeypatch):
    monkeypatch.setenv("PATH", str(repository))
    assert git_state(repository) == (None, False)


def test_the_report_names_the_commit_of_its_own_code():
    own = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    expected = own.stdout.strip() if own.returncode == 0 else None
    assert context_of().git_commit == expected


# Notices


def test_a_study_without_reservations_has_no_notices():
    assert notices_of(shipped("config"), ARCHIVE, DATA, passes(), {"full": HUB}) == []


def test_simulated_chips_are_told():
    (line,) = notices_of(shipped("config"), ARCHIVE | {"source": "simulated"}, DATA, passes(), {})
    assert line == "The chips are simulated: the scores say nothing about real land cover."


def test_simulated_chips_among_files_are_told():
    def lines(marked):
        return notices_of(shipped("config"), ARCHIVE, DATA | {"n_simulated": marked}, passes(), {})

    assert lines(0) == []
    assert lines(40) == [
        "40 of 1990 chips are simulated, as their files say: the scores say nothing about real land cover."
    ]
    assert lines(1990) == ["The chips are simulated: the scores say nothing about real land cover."]


@pytest.mark.parametrize(
    ("features", "tuned", "names"),
    [
        (passes(RANDOM), {}, "tiny and base"),
        (passes(RANDOM, ["tiny"]) + passes(HUB, ["base"]), {}, "tiny"),
        (passes(), {"base_lora": RANDOM, "tiny_full": HUB}, "base_lora"),
        (passes(RANDOM, ["tiny"]), {"a": RANDOM, "b": RANDOM}, "tiny, a and b"),
    ],
)
def test_backbones_with_random_weights_are_named_once(features, tuned, names):
    (line,) = notices_of(shipped("config"), ARCHIVE, DATA, features, tuned)
    assert line == f"The weights of {names} are random, never pre-trained: the scores say nothing about TerraMind."


def test_runs_with_several_versions_of_libraries_are_told():
    libraries = ["torch 2.9.1", "torch 2.8.0", "torch 2.9.1"]
    (line,) = notices_of(shipped("config"), ARCHIVE, DATA, passes(), {}, durations(libraries=libraries))
    assert line.startswith(
        "The runs were trained with several versions of libraries (torch 2.9.1: 2 runs; torch 2.8.0: 1 run). "
    )


@pytest.mark.parametrize(
    ("setting", "devices", "said"),
    [
        (
            "auto",
            ("cpu", "NVIDIA A100", "cpu"),
            "The runs were trained on several devices and in several precisions (16-mixed and 32): cpu (2 runs) and "
            "NVIDIA A100 (1 run). ",
        ),
        (
            "auto",
            ("V100", "A100", "A100"),
            "The runs were trained on several devices: V100 (1 run) and A100 (2 runs). ",
        ),
        ("32", ("cpu", "A100", "A100"), "The runs were trained on several devices: cpu (1 run) and A100 (2 runs). "),
    ],
)
def test_runs_of_several_devices_or_precisions_are_told(setting, devices, said):
    config = shipped("config", training={"precision": setting})
    (line,) = notices_of(config, ARCHIVE, DATA, passes(), {}, durations(devices))
    assert line.startswith(said)
    used = context_of(config, times=durations(devices)).training["precision"]
    assert used == {("auto", "cpu"): "16-mixed and 32 (auto)", ("auto", "V100"): "16-mixed (auto)"}.get(
        (setting, devices[0]), "32"
    )


def test_features_of_several_precisions_are_told():
    features = passes()
    features[3]["precision"] = "16-mixed"
    (line,) = notices_of(shipped("config"), ARCHIVE, DATA, features, {})
    passed = "32: tiny (pooled), tiny (tokens) and base (pooled); 16-mixed: base (tokens)"
    assert line.startswith(f"Features were computed in several precisions ({passed}): ")


def test_checkpoints_chosen_on_the_test_chips_are_told_and_others_are_not():
    assert notices_of(shipped("notebook"), ARCHIVE, DATA, passes(), {}) == [OPTIMISTIC], (
        "as the original experiment did"
    )
    assert notices_of(shipped("notebook", split={"validation_is_test": False}), ARCHIVE, DATA, passes(), {}) == []


@pytest.mark.parametrize(
    ("seeds", "folds"),
    [
        ([0, 1, 2, 3, 4], 5), ([4, 2, 0, 3, 1], 5), ([5, 6, 7, 8, 9], 5), (list(range(10)), 5),
        ([0, 1, 2], 5), ([1], 5), (list(range(7)), 5), ([0, 1, 2, 3, 4], 4),
        # Every fold once, but the last one is of other chips: folds are dealt anew for each repetition.
        ([0, 1, 2, 3, 9], 5), ([1, 2, 3, 4, 5], 5), ([0, 1], 2), ([0, 1, 2], 2), ([0, 3], 2),
    ],
)  # fmt: skip
def test_seeds_that_test_some_chips_more_often_than_others_are_told(seeds, folds):
    """Whether they do is counted in the splits themselves."""
    config = shipped("config", split={"folds": folds}, grid={"seeds": seeds})
    labels = np.repeat(np.arange(3), [80, 50, 30])
    tested = sum(make_split(labels, None, config["split"], seed, ["a", "b", "c"]) == "test" for seed in seeds)
    expected = [] if tested.min() == tested.max() else [UNEQUAL]
    assert notices_of(config, ARCHIVE, DATA, passes(), {}) == expected


def test_a_holdout_has_no_folds_to_cover():
    holdout = {"strategy": "holdout", "test_share": 0.2}
    assert notices_of(shipped("config", split=holdout, grid={"seeds": [0, 1, 2]}), ARCHIVE, DATA, passes(), {}) == []


def test_sources_that_failed_before_one_was_used_are_told_in_their_own_words():
    (line,) = notices_of(shipped("config"), ARCHIVE | {"failures": ["gdrive: quota", "url: 404"]}, DATA, passes(), {})
    assert line.endswith("failed before one was used: gdrive: quota; url: 404")


def test_all_notices_stand_one_below_the_other_and_reach_the_report():
    retrieval = ARCHIVE | {"source": "simulated", "failures": ["gdrive: quota"]}
    config = shipped("config", grid={"seeds": [0, 1]})
    lines = context_of(config, retrieval, passes(RANDOM)).notices
    assert [line.split()[1] for line in lines] == ["chips", "weights", "seeds", "of"]


# What is told of data, splits and training


def test_the_dataset_is_that_of_the_reports_of_retrieval_and_check():
    assert context_of().dataset == {
        "name": "lucas-italy", "source": "gdrive: file 1oaY", "sha256": "ab" * 32, "n_chips": 1990,
        "dropped": "4 (3 × duplicate content, 1 × size)",
        "chip size": "224 × 224 px", "pixel on the ground": "30 m", "places": "none",
        "bands": "RED, NIR_BROAD", "unit": "reflectance",
    }  # fmt: skip


def test_scale_and_offset_tags_are_told_and_where_chips_differ():
    tagged = {"scale": 0.0001, "offset": -0.1, "chips": 990, "class_counts": {"2": 990}}
    plain = {"scale": 1.0, "offset": 0.0, "chips": 1000, "class_counts": {"1": 1000}}
    told = context_of(data=DATA | {"scaling": [plain, tagged]}).dataset["scale and offset tags, applied"]
    assert told == "scale 1.0, offset 0.0: 1000 chips (classes 1); scale 0.0001, offset -0.1: 990 chips (classes 2)"
    told = context_of(data=DATA | {"scaling": [tagged]}).dataset["scale and offset tags, applied"]
    assert told == "scale 0.0001, offset -0.1: 990 chips"


def test_files_of_other_formats_are_told():
    told = context_of(data=DATA | {"left_out": {".jp2": 12, ".png": 1}}).dataset
    assert told["files that are no GeoTIFF, left out"] == "12 × .jp2, 1 × .png"


def test_places_pixel_sizes_and_notices_are_told():
    sizes = {"chips": 90, "smallest_m": 8.26, "median_m": 8.4, "largest_m": 8.99, "nominal_m": 10.0}
    told = context_of(
        data=DATA | {"pixel_sizes": sizes, "places": {"from": "files", "chips": 90}, "notices": ["look here"]}
    ).dataset
    assert told["pixel on the ground"].endswith(" m; by the georeference of 90 chips 8.26 to 8.99 m")
    assert told["places"] == "90 chips, by the georeference of the files"
    assert told["please check"] == "look here"
    assert context_of().dataset["places"] == "none"
    assert "please check" not in context_of().dataset


def test_chips_that_came_as_a_folder_are_named_by_their_fingerprint():
    folder = {"source": "directory", "origin": "/data/chips", "sha256": None, "failures": []}
    dataset = context_of(retrieval=folder).dataset
    assert (dataset["source"], dataset["sha256"]) == ("directory: /data/chips", "cd" * 32)


@pytest.mark.parametrize(
    ("split", "told"),
    [
        ({}, {"strategy": "kfold", "folds": 5, "validation_share": 0.15, "block_km": None, "random_state": 42}),
        (
            {"strategy": "holdout", "test_share": 0.3, "block_km": 50, "random_state": 7},
            {
                "strategy": "holdout", "test_share": 0.3, "validation_is_test": False, "validation_share": 0.15,
                "block_km": 50, "random_state": 7,
            },
        ),
        (
            {"strategy": "holdout", "validation_is_test": True},
            {
                "strategy": "holdout", "test_share": 0.2, "validation_is_test": True, "block_km": None,
                "random_state": 42,
            },
        ),
    ],
    ids=["folds", "holdout", "no validation chips"],
)  # fmt: skip
def test_only_the_settings_that_shape_the_splits_are_told(split, told):
    assert context_of(shipped("config", split=split)).splits == told


def test_the_rows_on_training_say_how_every_run_was_trained():
    training = {"learning_rate": 0.002, "weight_decay": 0.1, "batch_size": 16, "epochs": 7, "precision": "32"}
    config = shipped("config", training=training | {"monitor": "micro_accuracy"}, normalisation="train")
    assert context_of(config).training == {
        "learning_rate": 0.002, "weight_decay": 0.1, "batch_size": 16, "epochs": 7, "optimiser": "AdamW",
        "checkpoint": "best validation micro accuracy", "normalisation": "train", "precision": "32", "device": "cpu",
    }  # fmt: skip


def test_tuned_backbones_are_named_with_how_they_are_tuned():
    backbones = {
        f"tiny_{how}": {"model": "terramind_v1_tiny", "weights": RANDOM, "tuning": how} for how in ("lora", "full")
    }
    config = shipped("demo", backbones=backbones, grid={"backbones": ["tiny", *backbones]})
    told = context_of(config, tuned=dict.fromkeys(backbones, RANDOM)).training["tuned_backbones"]
    assert told == "tiny_lora (lora) and tiny_full (full)"


@pytest.mark.parametrize("precision", ["auto", "32", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_precision_is_the_one_that_runs_computed_in(precision, device):
    ran, _ = autocast(precision, torch.device(device))
    name = {"cpu": "cpu", "cuda": "NVIDIA A100-SXM4-40GB"}[device]
    config = shipped("config", training={"precision": precision})
    told = context_of(config, times=durations([name, name])).training
    assert told["precision"] == (f"{ran} (auto)" if precision == "auto" else ran)
    assert told["device"] == name


def test_each_device_is_named_once():
    times = durations(["NVIDIA A100", "NVIDIA H100", "NVIDIA A100"])
    assert context_of(times=times).training["device"] == "NVIDIA A100, NVIDIA H100"


def test_only_recipes_of_the_grid_are_described():
    config = shipped("config", grid={"losses": ["weighted_focal", "ce"], "decoders": ["mlp"]})
    config["report"]["contrasts"] = []
    context = context_of(config)
    assert list(context.losses) == ["weighted_focal", "ce"]
    assert context.losses["weighted_focal"]["gamma"] == 2.0
    assert context.decoders.keys() == {"mlp"}
    assert context.decoders["mlp"]["hidden"] == "embedding"


def test_durations_are_those_of_each_pass_and_of_all_training_together():
    assert context_of(features=passes(backbones=["tiny"])).durations == [
        {"stage": "pooled features of tiny", "seconds": 10.0, "jobs": 1},
        {"stage": "tokens features of tiny", "seconds": 10.0, "jobs": 1},
        {"stage": "training", "seconds": 50.75, "jobs": 3},
    ]


def test_provenance_carries_the_whole_configuration_and_the_versions_that_are_installed():
    config = shipped("config")
    context = context_of(config)
    assert yaml.safe_load(context.config_yaml) == config
    assert (context.study, context.title) == ("lucas-italy", "TerraMind on LUCAS land cover of Italy")
    assert context.versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert context.versions["numpy"] == np.__version__
    assert context.versions["terratorch"] == version("terratorch")
    assert context.versions["python"] == platform.python_version()


def test_chance_is_guessing_among_all_classes():
    guesses, labels = np.random.default_rng(0).integers(10, size=(2, 100_000))
    right = np.mean([np.mean(guesses[labels == label] == label) for label in range(10)])
    assert context_of().chance_macro_accuracy == pytest.approx(right, abs=0.005)


def test_the_record_of_plans_comes_with_what_changed_in_it():
    plans = [
        {"plan": {"margins": 1}, "finished_runs": 0, "registered_at": "2026-01-01", "sha256": "a"},
        {"plan": {"margins": 2}, "finished_runs": 3, "registered_at": "2026-01-02", "sha256": "b"},
    ]
    context = context_of(registrations=plans)
    assert context.registrations == plans
    assert context.plan_changes == ["On 2026-01-02, when 3 runs had results, margins changed."]
