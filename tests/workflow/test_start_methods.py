"""The rule that reads chips in worker processes, where Python spawns these (macOS) or serves them (Python 3.14)."""

import json
from pathlib import Path

import pytest

from helpers.project import results

pytestmark = pytest.mark.workflow

FEATURES = "features/tiny/all/pooled.json"


def test_workers_that_are_not_forked_read_the_same_chips(study):
    path = results(study) / FEATURES
    found = {read_sha256(path)}
    study.environment["PYTHONPATH"] = str(Path(__file__).parent / "start_method")
    try:
        for method in ("spawn", "forkserver"):
            study.environment["TERRALUCAS_START_METHOD"] = method
            path.unlink()
            workers = ("--config", "features={workers: 1}")
            target = path.relative_to(study.folder)
            study.snakemake("--cores", 2, "--configfile", "config/small.yaml", *workers, "--", target)
            found.add(read_sha256(path))
    finally:
        for name in ("PYTHONPATH", "TERRALUCAS_START_METHOD"):
            study.environment.pop(name, None)
    assert len(found) == 1, found


def read_sha256(path):
    return json.loads(path.read_text(encoding="utf-8"))["sha256"]
