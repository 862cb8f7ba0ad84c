"""Rule make_tables: the tidy tables of the study."""

import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from _job import job
from terralucas.controls.run import recipe_names
from terralucas.data.splits import spatial_blocks
from terralucas.predictions import FINISHED, Part, load_run
from terralucas.statistics import run_tables
from terralucas.statistics.comparison import Question, compare
from terralucas.statistics.run_status import compared, take_roll
from terralucas.tables.tidy_csv import RECIPE, write_table

with job(snakemake):
    params, source, output = snakemake.params, snakemake.input, snakemake.output
    index = pq.read_table(source.chips, columns=["point_id", "label", "easting_m", "northing_m"]).to_pandas()
    rows = {point_id: row for row, point_id in enumerate(index["point_id"])}
    # Scores come from the predictions again, so that the tables depend on nothing else.
    entries = take_roll(Path(params.folders["runs"]), Path(params.folders["logs"]), params.recipes, params.seeds)
    results = {entry.run: run_tables.read_run(entry.folder) for entry in entries if entry.status == FINISHED}
    table = run_tables.runs_table(entries, results)
    chosen = compared(entries)
    runs = [results[entry.run] for entry in entries if chosen.includes(entry)]
    files = {
        recipe: {entry.seed: entry.folder / "predictions.parquet" for entry in entries if entry.recipe == recipe}
        for recipe in chosen.recipes
    }
    for path in map(Path, source.controls):
        control = path.parent.relative_to(params.controls).parent.as_posix()
        names = tuple(recipe_names(control)[name] for name in RECIPE)
        files.setdefault(names, {})[int(path.parent.name.removeprefix("seed-"))] = path

    def load(recipe: tuple[str, str, str]) -> dict[int, Part]:
        return {seed: load_run(files[recipe][seed], {}, rows).test for seed in chosen.seeds}

    split = params.split
    places = index["easting_m"].to_numpy(), index["northing_m"].to_numpy()
    groups = None if split["block_km"] is None else spatial_blocks(*places, split["block_km"])
    holdout = split["strategy"] == "holdout"
    sizes = table[table["run"].isin([entry.run for entry in entries if chosen.includes(entry)])]
    ratio = 0.0 if holdout else float((sizes["n_test"] / sizes["n_train"]).mean())
    question = Question.from_config(params.report, params.classes, 1 if holdout else split["folds"])
    with tempfile.TemporaryDirectory() as folder:
        compared = compare(
            chosen.recipes,
            [names for names in files if names not in chosen.recipes],
            load,
            ratio,
            groups,
            question,
            Path(folder),
        )
    compared |= {
        "runs": table,
        "confusion": run_tables.confusion_table(runs, params.classes),
        "curves": run_tables.curves_table(runs),
        "classes": run_tables.classes_table(index["label"].to_numpy(), params.classes),
        "durations": run_tables.durations_table(list(results.values())),
    }
    for name, content in compared.items():
        write_table(content, Path(output[name]))
