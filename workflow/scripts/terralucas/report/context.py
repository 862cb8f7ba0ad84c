"""The context of a report: the origin of its numbers, and what a reader must know before reading them."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from terralucas.contents import are_random_weights
from terralucas.report.build import ReportContext
from terralucas.report.wording import count_text, list_text
from terralucas.simulated_chips import describe_simulated
from terralucas.tables.vocabulary import Difference, difference_name, interaction_name

PACKAGES = ("torch", "terratorch", "snakemake", "numpy", "pandas", "scikit-learn", "rasterio")


def git_state(folder: Path) -> tuple[str | None, bool]:
    """Return the commit of the code, and whether there are uncommitted changes; (None, False) without git."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit, bool(_git(folder, "status", "--porcelain"))
    except (subprocess.CalledProcessError, FileNotFoundError):
        return None, False


def notices(
    config: Mapping[str, Any],
    retrieval: Mapping[str, Any],
    data_report: Mapping[str, Any],
    features: Sequence[Mapping[str, Any]],
    tuned: Mapping[str, Mapping[str, Any]],
    durations: pd.DataFrame,
) -> list[str]:
    """Write the notices that a reader must know first, such as simulated chips, random weights or several devices."""
    lines = []
    if simulated := describe_simulated(retrieval, data_report):
        lines.append(f"{simulated}: the scores say nothing about real land cover.")
    if untrained := random_weights(features, tuned):
        names = list_text(untrained)
        lines.append(f"The weights of {names} are random, never pre-trained: the scores say nothing about TerraMind.")
    if config["split"]["validation_is_test"]:
        lines.append("Checkpoints were chosen on the test chips: the scores are optimistic.")
    if config["split"]["strategy"] == "kfold" and not _whole_repetitions(
        config["grid"]["seeds"], config["split"]["folds"]
    ):
        lines.append(
            "The seeds do not cover all folds equally: some chips are tested less often than others, or never."
        )
    if retrieval["failures"]:
        lines.append("Sources of the chips failed before one was used: " + "; ".join(retrieval["failures"]))
    return lines + _mixtures(config, features, durations)


def random_weights(features: Sequence[Mapping[str, Any]], tuned: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names of the backbones whose weights are random."""
    weights = {record["backbone"]: record["weights"] for record in features} | dict(tuned)
    return [name for name, record in weights.items() if are_random_weights(record)]


def _tuned_backbones(config: Mapping[str, Any], tuned: Sequence[str]) -> dict[str, str]:
    names = [f"{name} ({config['backbones'][name]['tuning']})" for name in tuned]
    return {"tuned_backbones": list_text(names)} if names else {}


def _dropped(data_report: Mapping[str, Any]) -> str:
    """Write how many chips were dropped, and for which kinds of problems."""
    kinds = [f"{count} × {kind.replace('_', ' ')}" for kind, count in data_report["problem_counts"].items()]
    return str(data_report["n_dropped"]) + (f" ({', '.join(kinds)})" if kinds else "")


def _left_out(counts: Mapping[str, int]) -> dict[str, str]:
    """Write how many files of other formats were left out; nothing without any."""
    files = ", ".join(f"{count} × {suffix}" for suffix, count in counts.items())
    return {"files that are no GeoTIFF, left out": files} if files else {}


def _scaling(groups: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Write the scale and offset tags of the chips, with the classes where chips differ; nothing without tags."""
    if all(group["scale"] == 1 and group["offset"] == 0 for group in groups):
        return {}
    parts = []
    for group in groups:
        classes = "" if len(groups) == 1 else f" (classes {', '.join(group['class_counts'])})"
        tags = f"scale {group['scale']}, offset {group['offset']}"
        parts.append(f"{tags}: {group['chips']} chips{classes}")
    return {"scale and offset tags, applied": "; ".join(parts)}


def _pixel_size(expected_m: float, sizes: Mapping[str, float] | None) -> str:
    """Write the side of a pixel on the ground, as configured and by the georeference of the chips."""
    if sizes is None:
        return f"{expected_m:g} m"
    found = f"{sizes['smallest_m']:.3g} to {sizes['largest_m']:.3g} m"
    return f"{expected_m:g} m; by the georeference of {sizes['chips']} chips {found}"


def _places(places: Mapping[str, Any]) -> str:
    """Write how many chips have a place, and what says so."""
    if not places["chips"]:
        return "none"
    source = {"columns": "columns of the labels table", "ids": "LUCAS ids", "files": "georeference of the files"}
    return f"{places['chips']} chips, by the {source[places['from']]}"


def _precision(setting: str, durations: pd.DataFrame) -> str:
    """Return the precision that was used; with `auto` it depends on the device (see `device.autocast`)."""
    return setting if setting != "auto" else f"{' and '.join(_precisions(setting, durations))} (auto)"


def _precisions(setting: str, durations: pd.DataFrame) -> list[str]:
    """Return each precision in which runs were trained."""
    if setting != "auto":
        return [setting]
    return sorted({"32" if device == "cpu" else "16-mixed" for device in durations["device"]})


def _mixtures(config: Mapping[str, Any], features: Sequence[Mapping[str, Any]], durations: pd.DataFrame) -> list[str]:
    """Write where what the report compares was computed on several devices or in several precisions."""
    lines = []
    counts = durations["device"].value_counts(sort=False)
    if len(counts) > 1:
        devices = list_text([f"{name} ({count} run{'s' if count > 1 else ''})" for name, count in counts.items()])
        precisions = _precisions(config["training"]["precision"], durations)
        several = f" and in several precisions ({' and '.join(precisions)})" if len(precisions) > 1 else ""
        lines.append(
            f"The runs were trained on several devices{several}: {devices}. A difference between settings may "
            "partly come from that; durations.csv names the device of each run."
        )
    of_libraries = durations["libraries"].value_counts(sort=False)
    if len(of_libraries) > 1:
        sets = "; ".join(f"{names}: {count_text(count, 'run')}" for names, count in of_libraries.items())
        lines.append(
            f"The runs were trained with several versions of libraries ({sets}). A difference between settings may "
            "partly come from that; durations.csv names those of each run."
        )
    of_passes: dict[str, list[str]] = {}
    for record in features:
        of_passes.setdefault(record["precision"], []).append(f"{record['backbone']} ({record['kind']})")
    if len(of_passes) > 1:
        passes = "; ".join(f"{precision}: {list_text(names)}" for precision, names in of_passes.items())
        lines.append(
            f"Features were computed in several precisions ({passes}): a part of a difference between backbones or "
            "decoders may come from that."
        )
    return lines


def _difference(entry: Mapping[str, str]) -> Difference:
    return entry["factor"], entry["a"], entry["b"]


def _whole_repetitions(seeds: Sequence[int], folds: int) -> bool:
    """Return whether the seeds cover all folds of each repetition that they start."""
    wanted = {repetition * folds + fold for repetition in {seed // folds for seed in seeds} for fold in range(folds)}
    return set(seeds) == wanted


def report_context(
    config: Mapping[str, Any],
    retrieval: Mapping[str, Any],
    data_report: Mapping[str, Any],
    features: Sequence[Mapping[str, Any]],
    tuned: Mapping[str, Mapping[str, Any]],
    durations: pd.DataFrame,
    registrations: list[dict[str, Any]],
    gallery: dict[str, Any] | None = None,
) -> ReportContext:
    """Collect the content of the report that is not in its tables.

    Args:
        config: the resolved configuration.
        retrieval: content of data/retrieval.json.
        data_report: content of data/report.json.
        features: content of features.json for each extracted array of features.
        tuned: name of each tuned backbone → content of its weights.json.
        durations: durations.csv.
        registrations: the entries of registration.json.
        gallery: content of gallery.json.
    """
    split = config["split"]
    of_strategy = {"kfold": ("folds",), "holdout": ("test_share", "validation_is_test")}[split["strategy"]]
    of_validation = () if split["validation_is_test"] else ("validation_share",)
    used = ("strategy", *of_strategy, *of_validation, "block_km", "random_state")
    commit, dirty = git_state(Path(__file__).parent)
    grid = config["grid"]
    stages = [
        {
            "stage": f"{record['kind']} features of {record['backbone']}",
            "seconds": record["seconds"],
            "jobs": len(record.get("parts", [record])),
        }
        for record in features
        if "same_pass_as" not in record
    ]
    stages.append({"stage": "training", "seconds": float(durations["seconds"].sum()), "jobs": len(durations)})
    return ReportContext(
        study=config["study"],
        title=config["title"],
        question=config["question"],
        notices=notices(config, retrieval, data_report, features, tuned, durations),
        dataset={
            "name": config["dataset"]["name"],
            "source": f"{retrieval['source']}: {retrieval['origin']}",
            "sha256": retrieval["sha256"] or data_report["data_fingerprint"],
            "n_chips": data_report["n_valid"],
            "dropped": _dropped(data_report),
            **_left_out(data_report["left_out"]),
            "chip size": f"{data_report['chip_size_px']} × {data_report['chip_size_px']} px",
            "pixel on the ground": _pixel_size(config["dataset"]["pixel_size_m"], data_report["pixel_sizes"]),
            "places": _places(data_report["places"]),
            "bands": ", ".join(data_report["bands"]),
            "unit": data_report["unit"],
            **_scaling(data_report["scaling"]),
            **({"please check": "; ".join(data_report["notices"])} if data_report["notices"] else {}),
        },
        splits={key: split[key] for key in used},
        training={
            **{key: config["training"][key] for key in ("learning_rate", "weight_decay", "batch_size", "epochs")},
            "optimiser": "AdamW",
            **_tuned_backbones(config, list(tuned)),
            "checkpoint": f"best validation {config['training']['monitor'].replace('_', ' ')}",
            "normalisation": config["normalisation"],
            "precision": _precision(config["training"]["precision"], durations),
            "device": ", ".join(durations["device"].unique()),
        },
        losses={name: config["losses"][name] for name in grid["losses"]},
        decoders={name: config["decoders"][name] for name in grid["decoders"]},
        config_yaml=yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True),
        versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        git_commit=commit,
        git_dirty=dirty,
        durations=stages,
        primary=config["report"]["primary"],
        contrasts=[difference_name(_difference(entry)) for entry in config["report"]["contrasts"]],
        interactions=[interaction_name(*map(_difference, pair)) for pair in config["report"]["interactions"]],
        select=config["select"],
        block_km=split["block_km"],
        simulated=bool(describe_simulated(retrieval, data_report)),
        random_weights=random_weights(features, tuned),
        chance_macro_accuracy=1.0 / len(config["dataset"]["classes"]),
        registrations=registrations,
        plan_changes=changes(registrations),
        gallery=gallery,
    )


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def changes(entries: list[dict[str, Any]]) -> list[str]:
    """Write a sentence for each plan that was recorded after results existed, with what it changed."""
    sentences = []
    for number, entry in enumerate(entries):
        if not entry["finished_runs"]:
            continue
        runs = f"{entry['finished_runs']} run{'s' if entry['finished_runs'] > 1 else ''}"
        if number == 0:
            sentences.append(f"The plan was first recorded on {entry['registered_at']}, when {runs} had results.")
            continue
        before, plan = entries[number - 1]["plan"], entry["plan"]
        names = [name for name in dict.fromkeys([*plan, *before]) if plan.get(name) != before.get(name)]
        if not names:  # numbers that are written in another way
            continue
        sentences.append(f"On {entry['registered_at']}, when {runs} had results, {list_text(names)} changed.")
    return sentences
