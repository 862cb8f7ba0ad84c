"""Checks the user's own files that planned jobs read, where Snakemake would first delete what was made of others.

Snakemake deletes the outputs of a job before it starts. With a wrong path in the configuration the job fails at once,
and after the correction all that follows from its output would be made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def require_planned_inputs(dag: Any, config: Mapping[str, Any], downloads: Path) -> None:
    """Check the sources of chips and the weights files of jobs whose earlier outputs are there.

    Args:
        dag: Snakemake's graph of jobs.
        config: the resolved configuration.
        downloads: folder of downloaded weights.

    Raises:
        StudyError: a source or weights file cannot be used.
    """
    for job in dag.needrun_jobs(exclude_finished=False):
        if not all(Path(file).is_file() for file in job.output):
            continue
        if job.rule.name == "retrieve_chips":
            # Imported late, because most starts need neither.
            from terralucas.data.retrieval import require_local_source

            require_local_source(config["dataset"]["sources"])
        elif job.rule.name == "fetch_weights":
            from terralucas.backbones.weights import obtain

            weights = config["backbones"][job.wildcards.backbone]["weights"]
            if weights["source"] == "file":
                obtain(weights, downloads)
