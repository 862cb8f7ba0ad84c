"""Rule join_predictions: join the parts of a prediction."""

from pathlib import Path

from execution.jobs.job import job, progress
from terralucas.predict.outputs import remove_parts, summary_text, write_joined
from terralucas.predict.plan import read_plan
from terralucas.study.new_chip_files import remove_other_plans

with job(snakemake):
    plan = read_plan(Path(snakemake.input.plan))
    folder = Path(snakemake.output.record).parent
    parts = list(map(Path, snakemake.input.parts))
    content = write_joined(plan, parts, folder)
    # Snakemake deletes the parts of this number of parts itself.
    remove_parts(parts[0].parent, keep=parts)
    remove_other_plans(Path(snakemake.input.plan))
    progress.info("%s\nThe predictions are at %s", summary_text(content), folder.resolve())
