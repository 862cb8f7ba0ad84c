# Runs: a decoder and its head trained on frozen features, one job for each backbone × loss × decoder × seed.


rule train_run:
    input:
        chips=f"{RESULTS}/data/chips.parquet",
        split=f"{RESULTS}/splits/seed-{{seed}}.csv",
        features=lambda wildcards: f"{features_of_run(wildcards)}.npy",
        features_record=lambda wildcards: f"{features_of_run(wildcards)}.json",
        audits=audits_of_run,
        code=code_of("train_run"),
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
        mem_mb=training_resource(training_memory_mb),
        runtime=training_resource(
            training_minutes,
            config["training"]["epochs"],
            config["training"]["batch_size"],
            wants_gpu("training"),
        ),
        gpu=wants_gpu("training"),
        # A profile that packs runs lets so many of a pack train at once.
        pack_slot=1,
    params:
        loss=lambda wildcards: config["losses"][wildcards.loss],
        decoder=lambda wildcards: config["decoders"][wildcards.decoder],
        training={key: value for key, value in config["training"].items() if key not in BOOKKEEPING},
        bookkeeping=untracked({key: config["training"][key] for key in BOOKKEEPING}),
        n_classes=len(DATASET["classes"]),
    message:
        "Training {wildcards.backbone} × {wildcards.loss} × {wildcards.decoder}, seed {wildcards.seed}"
    script:
        script_of("train_run")
