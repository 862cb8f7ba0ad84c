# Runs: a decoder and its head trained on frozen features, one job for each backbone × loss × decoder × seed.


rule train_run:
    input:
        # A run depends on what its features are made of. The array itself is `ancient`: when another decoder of the
        # grid needs a further array, the pass writes this one again with the same content, and that reruns nothing.
        chips=f"{RESULTS}/data/chips.parquet",
        split=f"{RESULTS}/splits/seed-{{seed}}.csv",
        weights=f"{RESULTS}/weights/{{backbone}}.json",
        features=ancient(features_of_run),
        features_record=ancient(features_record_of_run),
        code=code_of("train_run"),
        features_code=code_of("extract_features"),
    output:
        predictions=f"{RUN}/predictions.parquet",
        metrics=f"{RUN}/metrics.json",
        history=f"{RUN}/history.csv",
        model=f"{RUN}/model.ckpt",
        record=f"{RUN}/run.yaml",
    log:
        f"{RESULTS}/logs/train_run/{{backbone}}/{{loss}}/{{decoder}}/seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_run/{{backbone}}/{{loss}}/{{decoder}}/seed-{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: config["training"]["threads"]
    resources:
        mem_mb=training_memory_mb,
        runtime=training_minutes,
        gpu=wants_gpu("training"),
    params:
        loss=lambda wildcards: config["losses"][wildcards.loss],
        decoder=lambda wildcards: config["decoders"][wildcards.decoder],
        training=config["training"],
        n_classes=len(DATASET["classes"]),
        # Not read by the script: a change of what the features depend on reruns the run as well.
        features=lambda wildcards: feature_settings(wildcards.backbone),
    message:
        "Training {wildcards.backbone} × {wildcards.loss} × {wildcards.decoder}, seed {wildcards.seed}"
    script:
        script_of("train_run")
