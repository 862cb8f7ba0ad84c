# The winner: choose a recipe, and gather its models with what is known about their predictions from held-out chips.
SELECTED = f"{RESULTS}/selected"


rule select_models:
    input:
        summary=f"{RESULTS}/tables/summary.csv",
        contrasts=f"{RESULTS}/tables/contrasts.csv",
        calibration=f"{RESULTS}/tables/calibration.csv" if config["select"]["temperature_scaling"] else [],
        predictions=reported_run_files("predictions.parquet"),
        records=reported_run_files("run.yaml"),
        models=reported_run_files("model.ckpt"),
        splits=expand(SPLIT, seed=GRID["seeds"]),
        chips=f"{RESULTS}/data/chips.parquet",
        retrieval=f"{RESULTS}/data/retrieval.json",
        data_report=f"{RESULTS}/data/report.json",
        lost=made_again_if_lost(f"{SELECTED}/selection.yaml", lost_of_selection, Path(SELECTED, "selection.yaml")),
    output:
        record=f"{SELECTED}/selection.yaml",
        held_out=f"{SELECTED}/held_out.npz",
        coverage=f"{SELECTED}/conformal.csv",
        costs=f"{SELECTED}/costs.csv",
        models=directory(f"{SELECTED}/models"),
    log:
        f"{RESULTS}/logs/select_models.log",
    benchmark:
        f"{RESULTS}/benchmarks/select_models.tsv"
    conda:
        ENVIRONMENT
    threads: config["features"]["threads"]
    resources:
        # As a feature pass of the largest backbone; the chips are passed once through each of its tuned models.
        mem_mb=selection_memory_mb,
        runtime=selection_minutes,
        gpu=max(count_gpus("features"), count_gpus("training")),
    params:
        **RUN_STATUS_PARAMS,
        code=code_fingerprint("select_models"),
        select=config["select"],
        metric=config["select"]["metric"] or config["report"]["primary"],
        features=PASS_SETTINGS,
        # Predictions, maps and exported files take these from the record. When they change, the inputs of this rule may stay
        # the same. A function, because Snakemake would take braces in names for wildcards.
        recorded=lambda wildcards: {
            key: DATASET[key] for key in ("name", "classes", "unit", "nodata", "pixel_size_m", "point_ids", "checks")
        },
        dataset=without_rerun(DATASET_WITHOUT_SOURCES),
        results=without_rerun(RESULTS),
        normalisation=without_rerun(config["normalisation"]),
        bookkeeping=without_rerun({key: config["training"][key] for key in BOOKKEEPING}),
        tuning_bookkeeping=without_rerun({key: config["training"]["end_to_end"][key] for key in END_TO_END_BOOKKEEPING}),
        is_holdout=config["split"]["strategy"] == "holdout",
        study=config["study"],
    message:
        "Selecting the models of {config[study]}"
    script:
        script_path("select_models")


# Snakemake has no checksum of a folder, so that its time would count; selection.yaml says what models are in it.
SELECTION = [
    *(file for file in rules.select_models.output if file != rules.select_models.output.models),
    ancient(rules.select_models.output.models),
]
