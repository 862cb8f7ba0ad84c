"""The folder `selected/` of a study: its models, and what is known about their predictions from held-out chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from terralucas.data.dataset import DatasetSpec
from terralucas.errors import StudyError
from terralucas.files import atomic_path, sha256_of_file, sha256_of_json, write_text
from terralucas.predict.applicability import Reference
from terralucas.predict.conformal import Calibration
from terralucas.predict.likeness import TrainingPixels
from terralucas.predict.new_chips import ChipReader
from terralucas.stored import read_yaml

SCHEMA_VERSION = 4
# How the record names one model that was trained on all chips; otherwise the models are copies of runs.
RETRAIN = "retrain"
RECORD, EVIDENCE, MODELS = "selection.yaml", "held_out.npz", "models"
# Key of the checksum of all else in the record.
_CHECKSUM = "record_sha256"


@dataclass(frozen=True)
class HeldOut:
    """What held-out chips say about the predictions of the selected models.

    Attributes:
        calibration: the models' predictions on chips that they were not trained on.
        references: for each encoder, the training chips in its space of features.
        threshold: dissimilarity above which a chip is unlike the training chips.
    """

    calibration: Calibration
    references: Sequence[Reference]
    threshold: float

    def dissimilarity(self, features: Sequence[np.ndarray]) -> np.ndarray:
        """Return the (n,) mean dissimilarity over the encoders; `features` has an array (n, D) for each encoder."""
        values = [reference.dissimilarity(each) for reference, each in zip(self.references, features, strict=True)]
        return np.asarray(np.mean(values, axis=0))

    def write(self, path: Path) -> None:
        """Write all of it to one .npz file."""
        arrays = {
            name: getattr(self.calibration, name) for name in ("member", "chip", "label", "score", "n_classes")
        } | {"threshold": np.array(self.threshold)}
        for number, reference in enumerate(self.references):
            arrays |= {f"{name}_{number}": getattr(reference, name) for name in ("mean", "std", "chips", "scale")}
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def read(cls, path: Path) -> HeldOut:
        """Read a file of `write`."""
        with np.load(path, allow_pickle=False) as arrays:
            member, chip, label, score = (arrays[name] for name in ("member", "chip", "label", "score"))
            calibration = Calibration(member, chip, label, score, int(arrays["n_classes"]))
            references: list[Reference] = []
            while f"mean_{len(references)}" in arrays:
                number = len(references)
                mean, std, chips = (arrays[f"{name}_{number}"] for name in ("mean", "std", "chips"))
                references.append(Reference(mean, std, chips, float(arrays[f"scale_{number}"])))
            return cls(calibration, references, float(arrays["threshold"]))


@dataclass(frozen=True)
class Selected:
    """The selected models of a study.

    Attributes:
        folder: the folder `selected/`.
        record: content of selection.yaml.
        spec: description of the study's dataset.
        held_out: what held-out chips say about the predictions.
    """

    folder: Path
    record: Mapping[str, Any]
    spec: DatasetSpec
    held_out: HeldOut

    @property
    def models(self) -> list[Path]:
        """Folder of each model."""
        return [self.folder / name for name in self.record["models"]]

    @property
    def reader(self) -> ChipReader:
        """Reader of new chips, as the models expect them."""
        return ChipReader(self.spec, self.record["chip_side_px"], self.record["dataset"]["pixel_size_m"])

    @property
    def training(self) -> TrainingPixels:
        """What the pixels of the training chips look like."""
        return TrainingPixels.from_record(self.record["training_pixels"])

    @property
    def class_codes(self) -> list[str]:
        """Code of each class, in the order of the class indices."""
        return [entry.code for entry in self.spec.classes]

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the models and of what decides their predictions' columns."""
        return str(self.record["fingerprint"])


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write selection.yaml, with a checksum of what is in it."""
    content = {"schema_version": SCHEMA_VERSION, **record}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    write_text(folder / RECORD, f"{text}{_CHECKSUM}: {_checksum_of(yaml.safe_load(text))}\n")


def _checksum_of(record: Mapping[str, Any]) -> str:
    """Return the hex SHA-256 of all else in a record.

    Raises:
        TypeError: there is something that JSON, and so `write_record`, cannot hold, such as a date.
    """
    return sha256_of_json({key: value for key, value in record.items() if key != _CHECKSUM})


def _is_as_written(record: Mapping[str, Any]) -> bool:
    try:
        return _CHECKSUM in record and _checksum_of(record) == record[_CHECKSUM]
    except TypeError:
        return False


def require_current(selected: Selected) -> None:
    """Raise a StudyError if runs of the recipe were trained again since the models were selected.

    Snakemake selects again by itself. Runs that are not there, as beside a copy of `selected/`, are not compared.
    """
    study = selected.folder.parent
    for run, fingerprint in selected.record.get("runs", {}).items():
        path = study / run / "run.yaml"
        if path.is_file() and read_yaml(path, "fingerprint")["fingerprint"] != fingerprint:
            raise StudyError(
                f"The selected models of {study} are of earlier runs.",
                found=f"{path} of a run with other settings, chips, labels or code than when models were selected",
                expected="the runs from which the models were selected",
                remedy=f"select again: snakemake --cores 8 --configfile config/{study.name}.yaml -- select; or, to use "
                "the earlier models, copy selected/ into an empty folder and name that folder as --study",
            )


def load_selected(study: Path) -> Selected:
    """Load the folder `selected/` of a study.

    Args:
        study: the folder results/<study>.

    Raises:
        StudyError: nothing was selected yet, another version of the project wrote it, or a model was changed.
    """
    folder = study / "selected"
    path = folder / RECORD
    if not path.is_file():
        raise StudyError(
            f"The study {study.name} has no selected models yet.",
            found=f"no file {path}",
            expected="the file that the rule select_models writes",
            remedy=f"snakemake --cores 8 --configfile config/{study.name}.yaml -- select",
        )
    record = read_yaml(path, "schema_version", delete=f"the folder {folder}")
    if record["schema_version"] != SCHEMA_VERSION:
        raise StudyError(
            f"{path} was written by another version of this project.",
            found=f"schema_version {record['schema_version']}",
            expected=f"schema_version {SCHEMA_VERSION}",
            remedy=f"delete the folder {folder}, and select again",
        )
    if not _is_as_written(record):
        raise StudyError(
            f"The file {path} has changed since the models were selected.",
            found=f"other content than that of its checksum ({_CHECKSUM})",
            expected="the classes, bands, units and models as the study wrote them",
            remedy=f"delete the folder {folder}, and select again",
        )
    for name, expected in record["sha256"].items():
        file = folder / name
        found = sha256_of_file(file) if file.is_file() else "no file"
        if found != expected:
            raise StudyError(
                f"The file {file} of the selected models is gone or has changed.",
                found=found,
                expected=f"sha256 {expected}",
                remedy=f"delete the folder {folder}, and select again",
            )
    return Selected(folder, record, DatasetSpec.from_config(record["dataset"]), HeldOut.read(folder / EVIDENCE))
