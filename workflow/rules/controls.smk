# Controls: simple classifiers on the same splits as the runs; a recipe should be better than all of them.


rule describe_chips:
    input:
        chips=f"{RESULTS}/data/chips.parquet",
        retrieval=f"{RESULTS}/data/retrieval.json",
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
        code=code_fingerprint("describe_chips"),
        dataset=without_rerun(DATASET_WITHOUT_SOURCES),
    message:
        "Computing descriptions of all chips for the controls"
    script:
        script_path("describe_chips")


rule fit_control:
    input:
        chips=f"{RESULTS}/data/chips.parquet",
        splits=expand(SPLIT, seed=GRID["seeds"]),
        # The record of an array has its checksum, so that its own times need not count.
        sources=lambda wildcards: [
            ancient(path) if path.endswith(".npy") else path
            for path in dict.fromkeys(itertools.chain(*list_control_sources(wildcards)))
        ],
    output:
        predictions=expand(f"{CONTROL}/predictions.parquet", seed=GRID["seeds"], allow_missing=True),
        records=expand(f"{CONTROL}/control.json", seed=GRID["seeds"], allow_missing=True),
    log:
        f"{RESULTS}/logs/fit_control/{{control}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fit_control/{{control}}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code_fingerprint("fit_control"),
        monitor=config["training"]["monitor"],
        n_classes=len(DATASET["classes"]),
        seeds=GRID["seeds"],
        sources=list_control_sources,
    message:
        "Fitting the control {wildcards.control}"
    script:
        script_path("fit_control")
