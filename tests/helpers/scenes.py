"""Scenes to map, and a model that reads the class of a window from its middle."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import rasterio

from helpers.chips import BANDS, SIDE, make_spec
from terralucas.predict.likeness import TrainingPixels
from terralucas.predict.options import PredictOptions
from terralucas.predict.selected import Selected

CLASSES = [{"code": code, "name": name} for code, name in enumerate(("Water", "Grass & <herbs>", "Forest", "Rock"))]
LEFT, TOP = 600_000.0, 5_000_000.0
# Reflectance of RED in patches of each class.
STEP = 0.1
# Training chips like the chips and scenes of tests: darkest pixels near 0, and a mean of about 0.25 in each band.
TRAINING = TrainingPixels(400, 0, 0.05, 1.0, (0.0, 0.09), (0.25,) * len(BANDS))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Pixels of a scene without a class, (bands, height, width) reflectance."""
    return np.random.default_rng(seed).uniform(0.02, 0.45, (len(BANDS), height, width)).astype(np.float32)


def patches(classes: np.ndarray, side: int) -> np.ndarray:
    """Pixels of a scene whose RED says the class of each square of `side` pixels."""
    values = noise(classes.shape[0] * side, classes.shape[1] * side)
    red = np.kron(0.05 + STEP * classes, np.ones((side, side)))
    values[0] = red + np.random.default_rng(1).uniform(-0.02, 0.02, red.shape)
    return values


def write_scene(path: Path, values: np.ndarray, descriptions=None, pixel=10.0, **profile) -> Path:
    """Write a scene in UTM zone 32 whose upper left corner is at `LEFT`, `TOP`."""
    count, height, width = values.shape
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(pixel, 0, LEFT, 0, -pixel, TOP)}
    profile = (
        {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": values.dtype} | place | profile
    )
    with rasterio.open(path, "w", **profile) as target:
        target.write(values)
        if descriptions is not None:
            target.descriptions = descriptions
    return path


def make_selected(**changes) -> Selected:
    """The selected models of a study, as far as a plan and a map read them."""
    spec = make_spec(classes=CLASSES, **changes)
    record = {
        "study": "tiny",
        "recipe": {"backbone": "tiny", "loss": "ce", "decoder": "mlp"},
        "models": ["models/seed-0", "models/seed-1"],
        "dataset": {"pixel_size_m": 10},
        "chip_side_px": SIDE,
        "training_pixels": TRAINING.as_record(),
        "chips": {"simulated": True, "number": 400},
        "weights": {"source": "random"},
        "scores": {"meaning": "none", "values": {}},
        "conformal": {"goal": 0.9},
        "fingerprint": "models",
    }
    return Selected(Path("selected"), record, spec, SimpleNamespace(threshold=0.5))


class FakePredictor:
    """Gives each window the class that RED says in its four middle pixels; counts its batches."""

    def __init__(self, selected: Selected, options: PredictOptions, threads: int = 1) -> None:
        self.selected, self.options, self.threads = selected, options, threads
        self.batches: list[int] = []

    def predict(self, chips: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(len(chips))
        middle = slice(SIDE // 2 - 1, SIDE // 2 + 1)
        red = np.nan_to_num(chips[:, 0, middle, middle].mean(axis=(1, 2)))
        label = np.clip(np.rint((red - 0.05) / STEP), 0, 3).astype(int)
        probabilities = np.full((len(chips), len(CLASSES)), 0.1)
        probabilities[np.arange(len(chips)), label] = 0.7
        return {
            "label": label,
            "probabilities": probabilities,
            "entropy": np.full(len(chips), 0.94),
            "dissimilarity": np.nanmean(chips[:, 1], axis=(1, 2)) * 2,
            "in_set": probabilities > 0.5,
        }
