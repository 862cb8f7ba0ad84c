# The summary of the study at the end of a dry run.
from execution.start.dry_run import downloads_section, results_section, runs_section
from execution.start.run_status import finished_runs, planned_runs


def print_dry_run():
    """Print which runs a dry run plans, what would be downloaded and what is there."""
    jobs = list(workflow.dag.needrun_jobs(exclude_finished=False))
    outputs = {str(path) for job in jobs for path in job.output}
    has_chips_to_retrieve = any(job.rule.name == "retrieve_chips" for job in jobs)
    fetched = [job.wildcards.backbone for job in jobs if job.rule.name == "fetch_weights"]
    sections = (
        runs_section(all_runs(), planned_runs(workflow.dag), finished_runs(all_runs(), run_files("run.yaml"))),
        downloads_section(
            without_secrets(config)["dataset"]["sources"] if has_chips_to_retrieve else [],
            Path(DOWNLOADS, "chips", DATASET_FOLDER),
            {name: config["backbones"][name]["weights"] for name in GRID["backbones"] if name in fetched},
            Path(DOWNLOADS, "huggingface"),
        ),
        results_section(
            RESULTS,
            {
                "report": [f"{RESULTS}/report.html"],
                "tables": [f"{RESULTS}/tables/{name}.csv" for name in (*TABLES, *EVIDENCE, *BESIDE)],
            },
            outputs,
        ),
    )
    print(f"\nStudy {config['study']}", *("\n".join(section) for section in sections), sep="\n\n")
