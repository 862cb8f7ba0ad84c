"""Ensembles of a frozen encoder and of LoRA runs, made once for the tests of exports."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from helpers.tuned_runs import MLP, make_study, recipe_of, run

TRAINING = {"epochs": 1, "learning_rate": 0.02}


@dataclass
class Models:
    """An ensemble, the folder names of its models, and chips of reflectance with a missing pixel."""

    folders: list[Path]
    chips: np.ndarray

    def __post_init__(self):
        import torch

        from terralucas.predict.ensemble import Ensemble

        self.names = [folder.name for folder in self.folders]
        self.ensemble = Ensemble(self.folders, torch.device("cpu"))


def make_models(folder, tuning):
    study = make_study(folder)
    runs = [
        run(study, folder / f"seed-{seed}", recipe_of(MLP, seed=seed, training=TRAINING | {"tuning": tuning}))
        for seed in (0, 1)
    ]
    return Models(runs, np.load(study / "chips.npy")[:9])


@pytest.fixture(scope="session")
def frozen(tmp_path_factory):
    return make_models(tmp_path_factory.mktemp("frozen"), "frozen")


@pytest.fixture(scope="session")
def lora(tmp_path_factory):
    return make_models(tmp_path_factory.mktemp("lora"), "lora")


@pytest.fixture(scope="session")
def shallow(frozen):
    """The frozen models with two blocks of their encoder, for tests of files that take long to write."""
    models = Models(frozen.folders, frozen.chips)
    for group in models.ensemble.groups:
        group.encoder.encoder = group.encoder.encoder[:2]
    return models


@pytest.fixture(scope="session")
def graph_files(shallow, tmp_path_factory):
    """Folder with model.pt2 and model.onnx of two models, for chips in DN with the nodata value −9999."""
    from terralucas.export.graph import ChipFormat, EnsembleGraph
    from terralucas.export.graph_files import InputShape, trace, write_onnx, write_pt2

    folder = tmp_path_factory.mktemp("graph files")
    program = trace(EnsembleGraph(shallow.ensemble, ChipFormat(10_000.0, -9999.0)), InputShape(6, 32))
    write_pt2(program, folder / "model.pt2")
    write_onnx(program, {"bands": shallow.ensemble.bands, "unit": "dn"}, folder / "model.onnx")
    return folder
