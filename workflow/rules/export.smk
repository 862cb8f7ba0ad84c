# The selected models in formats that others can use without this project.


rule export_models:
    input:
        SELECTION,
        summary=f"{RESULTS}/tables/summary.csv",
        per_class=f"{RESULTS}/tables/per_class.csv",
        classes=f"{RESULTS}/tables/classes.csv",
        chips=f"{RESULTS}/data/chips.parquet",
        data_report=f"{RESULTS}/data/report.json",
        retrieval=f"{RESULTS}/data/retrieval.json",
        lost=made_again_if_lost(f"{RESULTS}/exported", lost_of_export, Path(RESULTS, "exported")),
    output:
        directory(f"{RESULTS}/exported"),
    log:
        f"{RESULTS}/logs/export_models.log",
    benchmark:
        f"{RESULTS}/benchmarks/export_models.tsv"
    conda:
        ENVIRONMENT
    threads: config["features"]["threads"]
    resources:
        # Each model is in memory several times: as loaded, in the graph, in its files and in the check of them.
        mem_mb=lambda wildcards, attempt: 4 * selection_resource(features_memory_mb)(wildcards, attempt),
        runtime=60,
    params:
        code=code_fingerprint("export_models"),
        study=without_rerun(RESULTS),
    message:
        "Exporting the selected models of {config[study]}"
    script:
        script_path("export_models")
