"""Rule predict_part: predict a part of the new chips."""

from pathlib import Path

from execution.jobs.job import job
from execution.jobs.offline import stay_offline
from terralucas.predict.plan import chips_of_part, read_plan
from terralucas.predict.predictor import Predictor, predict_part
from terralucas.predict.selected import load_selected
from terralucas.study.new_chip_files import require_recorded_chips

stay_offline()

with job(snakemake):
    params = snakemake.params
    plan = read_plan(Path(snakemake.input[0]))
    number, files = int(snakemake.wildcards.part), (Path(params.source), Path(params.record))
    paths = [chip.path for chip in chips_of_part(plan, number, params.parts) if chip.problem is None]
    require_recorded_chips(paths, *files)
    predictor = Predictor(load_selected(Path(params.study)), plan.options, threads=snakemake.threads)
    predict_part(
        plan, predictor, number, params.parts, Path(snakemake.output[0]), lambda: require_recorded_chips(paths, *files)
    )
