# Which fine-tuning recipe is better, and can I believe it?
# chips → splits → features (once per backbone) → runs (backbone × loss × decoder × seed) → predictions → report
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")
SCRIPTS = Path(workflow.basedir) / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))
from execution.start.python_path import put_first

put_first(SCRIPTS)


include: "workflow/rules/configuration.smk"
include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/audit.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/controls.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/selection.smk"
include: "workflow/rules/use.smk"
include: "workflow/rules/session.smk"


rule all:
    default_target: True
    input:
        f"{RESULTS}/report.html",
        # Listed too: Snakemake would not miss a table or run that was deleted while the report is there.
        [*rules.make_tables.output, *rules.make_evidence.output],
        reported_run_files("predictions.parquet"),
    localrule: True
