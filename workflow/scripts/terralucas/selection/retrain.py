"""Train one model of the selected recipe on all chips of a study, with the training code of its runs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from terralucas.backbones.feature_kinds import kind_of_features
from terralucas.data.split_files import read_split, write_split
from terralucas.errors import StudyError
from terralucas.files import atomic_path
from terralucas.names import seed_name
from terralucas.predictions import FINISHED
from terralucas.stored import read_json
from terralucas.training.frozen import FrozenLearner
from terralucas.training.run import Inputs, MakeLearner, RunSettings, execute
from terralucas.training.trained_run import read_record

# Name of the model among the selected models.
NAME = "all-chips"
_OUTPUTS = {
    "predictions": "predictions.parquet",
    "metrics": "metrics.json",
    "history": "history.csv",
    "model": "model.ckpt",
    "record": "run.yaml",
}


@dataclass(frozen=True)
class StudyFiles:
    """What the training of a study read, which is there when the study is finished.

    Attributes:
        folder: the folder results/<study>.
        normalisation: `dataset`, `train` or `pretraining`.
        code: fingerprint of the code.
        bookkeeping: settings of the run that change no result.
        tuning_bookkeeping: the same of a run with a tuned backbone.
    """

    folder: Path
    normalisation: str
    code: str
    bookkeeping: dict[str, Any]
    tuning_bookkeeping: dict[str, Any]

    @property
    def index(self) -> Path:
        """The index of the chips."""
        return self.folder / "data" / "chips.parquet"

    @property
    def retrained(self) -> Path:
        """Folder of the run that is trained on all chips."""
        return self.folder / "retrained"


def retrain(run: Path, files: StudyFiles, point_ids: Sequence[str], target: Path) -> str:
    """Train a model with the settings and the seed of a run, on its training and its test chips.

    The validation chips of the run choose the epoch, as in the study. An interrupted training continues, and a finished
    one is not repeated.

    Args:
        run: folder of a finished run of the recipe.
        files: what the training reads.
        point_ids: ids of the chips, in the order of the index.
        target: folder of the selected models, in which the model is copied.

    Returns:
        Name of the model's folder.

    Raises:
        StudyError: the run has no validation chips, a file of the study is missing, or the training diverged.
    """
    record, folder = read_record(run), files.retrained
    settings = RunSettings(**record["settings"])
    parts = read_split(files.folder / "splits" / f"{seed_name(settings.seed)}.csv", point_ids)
    if not (parts == "validation").any():
        raise StudyError(
            "No model can be trained on all chips: none would choose its epoch.",
            found="no validation chips (split.validation_is_test)",
            expected="chips in the part `validation`",
            remedy="set select.models to ensemble",
        )
    split = folder / "split.csv"
    write_split(split, point_ids, np.where(parts == "test", "train", parts).tolist())
    outputs = {name: folder / file for name, file in _OUTPUTS.items()}
    names = [entry["name"] for entry in record["classes"]]
    execute(
        settings,
        Inputs(files.index, split, files.code, names),
        _learner(settings, record, files),
        outputs,
        files.bookkeeping,
    )
    if (status := read_record(folder)["status"]) != FINISHED:
        raise StudyError(
            "The training of the selected recipe on all chips did not succeed.",
            found=status,
            expected=FINISHED,
            remedy="set select.models to ensemble, or lower training.learning_rate",
        )
    for name in ("record", "model"):
        with atomic_path(target / NAME / _OUTPUTS[name]) as temporary:
            shutil.copyfile(outputs[name], temporary)
    return NAME


def _learner(settings: RunSettings, record: dict[str, Any], files: StudyFiles) -> MakeLearner:
    if "tuning" not in settings.training:
        kind = kind_of_features(settings.decoder_setting)
        scope = record["features"]["normalisation"]["scope"]
        features = _existing(files.folder / "features" / settings.backbone / scope / f"{kind}.npy")
        return partial(FrozenLearner, features=features, record=_existing(features.with_suffix(".json")))
    # TerraTorch and Lightning take seconds to import.
    from terralucas.training.tuned import TunedInputs, TunedLearner

    weights = _existing(files.folder / "weights" / f"{settings.backbone}.json")
    inputs = TunedInputs(
        index=files.index,
        chips=_existing(files.folder / "data" / "packed.npy"),
        chips_record=_existing(files.folder / "data" / "packed.json"),
        weights=read_json(weights),
        model=record["features"]["model"],
        bands=record["features"]["bands"],
        normalisation=files.normalisation,
    )
    return partial(TunedLearner, inputs=inputs, **files.tuning_bookkeeping)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise StudyError(
            "A file that the training needs is missing.",
            found=f"no file {path}",
            expected="the files of the finished study",
            remedy="start the study again, which makes it again, and then select",
        )
    return path
