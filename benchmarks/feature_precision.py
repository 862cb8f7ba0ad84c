"""Measure what the precision of a feature pass and of stored features changes: logits and scores of runs.

The same small study (400 simulated chips, a backbone with random weights, two decoders, two seeds) is done with each
setting. Compared are all logits of validation and test chips, and the accuracies, with those of float32.

    python -m benchmarks.feature_precision
"""

import tempfile
from pathlib import Path

import numpy as np

from helpers.project import Project
from helpers.tiny_study import TINY
from terralucas.predictions import read_predictions

SETTINGS = {
    "float32": {},
    "stored in float16": {"storage": "float16"},
    "computed in bf16-mixed": {"precision": "bf16-mixed"},
    "both": {"storage": "float16", "precision": "bf16-mixed"},
}
DECODERS = ("identity", "mlp")
EPOCHS = 50


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="precision-") as folder:
        project = Project(Path(folder) / "project")
        for number, features in enumerate(SETTINGS.values()):
            study = TINY | {
                "study": f"study-{number}",
                "features": features,
                "grid": TINY["grid"] | {"decoders": list(DECODERS)},
                "training": TINY["training"] | {"epochs": EPOCHS},
            }
            config = project.write_config(study, f"study-{number}")
            project.snakemake("--cores", 2, "--configfile", config, "--until", "train_run")
        results = project.folder / "results"
        print("| features | bytes | decoder | logits: mean difference | largest | points of micro | of macro |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for number, name in enumerate(SETTINGS):
            size = sum(path.stat().st_size for path in (results / f"study-{number}").rglob("features/**/*.npy"))
            for decoder in DECODERS:
                print(f"| {name} | {size:,} | {decoder} | {compare(results, number, decoder)} |", flush=True)


def compare(results: Path, number: int, decoder: str) -> str:
    """Return the differences of a study from the first one, as cells of a table; accuracies are means over seeds."""
    logits, scores = [], []
    for seed in TINY["grid"]["seeds"]:
        run = Path("runs", "tiny", "weighted_ce", decoder, f"seed-{seed}", "predictions.parquet")
        first, other = (read_predictions(results / f"study-{study}" / run) for study in (0, number))
        logits.append(np.abs(other.logits - first.logits))
        one, two = (table.accuracies("test") for table in (first, other))
        scores.append([100 * (two[key] - one[key]) for key in ("micro_accuracy", "macro_accuracy")])
    differences, points = np.concatenate(logits), np.mean(scores, axis=0)
    cells = [f"{differences.mean():.1e}", f"{differences.max():.1e}", *(f"{point:+.2f}" for point in points)]
    return " | ".join(cells)


if __name__ == "__main__":
    main()
