"""The finished tiny study with its selected models, which one worker of a test run makes, and the others copy."""

import fcntl
import shutil
from contextlib import contextmanager
from types import SimpleNamespace

from helpers.project import Project
from helpers.tiny_study import TINY

# What a study leaves: its results, Snakemake's records and the unpacked chips.
PARTS = ("results", ".snakemake", "resources")


@contextmanager
def locked(path):
    """Hold a lock that the workers of one test run share."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def finish_tiny_study(project, tmp_path_factory, worker_id):
    """Run the tiny study in a project to its end and select, or copy what another worker made, with the files' times.

    Args:
        project: the project; its `result.output` is then that of the study, without that of the selection.
        tmp_path_factory: of pytest.
        worker_id: of pytest-xdist.
    """
    project.write_config(TINY)
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "tiny-study"
    with locked(shared.with_suffix(".lock")):
        if not shared.is_dir():
            start = ("--cores", 2, "--configfile", "config/small.yaml")
            output = project.snakemake(*start).output
            project.snakemake(*start, "--", "select")
            for part in PARTS:
                shutil.copytree(project.folder / part, shared / part)
            (shared / "output.txt").write_text(output.replace(str(project.folder), "<project>"), encoding="utf-8")
        else:
            for part in PARTS:
                shutil.copytree(shared / part, project.folder / part, dirs_exist_ok=True)
    output = (shared / "output.txt").read_text(encoding="utf-8")
    project.result = SimpleNamespace(output=output.replace("<project>", str(project.folder)))


def copy_study(study, folder):
    """Return a project in a folder, with the results of a study and Snakemake's records of them."""
    project = Project(folder)
    for part in PARTS:
        shutil.copytree(study.folder / part, project.folder / part)
    project.write_config(TINY)
    return project
