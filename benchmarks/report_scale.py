"""Measure time and memory of tables, evidence, figures and report of a study with many runs, or with many chips.

    PYTHONPATH=workflow/scripts python -m benchmarks.report_scale [--runs 80 1000 10000] [--times 1 25] [--processes 8]

The runs are simulated: their predictions are random logits that know the label a little, of 1,994 chips with the class
counts of LUCAS in five folds, or of so many times as many chips, in a region so many times as large. Each stage does
what the rule of its name does, in a process of its own, and prints its seconds and its peak resident memory.
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from threadpoolctl import threadpool_limits

from terralucas.data.discovery.lucas import italy_grid_points
from terralucas.data.splits import spatial_blocks
from terralucas.evidence.maps import correctness_table, write_maps
from terralucas.evidence.tables import EvidenceInputs, evidence_tables
from terralucas.files import sha256_of_file
from terralucas.predictions import PredictionTable, write_predictions
from terralucas.report.build import FIGURES, TABLES, build_report
from terralucas.report.context import report_context
from terralucas.report.figures import study as figures
from terralucas.report.sections.other_studies import other_studies_table
from terralucas.statistics.comparison import Question
from terralucas.statistics.run_status import read_run_status
from terralucas.statistics.run_tables import LIBRARIES
from terralucas.statistics.spatial_intervals import BLOCKS_KM
from terralucas.statistics.study_tables import study_tables
from terralucas.study.validation import resolve
from terralucas.tables.tidy_csv import read_table, write_table

ROOT = Path(__file__).resolve().parents[1]
COUNTS = (511, 178, 205, 704, 126, 57, 125, 43, 20, 25)
SEEDS, EPOCHS = 5, 100
# Goals for 10,000 runs.
GOAL_MINUTES, GOAL_MIB = 10, 1024


def make_config(runs: int) -> dict[str, Any]:
    """Return the resolved configuration of a study with about so many runs: more losses and decoders than two."""
    written = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    recipes = max(runs // SEEDS, 16)
    decoders = 2 if recipes < 100 else 10
    losses = recipes // (2 * decoders)
    mlp = written["decoders"]["mlp"]
    more_losses = {
        f"focal_{n}": {"type": "focal", "gamma": 0.5 + n / 100, "class_weights": "balanced"} for n in range(losses - 4)
    }
    more_decoders = {f"mlp_{n}": mlp | {"hidden": 64 * (n + 1)} for n in range(decoders - 2)}
    written["losses"] |= more_losses
    written["decoders"] = {"identity": written["decoders"]["identity"], "mlp": mlp, **more_decoders}
    written["grid"] = {
        "backbones": ["tiny", "base"],
        "losses": list(written["losses"]),
        "decoders": list(written["decoders"]),
        "seeds": list(range(SEEDS)),
    }
    return resolve(written)


def recipes_of(config: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the recipes of a grid."""
    grid = config["grid"]
    return [(b, l, d) for b in grid["backbones"] for l in grid["losses"] for d in grid["decoders"]]  # noqa: E741


@dataclass(frozen=True)
class Study:
    """A study to simulate.

    Attributes:
        config: its resolved configuration.
        times: how many times as many chips it has as LUCAS Italy.
        processes: number of processes that compute tables and evidence.
    """

    config: dict[str, Any]
    times: int
    processes: int = 1


def chips_of(study: Study) -> pd.DataFrame:
    """Return the index of the chips."""
    labels = np.repeat(np.arange(len(COUNTS)), study.times * np.array(COUNTS))
    places = 1000.0 * italy_grid_points().astype(float)
    # Copies of the region lie beside each other, in a square.
    side = math.ceil(math.sqrt(study.times))
    width = np.ptp(places, axis=0) + 2000.0
    copy = np.arange(len(labels)) % study.times
    chosen = places[np.linspace(0, len(places) - 1, len(labels)).astype(int)]
    chosen = chosen + width * np.column_stack([copy % side, copy // side])
    classes = study.config["dataset"]["classes"]
    return pd.DataFrame(
        {
            "point_id": [f"{number:08d}" for number in range(len(labels))],
            "label": labels,
            "class_name": [classes[label]["name"] for label in labels],
            "easting_m": chosen[:, 0],
            "northing_m": chosen[:, 1],
            "height": 224,
        }
    )


def parts_of(index: pd.DataFrame) -> dict[int, np.ndarray]:
    """Return the part of each chip for each seed: a fold each for test and validation."""
    fold = np.random.default_rng(1).permutation(len(index)) % SEEDS
    return {
        seed: np.where(fold == seed, "test", np.where(fold == (seed + 1) % SEEDS, "validation", "train"))
        for seed in range(SEEDS)
    }


def write_runs(folder: Path, study: Study) -> None:
    """Write the files of all runs as training would."""
    from terralucas.training.run import HISTORY

    config, index = study.config, chips_of(study)
    labels, parts, ids = index["label"].to_numpy(), parts_of(index), index["point_id"].to_numpy()
    prior = np.log(np.bincount(labels) / len(labels))
    for number, recipe in enumerate(recipes_of(config)):
        skill = 1.2 + 0.4 * np.random.default_rng([number, 99]).random()
        for seed, part in parts.items():
            random = np.random.default_rng([number, seed])
            rows = np.flatnonzero(part != "train")
            logits = random.normal(size=(len(rows), len(prior))) + prior
            logits[np.arange(len(rows)), labels[rows]] += skill
            run = folder.joinpath("runs", *recipe, f"seed-{seed}")
            run.mkdir(parents=True)
            table = PredictionTable(ids[rows].tolist(), part[rows], labels[rows], logits.astype(np.float32))
            write_predictions(run / "predictions.parquet", table)
            curve = 0.5 * (1 - np.exp(-np.arange(1, EPOCHS + 1) / 20))
            history = pd.DataFrame(dict.fromkeys(HISTORY[1:], curve))
            history.insert(0, "epoch", np.arange(1, EPOCHS + 1))
            history.to_csv(run / "history.csv", index=False)
            (run / "run.yaml").write_text(yaml.safe_dump(_record(config, recipe, seed, part, run)), encoding="utf-8")


def _record(
    config: dict[str, Any], recipe: tuple[str, str, str], seed: int, part: np.ndarray, run: Path
) -> dict[str, Any]:
    backbone, loss, decoder = recipe
    settings = {"backbone": backbone, "loss": loss, "decoder": decoder, "seed": seed}
    settings |= {"loss_setting": config["losses"][loss], "decoder_setting": config["decoders"][decoder]}
    return {
        "run": f"{backbone}/{loss}/{decoder}/seed-{seed}",
        "settings": settings | {"training": {**config["training"], "threads": 1}},
        "code": "0",
        "split": "0",
        "status": "finished",
        "diverged": "",
        "predictions_sha256": sha256_of_file(run / "predictions.parquet"),
        "chips": {name: int((part == name).sum()) for name in ("train", "validation", "test")},
        "best_epoch": 90,
        "epochs": EPOCHS,
        "resumed_after_epoch": 0,
        "seconds": 20.0,
        "seconds_to_first_step": 1.5,
        "peak_memory_mib": {"cpu": 800.0},
        "device": "cpu",
        "versions": dict.fromkeys(LIBRARIES, "1"),
    }


def _statuses(folder: Path, config: dict[str, Any]) -> list[Any]:
    return read_run_status(folder / "runs", folder / "logs", recipes_of(config), config["grid"]["seeds"])


def make_tables(folder: Path, study: Study) -> None:
    """Do what rule make_tables does, without controls."""
    config, index = study.config, chips_of(study)
    places = index["easting_m"].to_numpy(), index["northing_m"].to_numpy()
    blocks = {km: spatial_blocks(*places, km) for km in BLOCKS_KM}
    question = Question.from_config(config["report"], config["dataset"]["classes"], SEEDS)
    with threadpool_limits(1):
        tables = study_tables(
            _statuses(folder, config), {}, index, None, question, False, blocks, study.processes
        )  # fmt: skip
    for name, table in tables.items():
        write_table(table, folder / f"{name}.csv")


def make_evidence(folder: Path, study: Study) -> None:
    """Do what rule make_evidence does."""
    config, index = study.config, chips_of(study)
    classes = config["dataset"]["classes"]
    inputs = EvidenceInputs(_statuses(folder, config), parts_of(index), index)
    runs = inputs.read_runs()
    with threadpool_limits(1):
        tables = evidence_tables(
            inputs, runs, len(classes), config["report"]["contrasts"], config["training"]["monitor"], False,
            config["report"]["confidence_level"], 10.0, 0, study.processes,
        )  # fmt: skip
    for name, table in tables.items():
        write_table(table, folder / f"{name}.csv")
    points = correctness_table(runs, index, classes)
    del runs
    write_maps(points, folder / "points.parquet", folder / "points.geojson")


def draw_figures(folder: Path, study: Study) -> None:
    """Do what rule draw_figures does."""
    import geopandas as gpd

    index = chips_of(study).assign(class_code=lambda chips: chips["class_name"])
    index["band_mean"] = [np.full(len(study.config["dataset"]["bands"]), 0.1)] * len(index)
    figures.draw_figures(
        lambda name: read_table(folder / f"{name}.csv"),
        gpd.read_parquet(folder / "points.parquet"),
        index,
        study.config["dataset"]["bands"],
        study.config["report"]["primary"],
        {name: folder / f"{name}.svg" for name in FIGURES},
    )


def build_page(folder: Path, study: Study) -> None:
    """Do what rule build_report does."""
    config, n_chips = study.config, study.times * sum(COUNTS)
    tables = {name: read_table(folder / f"{name}.csv") for name in TABLES if name != "beside"}
    tables["beside"] = other_studies_table({"scale": tables["summary"]})
    retrieval = {"source": "simulated", "origin": "benchmark", "sha256": "0" * 64, "failures": []}
    scaling = [{"scale": 1.0, "offset": 0.0, "chips": n_chips, "class_counts": {}}]
    data = {"n_valid": n_chips, "n_dropped": 0, "problem_counts": {}, "left_out": {}, "chip_size_px": 224}
    data |= {"bands": list(config["dataset"]["bands"]), "unit": "reflectance", "scaling": scaling, "bright_classes": {}}
    data |= {"pixel_sizes": None, "places": {"from": "ids", "chips": n_chips}, "notices": []}
    context = report_context(config, retrieval, data, [], {}, tables["durations"], [])
    paths = {name: folder / f"{name}.svg" for name in FIGURES}
    shares = pd.read_parquet(folder / "points.parquet", columns=["share_right"])["share_right"]
    build_report(tables, paths, shares, folder / "points.geojson", context, folder / "report.html")


STAGES: tuple[Callable[[Path, Study], None], ...] = (make_tables, make_evidence, draw_figures, build_page)


def _measure(stage: Callable[[Path, Study], None], folder: Path, study: Study, answers: Any) -> None:
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
    stage(folder, study)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    # Not terralucas.device, which imports PyTorch; the rules of these stages do not.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    answers.put((time.perf_counter() - started, used, peak))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[80, 1000, 10_000])
    parser.add_argument("--times", type=int, nargs="+", default=[1])
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    processes = multiprocessing.get_context("spawn")
    print(f"{'runs':>6}{'chips':>8}  {'stage':<14}{'seconds':>9}{'CPU':>9}{'peak MiB':>10}")
    for wanted, times in itertools.product(given.runs, given.times):
        study = Study(make_config(wanted), times, given.processes)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_runs(folder, study)
            row = f"{len(recipes_of(study.config)) * SEEDS:>6}{times * sum(COUNTS):>8}"
            total = 0.0
            for stage in STAGES:
                answers = processes.SimpleQueue()
                process = processes.Process(target=_measure, args=(stage, folder, study, answers))
                process.start()
                process.join()
                if process.exitcode:
                    raise SystemExit(f"{stage.__name__} failed")
                seconds, used, peak = answers.get()
                total += seconds
                print(f"{row}  {stage.__name__:<14}{seconds:>9.1f}{used:>9.1f}{peak:>10.0f}", flush=True)
            page = (folder / "report.html").stat().st_size / 2**20
            print(f"{row}  {'all':<14}{total:>9.1f}  page {page:.1f} MiB", flush=True)
    print(f"goals for 10,000 runs: {GOAL_MINUTES} minutes, {GOAL_MIB} MiB")


if __name__ == "__main__":
    main()
