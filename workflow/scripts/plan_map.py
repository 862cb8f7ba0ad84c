"""Rule plan_map: find the bands of the scene, and check before any prediction that it can be right."""

from pathlib import Path

from execution.jobs.job import job, progress
from terralucas.mapping.plan import make_plan
from terralucas.predict.options import PredictOptions
from terralucas.predict.selected import load_selected
from terralucas.study.scene_files import look_at_scene, write_scene_record

with job(snakemake):
    params = snakemake.params
    paths, selected = list(map(Path, params.source)), load_selected(Path(params.study))
    options, file = PredictOptions(**params.options), Path(snakemake.output[0])
    before = look_at_scene(params.source)
    plan = make_plan(paths, selected, params.stride_m, options, file, params.code_of_parts)
    write_scene_record(params.source, Path(params.record), params.contents, before)
    for warning in plan.record["looked_at"]["warnings"]:
        progress.warning("%s", warning)
    progress.info("%d x %d cells to map", plan.grid.rows, plan.grid.columns)
