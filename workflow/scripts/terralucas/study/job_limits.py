"""Compute the memory (MB) and the time limit (minutes) that a job requests, from the amount of work.

The results are limits and not predictions. A job that requests too little is killed and starts again with more. A job
that requests far too much waits longer in the queue.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from terralucas.backbones.feature_kinds import is_pooled, layers_of
from terralucas.backbones.sizes import DEPTH, PARAMETERS_M, WIDTH, model_size, tokens_per_side
from terralucas.errors import StudyError

# Operations per second. For a core: a third of the measured speed of float32 matrix products on a recent server
# (60 × 10⁹). For a GPU: less than a tenth of the speed in data sheets for 16-bit arithmetic (not measured).
_CORE_SPEED, _GPU_SPEED = 20e9, 1e12
# Time of a training step without its operations. A step of the smallest head takes 0.5 ms on a CPU; on a GPU, starting
# its kernels takes several milliseconds.
_STEP_S = 0.005
# Memory of a process with PyTorch, and on a GPU with its CUDA context, without data.
_PROCESS_MB = 3000
# Most memory that a run requests for features; those of larger studies stay on the disk.
_MOST_FEATURES_MB = 32_000


# Number of chips and their side in pixels in LUCAS Italy, used before the chips of a study are indexed.
_LUCAS_ITALY_SIZE = (1994, 224)


def dataset_size(index: Path) -> tuple[int, int]:
    """Return the number of chips in an index and their side in pixels; without an index, those of LUCAS Italy.

    Raises:
        StudyError: the index cannot be read.
    """
    return _read_size(index, index.stat().st_mtime_ns) if index.is_file() else _LUCAS_ITALY_SIZE


@lru_cache
def _read_size(index: Path, _state: int) -> tuple[int, int]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        heights = ParquetFile(index).read(columns=["height"])["height"]
        return len(heights), heights[0].as_py()
    except (ArrowException, IndexError) as error:
        raise StudyError(
            f"The index of the chips {index} cannot be read.",
            found=str(error).splitlines()[0],
            expected="the file that the study wrote",
            remedy="delete it and start the study again; the chips are read again, and finished runs are kept",
        ) from error


@dataclass(frozen=True)
class Workload:
    """The amount of data of a study for one backbone.

    Attributes:
        model: name of the model, e.g. terramind_v1_base.
        chips: number of chips.
        side_px: height and width of a chip in pixels.
        kind: kind of features; see `terralucas.backbones.feature_kinds`.
        bytes_per_number: of stored features.
    """

    model: str
    chips: int
    side_px: int
    kind: str
    bytes_per_number: int = 4

    @property
    def size(self) -> str:
        """Size of the model: tiny, small, base or large."""
        return model_size(self.model)

    @property
    def tokens(self) -> int:
        """Number of tokens of a chip."""
        return tokens_per_side(self.side_px) ** 2

    @property
    def vectors(self) -> int:
        """Number of vectors that a decoder reads for each chip."""
        return 1 if is_pooled(self.kind) else self.tokens

    @property
    def width(self) -> int:
        """Length of a vector."""
        return WIDTH[self.size] * max(1, len(layers_of(self.kind)))

    @property
    def features_mb(self) -> float:
        """Size of the stored features in MB."""
        return self.chips * self.vectors * self.width * self.bytes_per_number / 1e6


def features_memory_mb(work: Workload) -> int:
    """Return the memory of a feature pass in MB.

    The encoder is in memory twice while its weights are read. Features are written to disk immediately.
    """
    return _PROCESS_MB + 2 * 4 * PARAMETERS_M[work.size]


def features_minutes(work: Workload, threads: int, gpus: int) -> int:
    """Return the time limit of a feature pass in minutes: imports, and two operations for each parameter and token."""
    operations = 2e6 * PARAMETERS_M[work.size] * work.tokens * work.chips
    return math.ceil(10 + operations / (_GPU_SPEED if gpus else _CORE_SPEED * threads) / 60)


def explanation_passes(
    models: int, n_chips: int, side_px: int, n_bands: int, n_classes: int, chips: int, permutations: int
) -> int:
    """Return the largest number of chips that pass through the selected models to explain them.

    Each model predicts its test chips unchanged, and in each permutation with each band and group of bands. Of three
    chips a class, squares are hidden at every eighth row and column, at most at 32 × 32 places.

    Args:
        models: number of models.
        n_chips: number of chips of the study.
        side_px: height and width of a chip in pixels.
        n_bands: number of bands, which are in at most four groups.
        n_classes: number of classes.
        chips: most test chips of a model that are predicted.
        permutations: number of permutations.
    """
    return models * (
        min(chips, n_chips) * (1 + permutations * (n_bands + 4)) + 3 * n_classes * min(side_px // 8, 32) ** 2
    )


def training_memory_mb(work: Workload) -> int:
    """Return the memory of a run in MB: the features, parts of which are copied.

    They are memory-mapped, so that those of many chips need not be in memory: what does not fit is read from the disk
    in each epoch.
    """
    return math.ceil(_PROCESS_MB + min(2 * work.features_mb, _MOST_FEATURES_MB))


def training_minutes(work: Workload, epochs: int, batch_size: int, gpus: int) -> int:
    """Return the time limit of a run in minutes.

    Each step takes a constant time and, for an MLP, six operations for each weight and vector.
    """
    per_step = _STEP_S
    if not is_pooled(work.kind):
        per_step += 6 * batch_size * work.vectors * work.width**2 / (_GPU_SPEED if gpus else _CORE_SPEED)
    return math.ceil(3 + epochs * math.ceil(work.chips / batch_size) * per_step / 60)


def tuning_memory_mb(work: Workload, tuning: str, batch_size: int, gpus: int) -> int:
    """Return the memory of a tuned run in MB.

    It includes sixteen copies of the trained weights: weights, gradients and the two moments of AdamW; weights and
    moments of the last epoch; the best weights; and twice what is saved of them. On a CPU, it includes the activations
    of a batch. Chips are memory-mapped and need not be in memory.
    """
    weights_mb = 4 * PARAMETERS_M[work.size]
    # Adapters have a few per cent of the number of weights of the encoder.
    trained_mb = weights_mb if tuning == "full" else 0.1 * weights_mb
    # For the gradients, a block stores about 20 vectors of each token (the hidden layer counts four times), and the
    # attention to all other tokens.
    vectors = 20 * WIDTH[work.size] + 2 * work.tokens * WIDTH[work.size] / 64
    activations_mb = 0 if gpus else 4 * vectors * work.tokens * batch_size * DEPTH[work.size] / 1e6
    return math.ceil(_PROCESS_MB + 2 * weights_mb + 16 * trained_mb + activations_mb)


def tuning_threads(training: Mapping[str, Any]) -> int:
    """Return the number of processors of a tuned run: its threads, and one for each process that reads chips.

    Args:
        training: the section `training` of a resolved configuration.
    """
    return training["threads"] + training["end_to_end"]["workers"]


def tuning_minutes(work: Workload, tuning: str, batch_size: int, epochs: int, threads: int, gpus: int) -> int:
    """Return the time limit of a tuned run in minutes.

    It includes the imports and, in each epoch, eight operations for each parameter and token: two for the forward pass,
    four for the backward pass, and two for validation. LoRA needs only slightly less, because gradients pass through
    the complete encoder.
    """
    operations = epochs * 8e6 * PARAMETERS_M[work.size] * work.tokens * work.chips
    start_s = epochs * math.ceil(work.chips / batch_size) * 10 * _STEP_S
    return math.ceil(10 + (operations / (5 * _GPU_SPEED if gpus else _CORE_SPEED * threads) + start_s) / 60)
