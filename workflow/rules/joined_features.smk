# Join the features of the parts of a pass, where `features.shards` divides it.


rule join_features:
    input:
        features=[f"{FEATURES}/parts/{part}-of-{SHARDS}/{{kind}}.npy" for part in range(SHARDS)],
        records=[f"{FEATURES}/parts/{part}-of-{SHARDS}/{{kind}}.json" for part in range(SHARDS)],
    output:
        features=f"{FEATURES}/{{kind}}.npy",
        record=f"{FEATURES}/{{kind}}.json",
    log:
        f"{RESULTS}/logs/join_features/{{backbone}}-{{normalised_by}}-{{kind}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/join_features/{{backbone}}-{{normalised_by}}-{{kind}}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        code=code_fingerprint("join_features"),
    message:
        "Joining the features of {wildcards.backbone} ({wildcards.kind})"
    script:
        script_path("join_features")
