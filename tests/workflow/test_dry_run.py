"""What a dry run plans, shows and refuses, on a fresh clone without data, weights or network."""

import re
import subprocess
import sys

import pytest

from helpers.tiny_study import TINY

pytestmark = pytest.mark.workflow


@pytest.mark.parametrize(
    ("config", "runs", "controls", "audits"),
    [("config", 80, 7, 7), ("demo", 40, 7, 5), ("notebook", 20, 5, 5)],
)
def test_every_shipped_config_is_planned(project, config, runs, controls, audits):
    planned = project.planned("--configfile", f"config/{config}.yaml")
    assert planned["train_run"] == runs
    assert planned["fit_control"] == controls, "three of chips and two of each backbone"
    assert planned["build_report"] == 1
    assert planned["audit_treatment"] == audits


def test_without_a_configfile_it_is_the_study(project):
    assert project.planned()["train_run"] == 80


def test_a_target_names_its_study(project):
    assert project.planned("results/demo/report.html")["train_run"] == 40
    assert project.planned("results/example/report.html")["train_run"] == 12, "before its chips are there"
    single = project.planned("results/demo/runs/tiny/weighted_ce/mlp/seed-3/metrics.json")
    assert (single["train_run"], single["split_chips"], single["extract_features"]) == (1, 1, 1)
    assert "build_report" not in single
    assert single["audit_treatment"] == 3, "of its loss, its decoder and its normalisation"


def test_overlays(project, tmp_path):
    overlay = tmp_path / "more.yaml"
    overlay.write_text("grid: {losses: [weighted_ce]}\n")
    both = project.planned("--configfile", "config/demo.yaml", overlay)
    assert both["train_run"] == 20
    three = project.planned("--configfile", "config/demo.yaml", overlay, "--config", "grid={seeds: [0, 1]}")
    assert three["train_run"] == 8
    assert three["split_chips"] == 2
    alone = project.planned("--config", "grid={seeds: [7]}")
    assert alone["train_run"] == 16, "--config goes over the default configuration as well"


@pytest.mark.parametrize(
    ("overlay", "said"),
    [
        ("training={epoch: 3}", "unknown key training.epoch (did you mean epochs?)"),
        ("training={learning_rate: fast}", 'training.learning_rate is "fast", which is no number'),
        ("split={folds: 1}", "split.folds is 1; it must be at least 2"),
        ("grid={losses: [hinge]}", "grid.losses names 'hinge'"),
    ],
)
def test_a_bad_configuration_stops_before_any_job(project, overlay, said):
    done = project.snakemake("-n", "--configfile", "config/demo.yaml", "--config", overlay, check=False)
    assert done.returncode != 0
    assert said in done.output
    assert "Job stats" not in done.output


def test_a_choice_for_earlier_jobs_that_is_none_is_refused_by_a_dry_run(project):
    done = project.snakemake("-n", "--configfile", "config/demo.yaml", "--config", "earlier_jobs=kill", check=False)
    assert done.returncode != 0
    assert re.search(r"found: 'kill'[\s\S]*expected: cancel or report", done.output)


def test_a_python_whose_path_has_a_blank_is_refused_before_any_job(project, tmp_path):
    environment = tmp_path / "my project" / ".venv"
    environment.parent.mkdir()
    environment.symlink_to(sys.prefix)
    command = [environment / "bin" / "python", "-m", "snakemake", "-n", "--configfile", "config/demo.yaml"]
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Jobs cannot be started with this Python" in done.stdout + done.stderr
    assert f"a blank in {environment}/bin/python" in done.stdout + done.stderr
    assert "Job stats" not in done.stdout + done.stderr


@pytest.mark.parametrize("dry", [("-n",), ()], ids=["dry run", "start"])
def test_a_file_or_a_link_that_leads_nowhere_in_the_place_of_results_is_told_in_words(project, dry):
    place = project.folder / "results" / "demo"
    place.parent.mkdir(exist_ok=True)
    place.touch()
    try:
        done = project.snakemake(*dry, "--cores", 1, "--configfile", "config/demo.yaml", check=False)
        assert "results/demo is a file, where a folder of the study should be" in done.output
        place.unlink()
        place.symlink_to("/nowhere/disk")
        after = project.snakemake(*dry, "--cores", 1, "--configfile", "config/demo.yaml", check=False)
    finally:
        place.unlink()
    assert "found: a link to /nowhere/disk" in after.output
    for each in (done, after):
        assert each.returncode != 0
        assert "Traceback" not in each.output
        assert "what to do:" in each.output


def test_normalising_by_training_chips_makes_features_for_each_seed(project):
    planned = project.planned("--configfile", "config/demo.yaml", "--config", "normalisation=train")
    assert planned["extract_features"] == 20, "two backbones, two kinds, five seeds"


def test_tuned_backbones_stand_beside_frozen_ones_and_pack_their_chips_once(project):
    weights = {"source": "random"}
    backbones = {
        "tiny": {"model": "terramind_v1_tiny", "weights": weights},
        "tiny_lora": {"model": "terramind_v1_tiny", "weights": weights, "tuning": "lora"},
        "tiny_full": {"model": "terramind_v1_tiny", "weights": weights, "tuning": "full"},
    }
    contrasts = [{"factor": "backbone", "a": "tiny_lora", "b": "tiny"}]
    report = TINY["report"] | {"controls": True, "contrasts": contrasts}
    grid = TINY["grid"] | {"backbones": list(backbones)}
    path = project.write_config(
        TINY | {"study": "tuned", "backbones": backbones, "grid": grid, "report": report}, "tuned"
    )
    planned = project.planned("--configfile", path)
    expected = {
        "extract_features": 1,
        "pack_chips": 1,
        "train_run": 2,
        "tune_run": 4,
        "fit_control": 5,
        "audit_tuning": 2,
    }
    assert {name: planned[name] for name in expected} == expected
    alone = project.planned(
        "--configfile", path, "--config", "grid={backbones: [tiny_lora, tiny_full]}", "report={contrasts: []}"
    )
    assert (alone["tune_run"], alone["fit_control"]) == (4, 3)
    assert {"extract_features", "train_run"}.isdisjoint(alone)
    lora = project.planned("--configfile", path, "--config", "grid={backbones: [tiny, tiny_lora]}")
    assert lora["audit_tuning"] == 1


def summary_of(output):
    """What comes after Snakemake's own words."""
    return output.split("\nStudy ", 1)[1].splitlines()


def test_it_ends_in_a_summary_of_runs_downloads_and_results_and_lists_no_paths(project):
    shown = project.snakemake("-n").stdout
    summary = summary_of(shown)
    assert summary[0] == "lucas-italy"
    assert "Runs: 80 to do, 0 finished" in summary
    table = [line.split() for line in summary[summary.index("Runs: 80 to do, 0 finished") + 2 :][:16]]
    assert ["base", "weighted_focal", "mlp", "5", "0"] in table
    downloads = [line.strip() for line in summary[summary.index("Downloads:") + 1 :][:3]]
    assert [line.partition("  ")[0] for line in downloads] == ["chips", "weights of tiny", "weights of base"]
    assert "of Google Drive, to resources/chips/lucas-italy-" in downloads[0]
    assert "ibm-esa-geospatial/TerraMind-1.0-tiny" in downloads[1]
    results = summary[summary.index("Results in results/lucas-italy:") + 1 :]
    assert [line.split() for line in results] == [["report", "not", "there"], ["tables", "0", "of", "25", "there"]]
    assert "rule all" not in shown
    assert "predictions.parquet" not in shown
    assert shown.count("Job stats:") == 1


def test_a_single_target_is_summarised_without_the_runs_it_does_not_ask_for(project):
    summary = summary_of(project.snakemake("-n", "results/demo/runs/tiny/weighted_ce/mlp/seed-3/metrics.json").stdout)
    assert "Runs: 1 to do, 0 finished, 39 not asked for" in summary
    assert [line.split() for line in summary if "weighted" in line] == [["tiny", "weighted_ce", "mlp", "1", "0"]]
    assert "Downloads: none" in summary, "the demo's chips are simulated and its weights random"


@pytest.mark.parametrize(
    ("options", "lists_jobs"),
    [("-q", False), ("-p", False), ("--verbose", True), ("--quiet host", True)],
)
def test_options_choose_whether_jobs_are_listed_and_leave_the_summary(project, options, lists_jobs):
    shown = project.snakemake("-n", *options.split(), "--configfile", "config/demo.yaml").stdout
    assert "Runs: 40 to do, 0 finished" in summary_of(shown)
    assert ("Training tiny × weighted_ce × mlp, seed 3" in shown) == lists_jobs


def test_an_impossible_target_has_no_summary(project):
    done = project.snakemake("-n", "results/demo/absent.html", check=False)
    assert done.returncode == 1
    assert "MissingRuleException" in done.output
    assert "Runs:" not in done.output
    assert "Traceback" not in done.output
