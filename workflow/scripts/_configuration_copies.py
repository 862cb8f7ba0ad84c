"""Copies of the configuration for the jobs of a cluster, which start long after the study, when a user may edit it."""

from __future__ import annotations

import shutil
from pathlib import Path

from terralucas.files import atomic_path, sha256_of_file

# In the folder of the project, which the nodes see. A copy is small, and jobs of an earlier start may need it.
COPIES = Path(".snakemake", "configurations")


def copy_configuration(files: list[Path]) -> None:
    """Copy configuration files, and replace each in the list, which Snakemake gives to its jobs, by its copy.

    Copies are named after their content, so that no later start changes them.
    """
    for number, file in enumerate(map(Path, files)):
        copy = Path(COPIES.absolute(), sha256_of_file(file)[:16], file.name)
        with atomic_path(copy) as temporary:
            shutil.copyfile(file, temporary)
        files[number] = copy
