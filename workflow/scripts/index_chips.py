"""Rule index_chips: open and check every chip, and write the index that all later rules read."""

from pathlib import Path

from execution.jobs.job import job, progress
from terralucas.contents import look_at
from terralucas.data.dataset import DatasetSpec
from terralucas.data.discovery.chips_root import chips_root
from terralucas.data.index_file import write_index
from terralucas.data.indexing.index import index_chips
from terralucas.errors import StudyError
from terralucas.stored import read_json
from terralucas.study import invalid_chips
from terralucas.study.class_names import write_record
from terralucas.study.source_files import digest_of_file, files_of_source, find_source, write_folder_record

with job(snakemake):
    params = snakemake.params
    retrieval = read_json(snakemake.input.retrieval)
    root = chips_root(Path(snakemake.input.retrieval))
    source = find_source(params.sources, root) if retrieval["source"] == "directory" else None
    if source is None and retrieval["source"] == "directory":
        raise StudyError(
            f"The folder {root} would be read, which is none of the study's.",
            found=f"dataset.sources with {', '.join(each['path'] for each in params.sources if 'path' in each)}",
            expected="one of these folders",
            remedy=f"retrieve the chips again: snakemake --cores 1 --force -- {snakemake.input.retrieval}",
        )
    before = look_at(files_of_source(source, params.dataset["layout"]) if source else {}, digest_of_file)
    table, report = index_chips(
        root,
        DatasetSpec.from_config(params.dataset),
        min_chips_per_class=params.min_chips_per_class,
        threads=snakemake.threads,
        progress=True,
    )
    if report["n_dropped"]:
        progress.info(f"Dropped {report['n_dropped']} of {report['n_found']} chips: see {snakemake.output.report}")
    for notice in report["notices"]:
        progress.warning(f"Please check: {notice}")
    write_index(table, report, Path(snakemake.output.chips), Path(snakemake.output.report))
    source_files, labels, invalid = map(Path, params.records)
    write_record(labels, params.classes, report["class_by_text"])
    invalid_chips.write_record(invalid, params.valid, params.dataset, report)
    if source:
        sha256 = dict(zip(table["file"], table["sha256"], strict=True))
        write_folder_record(source_files, params.contents, source, before, sha256, retrieval["root"])
