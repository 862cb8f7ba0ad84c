# Features: pass all chips through each frozen backbone. Each kind of features (pooled vectors or tokens, of the last layer
# or of several layers) has a job of its own, so that adding a decoder to a study does not repeat earlier passes. The first
# job passes the chips for all kinds that are not there. With `features.shards`, several jobs pass parts of the chips.


include: "feature_parts.smk"


rule fetch_weights:
    output:
        WEIGHTS_RECORD,
    log:
        f"{RESULTS}/logs/fetch_weights/{{backbone}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch_weights/{{backbone}}.tsv"
    # Runs on the head node, because compute nodes often have no network.
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        # Not compared: of a file, what is in it counts, and not where it lies.
        weights=lambda wildcards, input: config["backbones"][wildcards.backbone]["weights"],
        tracked=lambda wildcards: settings_of_weights(config["backbones"][wildcards.backbone]["weights"]),
        contents=lambda wildcards: get_weights_token(wildcards.backbone),
        record=WEIGHTS_FILES_RECORD,
        link=WEIGHTS_LINK,
        cache=DOWNLOADS,
        candidates=lambda wildcards, input: get_duplicate_candidates(wildcards.backbone),
    message:
        "Fetching and checking the weights of {wildcards.backbone}"
    script:
        script_path("fetch_weights")


rule extract_features:
    input:
        chips=f"{RESULTS}/data/chips.parquet",
        retrieval=f"{RESULTS}/data/retrieval.json",
        weights=f"{RESULTS}/weights/{{backbone}}.json",
        split=branch(
            lambda wildcards: wildcards.normalised_by == "all",
            then=[],
            otherwise=f"{RESULTS}/splits/{{normalised_by}}.csv",
        ),
    output:
        features=keep_if_whole(f"{PASSED}/{{kind}}.npy"),
        record=keep_if_whole(f"{PASSED}/{{kind}}.json"),
    log:
        f"{RESULTS}/logs/extract_features/{PASS_NAME}.log",
    benchmark:
        f"{RESULTS}/benchmarks/extract_features/{PASS_NAME}.tsv"
    wildcard_constraints:
        part=r"\d+",
    conda:
        ENVIRONMENT
    threads: config["features"]["threads"]
    resources:
        mem_mb=features_resource(features_memory_mb),
        runtime=features_resource(features_minutes, config["features"]["threads"], count_gpus("features")),
        gpu=count_gpus("features"),
    params:
        code=code_fingerprint("extract_features"),
        settings=lambda wildcards: get_feature_settings(wildcards.backbone),
        dataset=without_rerun(DATASET_WITHOUT_SOURCES),
        workers=without_rerun(config["features"]["workers"]),
        kinds=without_rerun(list_feature_kinds()),
        shards=without_rerun(SHARDS),
        folder=lambda wildcards, input: FEATURES.format(**dict(wildcards.items())),
    message:
        f"Passing all chips through {{wildcards.backbone}} ({{wildcards.kind}}{OF_PART})"
    script:
        script_path("extract_features")


if SHARDS > 1:

    include: "joined_features.smk"
