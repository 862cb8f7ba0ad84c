"""Rule retrieve_chips: retrieve the chips from the first source that works."""

from pathlib import Path

from execution.jobs.job import job, progress
from terralucas.contents import forget_place, write_record
from terralucas.data.retrieval.retrieve import retrieve
from terralucas.data.simulation.simulate import write_archive
from terralucas.files import write_json
from terralucas.study.source_files import files_of_source
from terralucas.study.source_order import states_of_sources, write_order


def simulate(source: dict, archive: Path) -> None:
    """Write the archive of a `simulated` source."""
    write_archive(archive, chips=source["chips"], size_px=source["size_px"], seed=source["seed"])


with job(snakemake):
    params = snakemake.params
    states = states_of_sources(params.sources, params.layout)
    retrieval = retrieve(params.sources, Path(params.folder), simulate=simulate)
    for failure in retrieval.failures:
        progress.info(f"A source of the chips failed: {failure}")
    progress.info(f"The chips come from {retrieval.source}: {retrieval.origin}")
    write_json(Path(snakemake.output[0]), retrieval.to_json())
    # The record is of the chips that were retrieved before, and may name the folder to which they were moved since.
    forget_place(Path(params.record))
    place = len(retrieval.failures)
    write_order(Path(params.record), params.sources, params.layout, place, states, params.tracked)
    # The rule index_chips records what it reads of a folder.
    if retrieval.source == "archive":
        source = params.sources[place]
        files = files_of_source(source, params.layout)
        sha256 = dict.fromkeys(files, retrieval.sha256)
        write_record(Path(params.record), params.contents, source["path"], files, states[place], sha256)
    elif retrieval.source != "directory":
        write_record(Path(params.record), params.contents, None, {}, {}, {})
