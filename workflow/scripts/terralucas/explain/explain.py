"""Examine all selected models of a study, each on its own test chips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from terralucas.device import autocast, pick_device
from terralucas.errors import StudyError
from terralucas.evidence.gallery import make_gallery, mean_predictions
from terralucas.explain.importance import Read, Sampling, count_passes, permutation_importance, summarise
from terralucas.explain.occlusion import occlusion_loss, window_places, window_side
from terralucas.names import seed_of
from terralucas.predict.ensemble import Ensemble
from terralucas.predict.selected import RETRAIN, Selected
from terralucas.statistics.run_predictions import Part
from terralucas.tables.tidy_csv import tidy_table
from terralucas.tables.vocabulary import RECIPE

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Explanation:
    """What the predictions of the selected models rest on.

    Attributes:
        by_seed: rows of `importance.permutation_importance`.
        importance: `importance.summarise` of them.
        occlusion: content of occlusion.json.
    """

    by_seed: pd.DataFrame
    importance: pd.DataFrame
    occlusion: dict[str, Any]


def require_test_chips(method: str) -> None:
    """Check that the selected models have test chips.

    Args:
        method: `select.models` of the configuration, or `method` of a selection.

    Raises:
        StudyError: the model is trained on all chips.
    """
    if method == RETRAIN:
        raise StudyError(
            "What mattered can only be computed with models that have test chips.",
            found="one model that is trained on all chips (select.models: retrain)",
            expected="the models of the study's runs",
            remedy="set select.models to ensemble, and explain these: both use the same recipe",
        )


def explain(
    selected: Selected,
    tests: Mapping[int, Part],
    point_ids: Sequence[str],
    read: Read,
    filling: np.ndarray,
    sampling: Sampling,
    precision: str,
    device: str,
) -> Explanation:
    """Compute the permutation importance of bands, and occlude places in some chips.

    Args:
        selected: the selected models.
        tests: seed → predictions of the study for the test chips of its model, without temperatures.
        point_ids: id of each chip of the index.
        read: reads the reflectance (bands, side, side) of the chip in a row of the index.
        filling: (bands,) mean reflectance of all chips.
        sampling: number of chips and permutations.
        precision: precision of the forward pass.
        device: `auto`, `cpu` or `cuda`.
    """
    tests = _scale(tests, selected)
    torch.set_num_threads(sampling.threads)
    where = pick_device(device)
    _, context = autocast(precision, where)
    bands, n_classes = selected.spec.bands, len(selected.class_codes)
    recipe = [str(selected.record["recipe"][name]) for name in RECIPE]
    gallery = make_gallery(mean_predictions(list(tests.values()), n_classes), point_ids, read, bands, n_classes, recipe)
    shown = _shown_chips(gallery)
    rows = {point_id: row for row, point_id in enumerate(point_ids)}
    falls: dict[str, list[np.ndarray]] = {place: [] for place in shown}
    by_seed: list[dict[str, Any]] = []
    with tqdm(total=_count_all(selected, tests, shown, rows, gallery, sampling), unit="chip", desc="Explaining") as bar:
        for folder in selected.models:
            seed = seed_of(folder.name)
            test, predict = tests[seed], _predictor(Ensemble([folder], where, context))
            by_seed += permutation_importance(predict, read, test, bands, seed, sampling, bar.update)
            for place in shown:
                row = rows[gallery["chips"][place]["id"]]
                if row in test.chips:
                    label = gallery["chips"][place]["predicted"]
                    falls[place].append(
                        occlusion_loss(predict, read(row), label, filling, sampling.batch_size, bar.update)
                    )
    for place in shown:
        gallery["chips"][place]["fall"] = np.round(np.mean(falls[place], axis=0), 4).tolist()
    table = tidy_table(by_seed)
    importance = tidy_table(summarise(table).to_dict("records"))
    window = window_side(int(selected.record["chip_side_px"]))
    filled = dict(zip(bands, filling, strict=True))
    return Explanation(table, importance, _occlusion_record(gallery, shown, filled, window))


def _scale(tests: Mapping[int, Part], selected: Selected) -> dict[int, Part]:
    """Divide the logits by the temperature of each model, as the copied models do."""
    temperatures = selected.record["temperatures"] or [1.0] * len(selected.models)
    of_seed = {seed_of(folder.name): value for folder, value in zip(selected.models, temperatures, strict=True)}
    return {seed: replace(part, logits=part.logits / of_seed[seed]) for seed, part in tests.items()}


def _predictor(ensemble: Ensemble) -> Callable[[np.ndarray], np.ndarray]:
    return lambda chips: ensemble.predict(chips)[0][0]


def _shown_chips(gallery: Mapping[str, Any]) -> list[str]:
    """Return the keys of the chips to occlude: the first typical, hardest and confidently wrong one of each class."""
    places = [chosen[0] for entry in gallery["classes"] for chosen in entry["kinds"].values() if chosen]
    return [str(place) for place in places]


def _count_all(
    selected: Selected,
    tests: Mapping[int, Part],
    shown: Sequence[str],
    rows: Mapping[str, int],
    gallery: Mapping[str, Any],
    sampling: Sampling,
) -> int:
    """Return the number of chips that pass through a model in all."""
    windows = 1 + len(window_places(int(selected.record["chip_side_px"])))
    chosen = [rows[gallery["chips"][place]["id"]] for place in shown]
    return sum(
        count_passes(min(sampling.chips, len(test.chips)), selected.spec.bands, sampling.permutations)
        + windows * int(np.isin(chosen, test.chips).sum())
        for test in (tests[seed_of(folder.name)] for folder in selected.models)
    )


def _occlusion_record(
    gallery: dict[str, Any], shown: Sequence[str], filling: Mapping[str, float], window: int
) -> dict[str, Any]:
    """Return the content of occlusion.json: the gallery with its occluded chips alone."""
    classes = [
        entry | {"kinds": {kind: chosen[:1] for kind, chosen in entry["kinds"].items()}} for entry in gallery["classes"]
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        **{name: gallery[name] for name in ("recipe", "bands", "brightest", "gamma")},
        "window_px": window,
        "filling": {band: round(float(value), 5) for band, value in filling.items()},
        "classes": classes,
        "chips": {place: gallery["chips"][place] for place in shown},
    }
