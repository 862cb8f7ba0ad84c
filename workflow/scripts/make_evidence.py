"""Rule make_evidence: compute fronts, calibration, distances and a map from the predictions."""

from pathlib import Path

from threadpoolctl import threadpool_limits

from execution.jobs.job import job
from terralucas.data.index_file import read_index_table, require_classes
from terralucas.data.indexing.pixel_sizes import check_pixel_size
from terralucas.data.split_files import read_split
from terralucas.evidence.maps import correctness_table, write_maps
from terralucas.evidence.tables import EvidenceInputs, evidence_tables
from terralucas.names import seed_of
from terralucas.statistics.run_status import read_run_status
from terralucas.stored import read_json
from terralucas.tables.tidy_csv import write_table

with job(snakemake):
    params, source, output = snakemake.params, snakemake.input, snakemake.output
    # The index is not made again when dataset.pixel_size_m changes, because no other check depends on it.
    data_report = read_json(source.data_report)
    check_pixel_size(data_report["pixel_sizes"], params.pixel_size_m)
    index = read_index_table(source.chips).to_pandas()
    require_classes(index, params.classes, source.chips)
    point_ids = index["point_id"].tolist()
    inputs = EvidenceInputs(
        read_run_status(Path(params.folders["runs"]), Path(params.folders["logs"]), params.recipes, params.seeds),
        {seed_of(Path(path).stem): read_split(Path(path), point_ids) for path in source.splits},
        index,
    )
    runs = inputs.read_runs()
    # The order in which threads add up numbers would change the tables.
    with threadpool_limits(1):
        tables = evidence_tables(
            inputs,
            runs,
            n_classes=len(params.classes),
            contrasts=params.contrasts,
            monitor=params.monitor,
            is_holdout=params.strategy == "holdout",
            level=params.level,
            pixel_size_m=params.pixel_size_m,
            seed=params.seed,
            processes=snakemake.threads,
        )
    for name, table in tables.items():
        write_table(table, Path(output[name]))
    points = correctness_table(runs, index, params.classes)
    # Those of thousands of runs take as much memory as the map, whose text is made in memory.
    del runs
    write_maps(points, Path(output.points), Path(output.geojson))
