"""Checks what planned jobs need: the user's own files, and what the configuration says of chips and models.

With a mistake in the configuration a job would fail at once, after others have begun.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def require_pixel_size(dag: Any, pixel_size_m: float, report: Path) -> None:
    """Check the size of pixels in the configuration with that of the chips, where they are not indexed again.

    The index does not follow from this size, but much else does, such as which new chips are predicted.

    Args:
        dag: Snakemake's graph of jobs.
        pixel_size_m: `dataset.pixel_size_m`.
        report: data/report.json of the study.

    Raises:
        StudyError: the georeference of the chips says another size.
    """
    if not report.is_file() or any(job.rule.name == "index_chips" for job in dag.needrun_jobs(exclude_finished=False)):
        return
    from terralucas.data.indexing.pixel_sizes import check_pixel_size
    from terralucas.stored import read_json

    check_pixel_size(read_json(report).get("pixel_sizes"), pixel_size_m)


def require_planned_inputs(dag: Any, config: Mapping[str, Any], downloads: Path) -> None:
    """Check the models to explain, and the sources of chips and weights files of jobs whose earlier outputs are there.

    Args:
        dag: Snakemake's graph of jobs.
        config: the resolved configuration.
        downloads: folder of downloaded weights.

    Raises:
        StudyError: a source or weights file cannot be used, or a model has no test chips to explain it with.
    """
    for job in dag.needrun_jobs(exclude_finished=False):
        if job.rule.name == "explain_models" and config["select"]["models"] == "retrain":
            # Imported late, as below, because most starts need none of these.
            from terralucas.explain.explain import require_test_chips

            require_test_chips(config["select"]["models"])
        if not all(Path(file).is_file() for file in job.output):
            continue
        if job.rule.name == "retrieve_chips":
            from terralucas.data.retrieval.retrieve import require_local_source

            require_local_source(config["dataset"]["sources"])
        elif job.rule.name == "fetch_weights":
            from terralucas.backbones.weights import obtain

            weights = config["backbones"][job.wildcards.backbone]["weights"]
            if weights["source"] == "file":
                obtain(weights, downloads)
