# Features: a pass of all chips through each frozen backbone. Each kind (pooled vectors or token grids, of the last layer or
# of several) is a pass of its own, so that a decoder that needs another one can join a study without making what it
# already has again.


rule fetch_weights:
    input:
        weights_file,
    output:
        f"{RESULTS}/weights/{{backbone}}.json",
    log:
        f"{RESULTS}/logs/fetch_weights/{{backbone}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch_weights/{{backbone}}.tsv"
    # On the head node: compute nodes often have no network.
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=120,
    params:
        weights=lambda wildcards: config["backbones"][wildcards.backbone]["weights"],
        cache=DOWNLOADS,
        twins=lambda wildcards, input: duplicate_candidates(wildcards.backbone),
    message:
        "Making sure the weights of {wildcards.backbone} are here"
    script:
        script_of("fetch_weights")


rule extract_features:
    input:
        chips=f"{RESULTS}/data/chips.parquet",
        retrieval=f"{RESULTS}/data/retrieval.json",
        weights=f"{RESULTS}/weights/{{backbone}}.json",
        split=branch(lambda wildcards: wildcards.scope == "all", then=[], otherwise=f"{RESULTS}/splits/{{scope}}.csv"),
    output:
        features=f"{FEATURES}/{{kind}}.npy",
        record=f"{FEATURES}/{{kind}}.json",
    log:
        f"{RESULTS}/logs/extract_features/{{backbone}}-{{scope}}-{{kind}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/extract_features/{{backbone}}-{{scope}}-{{kind}}.tsv"
    conda:
        ENVIRONMENT
    threads: config["features"]["threads"]
    resources:
        mem_mb=features_resource(features_memory_mb),
        runtime=features_resource(features_minutes, config["features"]["threads"], wants_gpu("features")),
        gpu=wants_gpu("features"),
    params:
        code=code_fingerprint("extract_features"),
        settings=lambda wildcards: feature_settings(wildcards.backbone),
        dataset=without_rerun({key: value for key, value in DATASET.items() if key != "sources"}),
        workers=without_rerun(config["features"]["workers"]),
    message:
        "Passing all chips through {wildcards.backbone} ({wildcards.kind})"
    script:
        script_of("extract_features")
