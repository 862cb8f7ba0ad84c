# Controls: cheap classifiers on the same splits as the runs, which a recipe has to beat.


rule describe_chips:
    input:
        chips=f"{RESULTS}/data/chips.parquet",
        retrieval=f"{RESULTS}/data/retrieval.json",
        code=code_of("describe_chips"),
    output:
        f"{RESULTS}/data/descriptions.parquet",
    log:
        f"{RESULTS}/logs/describe_chips.log",
    benchmark:
        f"{RESULTS}/benchmarks/describe_chips.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        dataset=untracked({key: value for key, value in DATASET.items() if key != "sources"}),
    message:
        "Describing every chip for the controls"
    script:
        script_of("describe_chips")


rule fit_control:
    input:
        chips=f"{RESULTS}/data/chips.parquet",
        split=f"{RESULTS}/splits/seed-{{seed}}.csv",
        source=source_of_control,
        code=code_of("fit_control"),
    output:
        predictions=f"{CONTROL}/predictions.parquet",
        record=f"{CONTROL}/control.json",
    log:
        f"{RESULTS}/logs/fit_control/{{control}}/seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fit_control/{{control}}/seed-{{seed}}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        monitor=config["training"]["monitor"],
        n_classes=len(DATASET["classes"]),
    message:
        "Fitting the control {wildcards.control}, seed {wildcards.seed}"
    script:
        script_of("fit_control")
