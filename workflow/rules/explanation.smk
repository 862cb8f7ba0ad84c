# What mattered for the selected models: bands by permutation, places in a chip by occlusion, and one page about both.


rule explain_models:
    input:
        SELECTION,
        predictions=reported_run_files("predictions.parquet"),
        chips=f"{RESULTS}/data/chips.parquet",
        retrieval=f"{RESULTS}/data/retrieval.json",
    output:
        importance=f"{SELECTED}/importance.csv",
        by_seed=f"{SELECTED}/importance_by_seed.csv",
        occlusion=f"{SELECTED}/occlusion.json",
    log:
        f"{RESULTS}/logs/explain_models.log",
    benchmark:
        f"{RESULTS}/benchmarks/explain_models.tsv"
    conda:
        ENVIRONMENT
    threads: config["features"]["threads"]
    resources:
        mem_mb=explanation_resource(features_memory_mb),
        runtime=explanation_resource(features_minutes, config["features"]["threads"], count_gpus("features")),
        gpu=count_gpus("features"),
    params:
        code=code_fingerprint("explain_models"),
        explain=config["explain"],
        features=PASS_SETTINGS,
        study=without_rerun(RESULTS),
    message:
        "Examining what the selected models of {config[study]} use"
    script:
        script_path("explain_models")


rule explain:
    input:
        record=f"{SELECTED}/selection.yaml",
        importance=f"{SELECTED}/importance.csv",
        by_seed=f"{SELECTED}/importance_by_seed.csv",
        occlusion=f"{SELECTED}/occlusion.json",
        lost=made_again_if_lost(f"{SELECTED}/explained.html", lost_of_explanation, Path(SELECTED, "explained.html")),
    output:
        page=f"{SELECTED}/explained.html",
        figure=f"{SELECTED}/importance.svg",
    log:
        f"{RESULTS}/logs/explain.log",
    benchmark:
        f"{RESULTS}/benchmarks/explain.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code_fingerprint("explain"),
    message:
        "Writing what mattered in {config[study]}"
    script:
        script_path("explain")
