"""Rule select_models: choose a recipe, and gather its models with what held-out chips say about their predictions."""

from functools import partial
from pathlib import Path

from execution.jobs.job import job, progress
from execution.jobs.offline import stay_offline
from terralucas.data.chips.chip_files import read_indexed_chip
from terralucas.data.dataset import DatasetSpec
from terralucas.data.discovery.chips_root import chips_root
from terralucas.data.index_file import read_index_table
from terralucas.data.split_files import read_split
from terralucas.names import seed_of
from terralucas.selection.gather import StudyChips
from terralucas.selection.retrain import StudyFiles
from terralucas.selection.select import SelectOptions, select
from terralucas.selection.uses import uses_of_selection
from terralucas.simulated_chips import describe_simulated
from terralucas.statistics.run_status import read_run_status
from terralucas.stored import read_json
from terralucas.tables.tidy_csv import read_table

stay_offline()

with job(snakemake):
    params, source, output = snakemake.params, snakemake.input, snakemake.output
    retrieval = read_json(source.retrieval)
    index = read_index_table(source.chips)
    point_ids = index["point_id"].to_pylist()
    files, checksums = index["file"].to_pylist(), index["sha256"].to_pylist()
    read = partial(read_indexed_chip, spec=DatasetSpec.from_config(params.dataset))
    root = chips_root(Path(source.retrieval))
    chips = StudyChips(
        point_ids,
        index["label"].to_numpy(),
        {seed_of(Path(path).stem): read_split(Path(path), point_ids) for path in source.splits},
        lambda row: read(root / files[row], checksums[row]),
    )
    data_report = read_json(source.data_report)
    choice = select(
        params.study,
        read_table(source.summary),
        read_table(source.contrasts),
        read_run_status(Path(params.folders["runs"]), Path(params.folders["logs"]), params.recipes, params.seeds),
        chips,
        params.dataset | {"satellites_of_numbers": data_report["satellites_of_numbers"]},
        bool(describe_simulated(retrieval, data_report)),
        read_table(source.calibration) if params.select["temperature_scaling"] else None,
        SelectOptions(
            metric=params.metric,
            rule=params.select["rule"],
            models=params.select["models"],
            coverage=params.select["coverage"],
            temperature_scaling=params.select["temperature_scaling"],
            is_holdout=params.is_holdout,
            **{key: params.features[key] for key in ("batch_size", "threads", "precision", "device")},
        ),
        StudyFiles(
            folder=Path(params.results),
            normalisation=params.normalisation,
            code=params.code,
            bookkeeping=params.bookkeeping,
            tuning_bookkeeping=params.tuning_bookkeeping,
        ),
        Path(output.record).parent,
    )
    progress.info("selected %s", " × ".join(choice.recipe))
    if earlier := uses_of_selection(Path(params.results)):
        progress.info("Of an earlier selection, until they are made again: %s", ", ".join(earlier))
