"""Rule retrieve_chips: retrieve the chips from the first source that works."""

from pathlib import Path

from _job import job, progress
from terralucas.data.retrieval import retrieve
from terralucas.data.simulation import write_archive
from terralucas.files import write_json


def simulate(source: dict, archive: Path) -> None:
    """Write the archive of a `simulated` source."""
    write_archive(archive, chips=source["chips"], size_px=source["size_px"], seed=source["seed"])


with job(snakemake):
    retrieval = retrieve(snakemake.params.sources, Path(snakemake.params.folder), simulate=simulate)
    for failure in retrieval.failures:
        progress.info(f"A source of the chips failed: {failure}")
    progress.info(f"The chips come from {retrieval.source}: {retrieval.origin}")
    write_json(Path(snakemake.output[0]), retrieval.to_json())
