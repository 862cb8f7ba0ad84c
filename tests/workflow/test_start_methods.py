"""The rule that reads chips in worker processes, where Python spawns these (macOS) or serves them (Python 3.14)."""

import json
from pathlib import Path

import pytest

from helpers.project import Project, results
from helpers.tiny_study import TINY

pytestmark = pytest.mark.workflow

FEATURES = "features/tiny/all/pooled.json"


def test_workers_that_are_not_forked_read_the_same_chips(tmp_path):
    project, found = Project(tmp_path), set()
    config = project.write_config(TINY | {"features": {"workers": 1}})
    project.environment["PYTHONPATH"] = str(Path(__file__).parent / "start_method")
    for method in ("spawn", "forkserver"):
        project.environment["TERRALUCAS_START_METHOD"] = method
        target = f"results/small/{FEATURES}"
        project.snakemake("--cores", 2, "--forcerun", "extract_features", "--configfile", config, "--", target)
        found.add(json.loads((results(project) / FEATURES).read_text(encoding="utf-8"))["sha256"])
    assert len(found) == 1, found
