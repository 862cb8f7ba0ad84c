"""The rule that reads chips in worker processes, where Python spawns these (macOS) or serves them (Python 3.14)."""

import json
import multiprocessing
import shutil
from pathlib import Path

import pytest

from helpers.project import Project, results
from helpers.tiny_study import TINY

pytestmark = pytest.mark.workflow

FEATURES = "features/tiny/all/pooled.json"
DEFAULT = multiprocessing.get_all_start_methods()[0]


def test_workers_that_are_not_forked_read_the_same_chips(study, tmp_path):
    project = Project(tmp_path / "project")
    project.write_config(TINY)
    # A copy, because a pass that is made again has another record, which finished runs would notice.
    for part in ("results", "resources"):
        shutil.copytree(study.folder / part, project.folder / part)
    path = results(project) / FEATURES
    found = {read_sha256(path)}
    project.environment["PYTHONPATH"] = str(Path(__file__).parent / "start_method")
    # Where workers are forked by default, they are spawned here; elsewhere, they start as Python starts them.
    project.environment["TERRALUCAS_START_METHOD"] = {"fork": "spawn"}.get(DEFAULT, DEFAULT)
    path.unlink()
    workers = ("--config", "features={workers: 1}")
    target = path.relative_to(project.folder)
    project.snakemake("--cores", 2, "--configfile", "config/small.yaml", *workers, "--", target)
    found.add(read_sha256(path))
    assert len(found) == 1, found


def read_sha256(path):
    return json.loads(path.read_text(encoding="utf-8"))["sha256"]
