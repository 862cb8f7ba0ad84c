"""Compare predictions of new chips with the bare forward pass of the same models on chips in memory.

    PYTHONPATH=workflow/scripts python -m benchmarks.prediction_speed --study results/demo --chips FOLDER

All use the same batches. The bare pass computes encoder and decoders on normalised tensors; the prediction also reads
and checks the files, normalises, and computes probabilities, sets and distances. The prediction of chips in memory does
the same without reading: it is what remains where enough cores read. They take turns; the ratio is the median over the
rounds, so that other load on the machine affects all equally.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from terralucas.predict.ensemble import decode
from terralucas.predict.options import PredictOptions
from terralucas.predict.plan import make_plan
from terralucas.predict.predictor import Predictor
from terralucas.predict.selected import load_selected

GOAL = 0.9


@torch.inference_mode()
def bare_seconds(predictor: Predictor, batches: list[list[torch.Tensor]]) -> float:
    """Measure the forward pass of each group of models on its normalised batches."""
    started = time.perf_counter()
    for group, own in zip(predictor.ensemble.groups, batches, strict=True):
        for batch in own:
            outputs = group.encoder(batch)
            for model in group.models:
                decode(model, outputs)
    if predictor.ensemble.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def in_memory_seconds(predictor: Predictor, chips: np.ndarray) -> float:
    """Measure the prediction of chips (n, bands, side, side) that are read already."""
    started, size = time.perf_counter(), predictor.options.batch_size
    for start in range(0, len(chips), size):
        predictor.predict(chips[start : start + size])
    return time.perf_counter() - started


def main() -> None:
    """Measure, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--chips", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    selected = load_selected(options.study)
    with tempfile.TemporaryDirectory() as temporary:
        plan = make_plan(options.chips, selected, PredictOptions(), Path(temporary, "plan.json"))
        predictor = Predictor(selected, plan.options, options.threads)
        chips = np.stack([predictor.reader(chip).values for chip in plan.chips])
        size, device = plan.options.batch_size, predictor.ensemble.device
        batches = [
            [
                torch.from_numpy(group.normaliser(chips[start : start + size])).to(device)
                for start in range(0, len(chips), size)
            ]
            for group in predictor.ensemble.groups
        ]
        ratios: dict[str, list[float]] = {"files": [], "memory": []}
        for _ in range(options.rounds):
            bare = bare_seconds(predictor, batches)
            started = time.perf_counter()
            predictor.predict_files(plan.chips, progress=False)
            whole = time.perf_counter() - started
            read = in_memory_seconds(predictor, chips)
            for name, seconds in (("files", whole), ("memory", read)):
                ratios[name].append(bare / seconds)
            speeds = [f"{len(chips) / seconds:.1f}" for seconds in (bare, whole, read)]
            print("chips/s: {} bare, {} predicted from files, {} from memory".format(*speeds))
    for name, found in ratios.items():
        print(f"{statistics.median(found):.2f} of the bare forward pass from {name} (goal {GOAL})")


if __name__ == "__main__":
    main()
