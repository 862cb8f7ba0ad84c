# Chips: retrieved, checked, indexed and divided into training, validation and test parts.


rule retrieve_chips:
    input:
        archives=archives(),
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
        # Simulated chips are made by code. Downloaded ones are not, and a study is not repeated for a better download.
        code=(
            code_fingerprint("retrieve_chips")
            if any(source["type"] == "simulated" for source in DATASET["sources"])
            else None
        ),
        # Addresses may hold passwords, and Snakemake keeps what it compares.
        sources=without_rerun(DATASET["sources"]),
        tracked=[sha256_of_json(DATASET["sources"]), state_of_directories()],
        folder=f"{DOWNLOADS}/chips/{DATASET_KEY}",
    message:
        "Retrieving the chips"
    script:
        script_of("retrieve_chips")


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
        dataset={key: value for key, value in DATASET.items() if key not in ("sources", "pixel_size_m")},
        # Only to fail early: the split itself checks every class in every part.
        min_chips_per_class=without_rerun(min_chips_per_class(config["split"])),
    message:
        "Opening and checking every chip"
    script:
        script_of("index_chips")


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
        dataset=without_rerun({key: value for key, value in DATASET.items() if key != "sources"}),
    message:
        "Packing the chips into one array"
    script:
        script_of("pack_chips")


rule split_chips:
    input:
        chips=f"{RESULTS}/data/chips.parquet",
    output:
        f"{RESULTS}/splits/seed-{{seed}}.csv",
    log:
        f"{RESULTS}/logs/split_chips/seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/split_chips/seed-{{seed}}.tsv"
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
        split=split_settings(),
        classes=[entry["name"] for entry in DATASET["classes"]],
    message:
        "Dividing the chips for seed {wildcards.seed}"
    script:
        script_of("split_chips")
