"""Measure the chips per second of each size of encoder beside the limit that its matrix products set, and its memory.

    PYTHONPATH=workflow/scripts python -m benchmarks.forward_limit [--models terramind_v1_base] [--device cpu]

The limit is the measured speed of one large matrix product of the device, divided by the operations of a chip: two for
each parameter and token, and in each layer the attention of all tokens to each other. Products of float32 count as the
limit of the precision 32, of bfloat16 as that of both 16-bit precisions. Chips lie in the memory of the device; weights
are random, which does not change the work. Each case has a process of its own, because the peak memory is that of a
process. The last column is what the job of a feature pass requests of the main memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from terralucas.backbones.encoder import build_backbone
from terralucas.backbones.sizes import DEPTH, PARAMETERS_M, WIDTH, model_size, tokens_per_side
from terralucas.data.discovery.lucas import ITALY_BANDS
from terralucas.device import autocast, peak_memory_mib, pick_device
from terralucas.study.job_limits import Workload, features_memory_mb

MODELS = tuple(f"terramind_v1_{size}" for size in WIDTH)
PRECISIONS = ("32", "16-mixed", "bf16-mixed")
# Side of the matrices of the limit: large enough for a GPU to be busy, and seconds on a CPU.
MATRIX = {"cuda": 8192, "cpu": 1024}


def operations(model: str, side_px: int) -> float:
    """Return the operations of a forward pass of one chip."""
    size, tokens = model_size(model), tokens_per_side(side_px) ** 2
    # The scores of all pairs of tokens, and the mean of the values: two products of (tokens, width) matrices.
    attention = 4 * tokens**2 * WIDTH[size] * DEPTH[size]
    return 2e6 * PARAMETERS_M[size] * tokens + attention


def median_seconds(work: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Return the median time of a function, after one call that warms up."""
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def operations_per_second(device: torch.device, precision: str) -> float:
    """Measure the speed of a product of two large square matrices."""
    side = MATRIX[device.type]
    matrix = torch.randn(side, side, device=device, dtype=torch.float32 if precision == "32" else torch.bfloat16)
    return 2 * side**3 / median_seconds(lambda: matrix @ matrix, device, 5)


@torch.inference_mode()
def measure(model: str, precision: str, batch: int, side_px: int, device: torch.device) -> dict[str, Any]:
    """Measure forward passes of one batch."""
    torch.set_num_threads(1)
    backbone = build_backbone(model, ITALY_BANDS, {"source": "random", "seed": 0})
    encoder = backbone.encoder.to(device)
    chips = torch.randn(batch, len(ITALY_BANDS), side_px, side_px, device=device)
    _, context = autocast(precision, device)

    def forward() -> None:
        with context():
            encoder(chips)

    seconds = median_seconds(forward, device, 10 if device.type == "cuda" else 2)
    limit = operations_per_second(device, precision) / operations(model, side_px)
    return {"chips_per_s": batch / seconds, "limit": limit, "peak_mib": peak_memory_mib(device)}


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS)
    parser.add_argument("--batches", type=int, nargs="+", default=(32, 128, 512))
    parser.add_argument("--side-px", type=int, default=224)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    device = pick_device(given.device)
    if given.case is not None:
        print(json.dumps(measure(*json.loads(given.case), given.side_px, device)))
        return
    name = torch.cuda.get_device_name() if device.type == "cuda" else "one CPU thread"
    print(f"{name}; chips of {given.side_px} px, random weights\n")
    print("| model | precision | batch | chips/s | limit, chips/s | share | peak memory, MiB | requested, MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for model in given.models:
        requested = features_memory_mb(Workload(model, 1994, given.side_px, "tokens"))
        for precision in given.precisions:
            for batch in given.batches:
                command = [sys.executable, "-m", "benchmarks.forward_limit", "--device", device.type]
                case = ["--side-px", str(given.side_px), "--case", json.dumps([model, precision, batch])]
                done = subprocess.run([*command, *case], stdout=subprocess.PIPE, text=True, check=False)
                if done.returncode:
                    print(f"| {model} | {precision} | {batch} | failed | | | | {requested:,} |", flush=True)
                    continue
                found = json.loads(done.stdout.splitlines()[-1])
                peak = ", ".join(f"{what} {mib:,.0f}" for what, mib in found["peak_mib"].items())
                speed, limit = found["chips_per_s"], found["limit"]
                print(
                    f"| {model} | {precision} | {batch} | {speed:,.1f} | {limit:,.1f} | {speed / limit:.0%} | {peak} "
                    f"| {requested:,} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
