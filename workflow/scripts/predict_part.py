"""Rule predict_part: predict a part of the new chips."""

from pathlib import Path

from _job import job
from _offline import stay_offline
from terralucas.predict.plan import read_plan
from terralucas.predict.predictor import Predictor, predict_part
from terralucas.predict.selected import load_selected

stay_offline()

with job(snakemake):
    params = snakemake.params
    plan = read_plan(Path(snakemake.input[0]))
    predictor = Predictor(load_selected(Path(params.study)), plan.options, threads=snakemake.threads)
    predict_part(plan, predictor, int(snakemake.wildcards.part), params.parts, Path(snakemake.output[0]))
