"""Measure how time and memory grow with the number of chips: unpacking, index, split, training from the disk, joining.

    PYTHONPATH=workflow/scripts python -m benchmarks.chip_scale [--chips 2000 50000] [--indexed 500 1500 --side-px 224]

Chips are simulated: files of 32 px for unpacking and index, and random features for the rest. Each stage runs in a
process of its own. Where the seconds of the processor are far fewer than those of the clock, the stage waited for the
disk. The exponent is the slope of the logarithm of the seconds between the smallest and the largest number of chips;
from it, the last column has the seconds for 340,000 chips (LUCAS 2018 in the EU). Memory is what the process holds
itself, without pages of mapped files, which the system can take back. Tables and report: `report_scale --times`.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import multiprocessing
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report_scale import COUNTS, Study, chips_of, make_config

LUCAS_EU = 340_000
# Tokens of a chip of 64 px and the width of TerraMind tiny.
TOKENS, WIDTH = 16, 192
BATCH = 32


def unpack(folder: Path, chips: int, side_px: int) -> Callable[[], object]:
    """Unpack simulated chips."""
    from terralucas.data.retrieval import archives
    from terralucas.data.simulation.simulate import write_archive

    write_archive(folder / "chips.tar.gz", chips=chips, size_px=side_px, seed=1, progress=False)
    return lambda: archives.unpack(folder / "chips.tar.gz", folder / "chips", progress=False)


def index(folder: Path, chips: int, side_px: int) -> Callable[[], object]:
    """Open and check simulated chips."""
    from terralucas.data.dataset import DatasetSpec
    from terralucas.data.indexing.index import index_chips
    from terralucas.data.simulation.simulate import write_archive

    write_archive(folder / "chips.tar.gz", chips=chips, size_px=side_px, seed=1, progress=False)
    with tarfile.open(folder / "chips.tar.gz") as archive:
        archive.extractall(folder / "chips", filter="data")
    # Of thousands of simulated chips, the checks refuse one or another.
    dataset = make_config(80)["dataset"] | {"pixel_size_m": 30, "on_invalid": "drop"}
    spec = DatasetSpec.from_config(dataset)
    return lambda: index_chips(folder / "chips", spec, min_chips_per_class=5, threads=1, progress=False)


def _labels_and_blocks(chips: int) -> tuple[np.ndarray, np.ndarray]:
    from terralucas.data.splits import spatial_blocks

    table = chips_of(Study(make_config(80), math.ceil(chips / sum(COUNTS))))[:chips]
    blocks = spatial_blocks(table["easting_m"].to_numpy(), table["northing_m"].to_numpy(), 25.0)
    return np.random.default_rng(1).permutation(table["label"].to_numpy()), blocks


def _split(chips: int, in_blocks: bool) -> Callable[[], object]:
    from terralucas.data.splits import make_split

    config = make_config(80)
    labels, blocks = _labels_and_blocks(chips)
    names = [entry["name"] for entry in config["dataset"]["classes"]]
    return lambda: make_split(labels, blocks if in_blocks else None, config["split"], 0, names)


def split(folder: Path, chips: int) -> Callable[[], object]:
    """Split chips one by one, for one seed."""
    return _split(chips, False)


def split_blocks(folder: Path, chips: int) -> Callable[[], object]:
    """Split blocks of 25 km, for one seed."""
    return _split(chips, True)


def _write_features(path: Path, chips: int) -> dict[str, Any]:
    from terralucas.arrays import ArrayWriter
    from terralucas.files import sha256_of_file

    random = np.random.default_rng(0)
    with ArrayWriter(path, chips) as writer:
        for start in range(0, chips, 1000):
            writer.append(random.standard_normal((min(1000, chips - start), TOKENS, WIDTH), dtype=np.float32))
    record = {"kind": "tokens", "shape": [chips, TOKENS, WIDTH], "sha256": sha256_of_file(path)}
    record |= {"device": "cpu", "seconds": 1.0, "chips_per_second": 1.0, "peak_memory_mib": {"cpu": 1.0}}
    path.with_suffix(".json").write_text(json.dumps(record), encoding="utf-8")
    return record


def train(folder: Path, chips: int) -> Callable[[], object]:
    """Train an MLP on memory-mapped tokens for one epoch, and validate it."""
    import torch

    from terralucas.arrays import open_checked_array
    from terralucas.training.decoders import DecoderModel
    from terralucas.training.frozen_loop import TrainingData
    from terralucas.training.frozen_loop import train as train_frozen
    from terralucas.training.losses import build_loss
    from terralucas.training.progress import TrainingOptions
    from terralucas.training.resume import ResumeFile

    torch.set_num_threads(1)
    path = folder / "tokens.npy"
    _write_features(path, chips)
    labels = torch.from_numpy(np.random.default_rng(0).permutation(np.arange(chips) % len(COUNTS)))
    rows = np.random.default_rng(1).permutation(chips)
    model = DecoderModel(make_config(80)["decoders"]["mlp"], WIDTH, len(COUNTS))
    loss = build_loss(make_config(80)["losses"]["weighted_ce"], np.ones(len(COUNTS)), torch.device("cpu"))
    options = TrainingOptions(1e-4, 0.05, BATCH, 1, False, "macro_accuracy", "32")

    def epoch() -> None:
        array, _ = open_checked_array(path, path.with_suffix(".json"), chips)
        data = TrainingData(torch.from_numpy(array), labels, rows[: chips * 4 // 5], rows[chips * 4 // 5 :])
        train_frozen(model, loss, data, options, 0, ResumeFile(folder / "resume.ckpt", "benchmark", 1e9))

    return epoch


def join(folder: Path, chips: int) -> Callable[[], object]:
    """Join the tokens of a pass in eight parts."""
    from terralucas.backbones.joined_features import join_features
    from terralucas.parts import part_of

    parts = []
    for part in range(8):
        array = folder / f"{part}.npy"
        _write_features(array, len(part_of(chips, BATCH, part, 8)))
        parts.append((array, array.with_suffix(".json")))
    return lambda: join_features(parts, folder / "tokens.npy")


FILES, STAGES = (unpack, index), (split, split_blocks, train, join)


class _PeakMemory:
    """The most anonymous memory of this process while it is entered, looked at every 20 ms, in MiB."""

    def __enter__(self) -> _PeakMemory:
        self.mib, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            status = Path("/proc/self/status").read_text(encoding="utf-8")
            self.mib = max(self.mib, int(status.split("RssAnon:")[1].split()[0]) / 1024)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def _measure(stage: Callable[[Path, int], Callable[[], object]], chips: int, answers: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = stage(Path(folder), chips)
        with _PeakMemory() as peak:
            started, used = time.perf_counter(), time.process_time()
            work()
            seconds, of_processor = time.perf_counter() - started, time.process_time() - used
    answers.put((seconds, of_processor, peak.mib))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, nargs="+", default=[2000, 10_000, 50_000])
    parser.add_argument("--indexed", type=int, nargs="+", default=[1000, 4000])
    parser.add_argument("--side-px", type=int, default=32)
    given = parser.parse_args()
    processes = multiprocessing.get_context("spawn")
    columns = ["stage", "chips", "seconds", "of the processor", "MiB", "exponent", "seconds for 340,000"]
    print("| " + " | ".join(columns) + " |\n" + "| --- " * len(columns) + "|")
    of_files = [(stage, functools.partial(stage, side_px=given.side_px), sorted(given.indexed)) for stage in FILES]
    for named, stage, numbers in (*of_files, *((stage, stage, sorted(given.chips)) for stage in STAGES)):
        taken: list[float] = []
        for chips in numbers:
            answers = processes.SimpleQueue()
            process = processes.Process(target=_measure, args=(stage, chips, answers))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"{named.__name__} failed")
            seconds, of_processor, mib = answers.get()
            taken.append(seconds)
            fit = ""
            if chips == numbers[-1] and len(numbers) > 1:
                exponent = math.log(taken[-1] / taken[0]) / math.log(numbers[-1] / numbers[0])
                fit = f"{exponent:.2f} | {taken[-1] * (LUCAS_EU / chips) ** max(1.0, exponent):.0f}"
            cells = [named.__name__, f"{chips:,}", f"{seconds:.1f}", f"{of_processor:.1f}", f"{mib:.0f}", fit or " | "]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
