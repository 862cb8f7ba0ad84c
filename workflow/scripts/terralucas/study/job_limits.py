"""What a job asks a cluster for, from the work it does: memory in MB, time limits in minutes.

Limits, not predictions: a job that asks for too little is killed and starts again with more, one that asks for far too
much waits longer in the queue.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from terralucas.backbones.feature_kinds import is_pooled, layers_of
from terralucas.backbones.sizes import DEPTH, PARAMETERS_M, WIDTH, tokens_of
from terralucas.backbones.sizes import size_of as size_of_model

# Operations per second. A third of what a core of a recent server does in float32 matrix products (measured: 60 × 10⁹),
# and less than a tenth of what data sheets promise of any GPU with 16-bit arithmetic (not measured).
_CORE, _GPU = 20e9, 1e12
# A step of the smallest head takes half a millisecond on a CPU; starting its kernels on a GPU takes several.
_STEP_S = 0.005
# A process with PyTorch, and on a GPU with its CUDA context, before it holds any data.
_PROCESS_MB = 3000


# LUCAS Italy, for a study whose chips are not indexed yet.
_USUAL = (1994, 224)


def size_of(index: Path) -> tuple[int, int]:
    """Number of chips in an index and their side in pixels; those of LUCAS Italy while there is no index."""
    return _read_size(index, index.stat().st_mtime_ns) if index.is_file() else _USUAL


@lru_cache
def _read_size(index: Path, _state: int) -> tuple[int, int]:
    from pyarrow.parquet import ParquetFile

    heights = ParquetFile(index).read(columns=["height"])["height"]
    return len(heights), heights[0].as_py()


@dataclass(frozen=True)
class Workload:
    """Size of a study's data for one backbone.

    Attributes:
        model: name of the model, e.g. terramind_v1_base.
        chips: number of chips.
        side_px: their height and width.
        kind: of features; see `terralucas.backbones.feature_kinds`.
    """

    model: str
    chips: int
    side_px: int
    kind: str

    @property
    def size(self) -> str:
        """tiny, small, base or large."""
        return size_of_model(self.model)

    @property
    def tokens(self) -> int:
        """Tokens of a chip."""
        return tokens_of(self.side_px) ** 2

    @property
    def vectors(self) -> int:
        """Vectors a decoder reads for each chip."""
        return 1 if is_pooled(self.kind) else self.tokens

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return WIDTH[self.size] * max(1, len(layers_of(self.kind)))

    @property
    def features_mb(self) -> float:
        """Size of the features, float32."""
        return self.chips * self.vectors * self.width * 4 / 1e6


def features_memory_mb(work: Workload) -> int:
    """Memory of a feature pass: the encoder, twice while its weights are read; rows go to disk as they are made."""
    return _PROCESS_MB + 2 * 4 * PARAMETERS_M[work.size]


def features_minutes(work: Workload, threads: int, gpus: int) -> int:
    """Time limit of a feature pass: two operations for each parameter and token; and its imports."""
    operations = 2e6 * PARAMETERS_M[work.size] * work.tokens * work.chips
    return math.ceil(10 + operations / (_GPU if gpus else _CORE * threads) / 60)


def training_memory_mb(work: Workload) -> int:
    """Memory of a run: the features, of which parts are copied."""
    return math.ceil(_PROCESS_MB + 2 * work.features_mb)


def training_minutes(work: Workload, epochs: int, batch_size: int, gpus: int) -> int:
    """Time limit of a run: each step costs its start and, for an MLP, six operations for each weight and vector."""
    per_step = _STEP_S
    if not is_pooled(work.kind):
        per_step += 6 * batch_size * work.vectors * work.width**2 / (_GPU if gpus else _CORE)
    return math.ceil(3 + epochs * math.ceil(work.chips / batch_size) * per_step / 60)


def tuning_memory_mb(work: Workload, tuning: str, batch_size: int, gpus: int) -> int:
    """Memory of a tuned run: weights, gradients and moments; what is saved of them; on a CPU a batch's activations too.

    Sixteen copies of what is trained: weights, gradients and AdamW's two moments, the last epoch's weights and moments,
    the best weights, and twice what is saved of them. Chips are mapped from disk and need not be in memory.
    """
    weights_mb = 4 * PARAMETERS_M[work.size]
    # Adapters are a few per cent of the weights they stand beside.
    trained_mb = weights_mb if tuning == "full" else 0.1 * weights_mb
    # Of each token a block keeps some 20 vectors for the gradients (four times as wide in its hidden layer), and its
    # attention to all others.
    vectors = 20 * WIDTH[work.size] + 2 * work.tokens * WIDTH[work.size] / 64
    activations_mb = 0 if gpus else 4 * vectors * work.tokens * batch_size * DEPTH[work.size] / 1e6
    return math.ceil(_PROCESS_MB + 2 * weights_mb + 16 * trained_mb + activations_mb)


def tuning_threads(training: Mapping[str, Any]) -> int:
    """Processors of a tuned run: its own threads, and one for each process that reads chips ahead.

    Args:
        training: that section of a resolved configuration.
    """
    return training["threads"] + training["end_to_end"]["workers"]


def tuning_minutes(work: Workload, tuning: str, batch_size: int, epochs: int, threads: int, gpus: int) -> int:
    """Time limit of a tuned run: its imports, and in each epoch eight operations for each parameter and token.

    Two forwards, four backwards (of LoRA little less, for gradients go through the whole encoder all the same), and
    validation.
    """
    operations = epochs * 8e6 * PARAMETERS_M[work.size] * work.tokens * work.chips
    start_s = epochs * math.ceil(work.chips / batch_size) * 10 * _STEP_S
    return math.ceil(10 + (operations / (5 * _GPU if gpus else _CORE * threads) + start_s) / 60)
