"""Rule map_part: predict the strips of a part of the map that are not finished."""

from pathlib import Path

from execution.jobs.job import job
from execution.jobs.offline import stay_offline
from terralucas.mapping.plan import read_plan
from terralucas.mapping.strip_files import STRIPS, missing_strips
from terralucas.mapping.strips import map_strips
from terralucas.predict.predictor import Predictor
from terralucas.predict.selected import load_selected
from terralucas.study.scene_files import require_recorded_scene

stay_offline()

with job(snakemake):
    params, file = snakemake.params, Path(snakemake.input[0])
    plan, strips = read_plan(file), file.parent / STRIPS
    require_recorded_scene(params.source, Path(params.record))
    missing = missing_strips(plan, strips, int(snakemake.wildcards.part), params.parts)
    if missing:
        predictor = Predictor(load_selected(Path(params.study)), plan.options, threads=snakemake.threads)
        map_strips(plan, predictor, missing, strips)
