"""Predict the classes of new chips, in parts that can be computed anywhere and in any order.

Chips are passed through the models in batches. Which chips are in a batch depends on the plan alone and not on the
number of parts, so that any number of parts gives the same bytes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import compress
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from terralucas.device import autocast, pick_device
from terralucas.errors import StudyError
from terralucas.files import atomic_path
from terralucas.predict.chip_batches import ChipBatch, read_chip_batches
from terralucas.predict.conformal import in_sets, p_values, softmax
from terralucas.predict.ensemble import Ensemble
from terralucas.predict.new_chips import NewChip
from terralucas.predict.options import PredictOptions
from terralucas.predict.plan import FINGERPRINT, Plan, chips_of_part
from terralucas.predict.selected import Selected
from terralucas.processors import count_processors

logger = logging.getLogger(__name__)


class Predictor:
    """The selected models, ready to predict.

    Args:
        selected: the selected models.
        options: options of the prediction.
        threads: threads of PyTorch, and the number of processes that read chips, or of threads that read windows.
    """

    def __init__(self, selected: Selected, options: PredictOptions, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        self.selected, self.options, self.threads = selected, options, threads
        self.coverage = options.coverage_of(selected.record)
        self.reader = replace(selected.reader, spec=options.checked_by(selected.spec))

    @cached_property
    def ensemble(self) -> Ensemble:
        """The models, loaded when the first chip is predicted: a part without chips needs none."""
        device = pick_device(self.options.device)
        return Ensemble(self.selected.models, device, autocast(self.options.precision, device)[1])

    @property
    def _takes_all_processors(self) -> bool:
        """Whether the models leave no processor for reading; what reads beside them makes their threads wait."""
        return pick_device(self.options.device).type == "cpu" and self.threads >= count_processors()

    def predict(self, chips: np.ndarray) -> dict[str, np.ndarray]:
        """Predict chips (n, bands, side, side) of reflectance.

        Returns:
            Arrays by name: logits (J, n, K) of the models, probabilities (n, K), label (n,), entropy (n,) in nats,
            dissimilarity (n,), in_set (n, K).
        """
        logits, features = self.ensemble.predict(chips)
        if not np.isfinite(logits).all():
            raise StudyError(
                "The predictions are not finite.",
                found="NaN or infinity",
                expected="finite numbers",
                remedy="predict with the precision 32",
            )
        members = softmax(logits)
        probabilities = members.mean(axis=0)
        held_out = self.selected.held_out
        return {
            "logits": logits,
            "probabilities": probabilities,
            "label": probabilities.argmax(axis=1),
            "entropy": -(probabilities * np.log(np.maximum(probabilities, 1e-300))).sum(axis=1),
            "dissimilarity": held_out.dissimilarity(features),
            "in_set": in_sets(p_values(held_out.calibration, members), self.coverage),
        }

    def predict_files(self, chips: Sequence[NewChip], progress: bool) -> pa.Table:
        """Read and predict chips; a chip that cannot be used gets a row with its problem.

        Returns:
            Table with the columns of `columns`, in the order of the chips.
        """
        tables = [self._table([], ChipBatch([], np.zeros(0, dtype=bool), None), {})]
        size, done = self.options.batch_size, 0
        started = time.monotonic()
        with tqdm(total=len(chips), unit="chip", desc="Predicting", disable=not progress) as bar:
            for batch in read_chip_batches(self.reader, chips, size, self.threads, in_turn=self._takes_all_processors):
                results = {} if batch.values is None else self.predict(batch.values)
                tables.append(self._table(chips[done : done + len(batch.chips)], batch, results))
                done += len(batch.chips)
                bar.update(len(batch.chips))
        if chips:
            logger.info("%.1f chips/s", len(chips) / (time.monotonic() - started))
        return pa.concat_tables(tables).combine_chunks()

    def _table(self, chips: Sequence[NewChip], batch: ChipBatch, results: Mapping[str, np.ndarray]) -> pa.Table:
        spec, usable, read = self.selected.spec, batch.is_usable, batch.chips
        place = np.where(usable, np.cumsum(usable) - 1, -1)

        def column(name: str, kind: pa.DataType, of: Callable[[Any], Any] | None = None) -> pa.Array:
            """Return a column of predictions, null where a chip could not be used."""
            values = [results[name][row] if row >= 0 else None for row in place]
            return pa.array([value if value is None or of is None else of(value) for value in values], kind)

        codes, threshold = [entry.code for entry in spec.classes], self.selected.held_out.threshold
        columns = {
            "id": pa.array([chip.id for chip in chips], pa.string()),
            "path": pa.array([chip.path for chip in chips], pa.string()),
            "class_code": column("label", pa.string(), lambda label: codes[label]),
            "class_name": column("label", pa.string(), lambda label: spec.classes[label].name),
            **{
                f"probability_{code}": column("probabilities", pa.float32(), itemgetter(number))
                for number, code in enumerate(codes)
            },
            "entropy": column("entropy", pa.float32()),
            "dissimilarity": column("dissimilarity", pa.float32()),
            "unlike_training": column("dissimilarity", pa.bool_(), lambda value: bool(value > threshold)),
            "conformal_set": column("in_set", pa.list_(pa.string()), lambda row: list(compress(codes, row))),
            "longitude": pa.array([each.place and each.place[0] for each in read], pa.float64()),
            "latitude": pa.array([each.place and each.place[1] for each in read], pa.float64()),
            "problem_kind": pa.array([each.problem and each.problem.kind for each in read], pa.string()),
            "problem": pa.array([each.problem and each.problem.problem for each in read], pa.string()),
        }
        return pa.table(columns)


def predict_part(
    plan: Plan,
    predictor: Predictor,
    part: int,
    parts: int,
    path: Path,
    require_unchanged: Callable[[], None],
    *,
    progress: bool = True,
) -> None:
    """Predict a part of the chips, and write it to a Parquet file.

    Args:
        plan: the plan of the prediction.
        predictor: of the selected models.
        part: number of the part, from 0.
        parts: how many parts there are.
        path: file to write.
        require_unchanged: raises an error if chips were changed since the plan was made; nothing is written then.
        progress: whether a progress bar is shown.
    """
    table = predictor.predict_files(chips_of_part(plan, part, parts), progress)
    require_unchanged()
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata({FINGERPRINT: plan.fingerprint}), temporary)
