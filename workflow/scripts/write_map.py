"""Rule write_map: join the strips of a map, and write its rasters, picture, page and record."""

from pathlib import Path

from execution.jobs.job import job, progress
from terralucas.mapping.plan import read_plan
from terralucas.mapping.strip_files import STRIPS
from terralucas.mapping.write import summary_text, write_map
from terralucas.predict.selected import load_selected
from terralucas.study.new_chip_files import remove_other_plans

with job(snakemake):
    plan, folder = read_plan(Path(snakemake.input.plan)), Path(snakemake.output.record).parent
    content = write_map(plan, load_selected(Path(snakemake.params.study)), folder / STRIPS, folder)
    remove_other_plans(Path(snakemake.input.plan))
    progress.info("%s\nThe map is at %s", summary_text(content), folder.resolve() / "map.html")
