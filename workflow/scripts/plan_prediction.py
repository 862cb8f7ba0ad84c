"""Rule plan_prediction: find the new chips, and check before any prediction that they can be right."""

from pathlib import Path

from execution.jobs.job import job, progress
from terralucas.predict.options import PredictOptions
from terralucas.predict.plan import make_plan
from terralucas.predict.selected import load_selected
from terralucas.study.new_chip_files import look_at_new_chips, write_new_chips_record

with job(snakemake):
    params = snakemake.params
    source, plan = Path(params.source), Path(snakemake.output[0])
    selected = load_selected(Path(params.study))
    before = look_at_new_chips(source)
    found = make_plan(source, selected, PredictOptions(**params.options), plan, params.code_of_parts)
    write_new_chips_record(source, Path(params.record), params.contents, before)
    for warning in found.record["looked_at"]["warnings"]:
        progress.warning("%s", warning)
    progress.info("%d chips to predict", len(found.chips))
