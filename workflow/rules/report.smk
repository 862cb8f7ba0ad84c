# Compute tidy tables, figures and one self-contained report from the files of the runs.


report: "../report/workflow.rst"


# The meaning of a row in each table, for Snakemake's own report.
TABLES = {
    "runs": "one per run",
    "summary": "one per recipe and score",
    "per_class": "one per recipe, class and score",
    "controls": "one per control and score",
    "best_pair": "one per main score",
    "contrasts": "one per contrast, scope and score",
    "mixed_model": "one per contrast and scope",
    "power": "one per contrast and scope",
    "claims": "one per claim",
    "spatial": "one per recipe or contrast, score and size of blocks",
    "variance": "one per recipe and component",
    "confusion": "one per recipe, true and predicted class",
    "curves": "one per recipe and epoch",
    "classes": "one per class",
}
EVIDENCE = {
    "fronts": "one per recipe, shift and score",
    "fronts_runs": "one per run",
    "fronts_summary": "one per recipe and score",
    "fronts_contrasts": "one per contrast, scope and quantity",
    "calibration_runs": "one per run",
    "calibration": "one per recipe, score and stage",
    "reliability": "one per recipe, stage and bin",
    "overlap": "one per seed",
    "correlation": "one per recipe and distance",
    "distance": "one per recipe, distance and score",
}
BESIDE = {"beside": "one per study, recipe and score"}
FIGURES = {
    "answer": "the contrasts of the question",
    "accuracy": "macro against micro accuracy",
    "per_class": "recall per class",
    "fronts": "macro against micro accuracy after prior shifts",
    "reliability": "accuracy by confidence",
    "distance": "scores by distance to the nearest training chip",
    "map": "share of correct predictions at each point",
    "spectra": "reflectance of each class",
    "confusion": "confusion matrices",
    "curves": "training curves",
}
# Processes that compute the tables. Those of a few recipes take less time than processes to start.
TABLE_PROCESSES = max(1, min(8, len(recipes(config)) // 32))
# Parameters of `read_run_status`, which finds the runs of the study and their state.
RUN_STATUS_PARAMS = {
    "folders": without_rerun({"runs": f"{RESULTS}/runs", "logs": f"{RESULTS}/logs/train_run"}),
    "recipes": recipes(config),
    "seeds": GRID["seeds"],
}


rule make_tables:
    input:
        predictions=reported_run_files("predictions.parquet"),
        records=reported_run_files("run.yaml"),
        histories=reported_run_files("history.csv"),
        controls=list_control_files("predictions.parquet"),
        splits=expand(SPLIT, seed=GRID["seeds"]),
        chips=f"{RESULTS}/data/chips.parquet",
        features=list_feature_records(),
        packed=f"{RESULTS}/data/packed.json" if TUNED else [],
        weights=[f"{RESULTS}/weights/{name}.json" for name in TUNED],
    output:
        **declare_tables(TABLES),
        durations=f"{RESULTS}/durations.csv",
    log:
        f"{RESULTS}/logs/make_tables.log",
    benchmark:
        f"{RESULTS}/benchmarks/make_tables.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: TABLE_PROCESSES
    resources:
        mem_mb=2000 * TABLE_PROCESSES,
        runtime=60,
    params:
        **RUN_STATUS_PARAMS,
        code=code_fingerprint("make_tables"),
        classes=DATASET["classes"],
        split=get_split_settings(),
        report={
            key: value
            for key, value in config["report"].items()
            if key not in ("beside", "controls", "planning", "unfinished_runs")
        },
        controls=without_rerun(f"{RESULTS}/controls"),
        settings_of_runs=get_settings_of_runs,
    message:
        "Computing the tables of {config[study]}"
    script:
        script_path("make_tables")


rule make_evidence:
    input:
        predictions=reported_run_files("predictions.parquet"),
        records=reported_run_files("run.yaml"),
        splits=expand(SPLIT, seed=GRID["seeds"]),
        chips=f"{RESULTS}/data/chips.parquet",
        data_report=f"{RESULTS}/data/report.json",
    output:
        **declare_tables(EVIDENCE),
        points=f"{RESULTS}/maps/points.parquet",
        geojson=f"{RESULTS}/maps/points.geojson",
    log:
        f"{RESULTS}/logs/make_evidence.log",
    benchmark:
        f"{RESULTS}/benchmarks/make_evidence.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: TABLE_PROCESSES
    resources:
        mem_mb=2000 * TABLE_PROCESSES,
        runtime=60,
    params:
        **RUN_STATUS_PARAMS,
        code=code_fingerprint("make_evidence"),
        classes=DATASET["classes"],
        strategy=config["split"]["strategy"],
        monitor=config["training"]["monitor"],
        level=config["report"]["confidence_level"],
        contrasts=config["report"]["contrasts"],
        pixel_size_m=DATASET["pixel_size_m"],
        seed=config["report"]["seed"],
    message:
        "Computing fronts, calibration, distances and the map of {config[study]}"
    script:
        script_path("make_evidence")


rule power:
    output:
        f"{RESULTS}/power.csv",
    log:
        f"{RESULTS}/logs/power.log",
    benchmark:
        f"{RESULTS}/benchmarks/power.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_fingerprint("power"),
        split=config["split"],
        seeds=GRID["seeds"],
        n_classes=len(DATASET["classes"]),
        margins=config["report"]["margins"],
        level=config["report"]["confidence_level"],
        planning=config["report"]["planning"],
        grid={name: GRID[name] for name in ("backbones", "losses", "decoders")},
        contrasts=config["report"]["contrasts"],
        index=f"{RESULTS}/data/chips.parquet",
        # No input: the power is asked for before there are chips.
        data=lambda wildcards: get_counted_chips(),
    message:
        "Computing the planned power of {config[study]}"
    script:
        script_path("power")


rule draw_figures:
    input:
        **{
            name: f"{RESULTS}/tables/{name}.csv"
            for name in (
                "summary",
                "contrasts",
                "per_class",
                "confusion",
                "curves",
                "fronts",
                "fronts_runs",
                "reliability",
                "distance",
            )
        },
        points=f"{RESULTS}/maps/points.parquet",
        chips=f"{RESULTS}/data/chips.parquet",
    output:
        **{
            name: report(
                f"{RESULTS}/figures/{name}.svg",
                caption=f"../report/{name}_figure.rst",
                category="Figures",
                labels={"figure": title},
            )
            for name, title in FIGURES.items()
        },
    log:
        f"{RESULTS}/logs/draw_figures.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_figures.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code_fingerprint("draw_figures"),
        primary=config["report"]["primary"],
        bands=DATASET["bands"],
    message:
        "Drawing the figures of {config[study]}"
    script:
        script_path("draw_figures")


rule make_gallery:
    input:
        summary=f"{RESULTS}/tables/summary.csv",
        predictions=reported_run_files("predictions.parquet"),
        chips=f"{RESULTS}/data/chips.parquet",
        retrieval=f"{RESULTS}/data/retrieval.json",
    output:
        f"{RESULTS}/gallery.json",
    log:
        f"{RESULTS}/logs/make_gallery.log",
    benchmark:
        f"{RESULTS}/benchmarks/make_gallery.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        **RUN_STATUS_PARAMS,
        code=code_fingerprint("make_gallery"),
        metric=config["report"]["primary"],
        dataset=without_rerun(DATASET_WITHOUT_SOURCES),
    message:
        "Choosing chips to show of {config[study]}"
    script:
        script_path("make_gallery")


rule build_report:
    input:
        **{f"table_{name}": f"{RESULTS}/tables/{name}.csv" for name in [*TABLES, *EVIDENCE]},
        **{f"figure_{name}": f"{RESULTS}/figures/{name}.svg" for name in FIGURES},
        durations=f"{RESULTS}/durations.csv",
        features=list_feature_records(),
        tuned=[f"{RESULTS}/weights/{name}.json" for name in TUNED],
        retrieval=f"{RESULTS}/data/retrieval.json",
        data_report=f"{RESULTS}/data/report.json",
        points=f"{RESULTS}/maps/points.parquet",
        geojson=f"{RESULTS}/maps/points.geojson",
        gallery=f"{RESULTS}/gallery.json",
        beside=list_tables_beside("summary"),
        classes_beside=list_tables_beside("classes"),
    output:
        **declare_tables(BESIDE),
        page=report(
            f"{RESULTS}/report.html",
            caption="../report/report.rst",
            category="Report",
            labels={"page": "the whole report in one file"},
        ),
    log:
        f"{RESULTS}/logs/build_report.log",
    benchmark:
        f"{RESULTS}/benchmarks/build_report.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code_fingerprint("build_report"),
        config=get_reported_config(),
        registration=f"{RESULTS}/registration.json",
        tables=[*TABLES, *EVIDENCE],
        figures=list(FIGURES),
    message:
        "Writing the report of {config[study]}"
    script:
        script_path("build_report")
