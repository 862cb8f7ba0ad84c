# Retrieve, check and index the chips, and split them into training, validation and test parts.


rule retrieve_chips:
    output:
        f"{RESULTS}/data/retrieval.json",
    log:
        f"{RESULTS}/logs/retrieve_chips.log",
    benchmark:
        f"{RESULTS}/benchmarks/retrieve_chips.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        # Only simulated chips depend on the code. A change of the download code must not rerun a finished study.
        code=(
            code_fingerprint("retrieve_chips")
            if any(source["type"] == "simulated" for source in DATASET["sources"])
            else None
        ),
        # Not compared, because addresses may contain passwords and Snakemake stores the parameters that it compares.
        sources=without_rerun(DATASET["sources"]),
        # Functions, so that only jobs that need them look at all files.
        tracked=lambda wildcards: get_source_tokens().tracked,
        contents=lambda wildcards: get_source_tokens().contents,
        layout=without_rerun(DATASET["layout"]),
        record=SOURCE_FILES_RECORD,
        # Its name depends on where local sources lie.
        folder=without_rerun(f"{DOWNLOADS}/chips/{DATASET_FOLDER}"),
    message:
        "Retrieving the chips"
    script:
        script_path("retrieve_chips")


rule index_chips:
    input:
        retrieval=f"{RESULTS}/data/retrieval.json",
    output:
        chips=f"{RESULTS}/data/chips.parquet",
        report=f"{RESULTS}/data/report.json",
    log:
        f"{RESULTS}/logs/index_chips.log",
    benchmark:
        f"{RESULTS}/benchmarks/index_chips.tsv"
    # A check: it would fail in the same way again.
    retries: 0
    localrule: True
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        code=code_fingerprint("index_chips"),
        # retrieval.json may stay the same when chips change.
        contents=lambda wildcards: get_source_tokens().contents,
        compared={
            key: value
            for key, value in DATASET.items()
            if key not in ("name", "sources", "classes", *get_tokens_of_valid_chips())
        },
        valid=lambda wildcards: get_tokens_of_valid_chips(),
        # A function: Snakemake would take braces in a list for wildcards.
        codes=lambda wildcards: [entry["code"] for entry in DATASET["classes"]],
        classes=lambda wildcards: get_classes_token(),
        dataset=without_rerun(DATASET_WITHOUT_SOURCES),
        sources=without_rerun(DATASET["sources"]),
        records=[SOURCE_FILES_RECORD, LABELS_RECORD, INVALID_RECORD],
        # Only for an early error; the split checks it too.
        min_chips_per_class=without_rerun(min_chips_per_class(config["split"])),
    message:
        "Opening and checking every chip"
    script:
        script_path("index_chips")


rule pack_chips:
    input:
        chips=f"{RESULTS}/data/chips.parquet",
        retrieval=f"{RESULTS}/data/retrieval.json",
    output:
        packed=f"{RESULTS}/data/packed.npy",
        record=f"{RESULTS}/data/packed.json",
    log:
        f"{RESULTS}/logs/pack_chips.log",
    benchmark:
        f"{RESULTS}/benchmarks/pack_chips.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        code=code_fingerprint("pack_chips"),
        dataset=without_rerun(DATASET_WITHOUT_SOURCES),
    message:
        "Packing the chips into one array"
    script:
        script_path("pack_chips")


rule split_chips:
    input:
        chips=f"{RESULTS}/data/chips.parquet",
    output:
        SPLIT,
    log:
        f"{RESULTS}/logs/split_chips/{SEED_NAME}.log",
    benchmark:
        f"{RESULTS}/benchmarks/split_chips/{SEED_NAME}.tsv"
    # A check: it would fail in the same way again.
    retries: 0
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_fingerprint("split_chips"),
        split=get_split_settings(),
        # Only for errors.
        seeds=without_rerun(GRID["seeds"]),
        min_chips_per_class=without_rerun(min_chips_per_class(config["split"])),
        classes=without_rerun([entry["name"] for entry in DATASET["classes"]]),
    message:
        "Splitting the chips for seed {wildcards.seed}"
    script:
        script_path("split_chips")
