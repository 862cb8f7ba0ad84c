"""Measure the peak memory of feature extraction for several numbers of chips; it should not grow with the number.

Each extraction runs in its own process, writes the tokens of simulated 64-pixel chips, and reports its peak resident
set size.

    make bench
"""

import hashlib
import multiprocessing
import tempfile
from pathlib import Path

import numpy as np

NUMBERS = (400, 1600, 6400)
SHAPE = (6, 64, 64)
BANDS = ["RED", "GREEN", "BLUE", "NIR_BROAD", "SWIR_1", "SWIR_2"]


def read(path: Path, sha256: str) -> np.ndarray:
    """Make a chip from the bytes of its file."""
    from terralucas.data.chips.chip_content import read_unchanged

    return np.frombuffer(read_unchanged(path, sha256).data, np.float32).reshape(SHAPE)


def measure(number: int, folder: str, answers: multiprocessing.SimpleQueue) -> None:
    """Extract features, and put (size of the array in MiB, peak memory in MiB) into the queue."""
    from terralucas.backbones.encoder import build_backbone
    from terralucas.backbones.features import ChipDataset, FeatureOptions, extract
    from terralucas.data.normalisation import Normaliser

    data = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32).tobytes()
    (Path(folder) / "chip").write_bytes(data)
    sums = [hashlib.sha256(data).hexdigest()] * number
    unit = Normaliser("dataset", np.zeros(6), np.ones(6), np.zeros(6))
    dataset = ChipDataset(Path(folder), ["chip"] * number, sums, read, unit)
    backbone = build_backbone("terramind_v1_tiny", BANDS, {"source": "random", "seed": 0})
    options = FeatureOptions(batch_size=32, workers=1, threads=2, precision="32", device="cpu")
    done = extract(backbone, dataset, options, {"tokens": Path(folder) / "tokens.npy"})["tokens"]
    answers.put((4 * np.prod(done["shape"]) / 2**20, done["peak_memory_mib"]["cpu"]))


def main() -> None:
    """Print the table."""
    print(f"{'chips':>6}{'array MiB':>11}{'peak MiB':>10}")
    context = multiprocessing.get_context("spawn")
    for number in NUMBERS:
        with tempfile.TemporaryDirectory() as folder:
            answers = context.SimpleQueue()
            process = context.Process(target=measure, args=(number, folder, answers))
            process.start()
            process.join()
            array, peak = answers.get()
        print(f"{number:>6}{array:>11.1f}{peak:>10.0f}")


if __name__ == "__main__":
    main()
