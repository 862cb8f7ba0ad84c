# Runs: one job for each backbone × loss × decoder × seed. With a frozen backbone, decoder and head are trained on stored
# features. A tuned backbone is trained on chips, together with decoder and head. Both write the same files.


rule train_run:
    input:
        chips=f"{RESULTS}/data/chips.parquet",
        split=SPLIT,
        # Its record has its checksum, so that its own times need not count; Snakemake would hash it for every run.
        features=ancient(lambda wildcards: f"{get_features_of_run(wildcards)}.npy"),
        features_record=lambda wildcards: f"{get_features_of_run(wildcards)}.json",
        audits=list_audits_of_run,
    output:
        predictions=f"{RUN}/predictions.parquet",
        metrics=f"{RUN}/metrics.json",
        history=f"{RUN}/history.csv",
        model=f"{RUN}/model.ckpt",
        record=f"{RUN}/run.yaml",
    log:
        f"{RESULTS}/logs/train_run/{RUN_NAME}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_run/{RUN_NAME}.tsv"
    wildcard_constraints:
        backbone=one_of(FROZEN),
    conda:
        ENVIRONMENT
    threads: config["training"]["threads"]
    resources:
        mem_mb=training_resource(training_memory_mb),
        runtime=training_resource(
            training_minutes,
            config["training"]["epochs"],
            config["training"]["batch_size"],
            count_gpus("training"),
        ),
        gpu=count_gpus("training"),
        # A profile that packs runs limits with this resource how many runs of a pack train at the same time.
        pack_slot=1,
    params:
        code=code_fingerprint("train_run"),
        loss=lambda wildcards: config["losses"][wildcards.loss],
        decoder=lambda wildcards: config["decoders"][wildcards.decoder],
        training=lambda wildcards: training_settings(config, get_tuning(wildcards)),
        bookkeeping=without_rerun({key: config["training"][key] for key in BOOKKEEPING}),
        class_names=without_rerun([entry["name"] for entry in DATASET["classes"]]),
        n_classes=len(DATASET["classes"]),
    message:
        "Training {wildcards.backbone} × {wildcards.loss} × {wildcards.decoder}, seed {wildcards.seed}"
    script:
        script_path("train_run")


rule tune_run:
    input:
        chips=f"{RESULTS}/data/chips.parquet",
        split=SPLIT,
        packed=ancient(f"{RESULTS}/data/packed.npy"),
        packed_record=f"{RESULTS}/data/packed.json",
        weights=f"{RESULTS}/weights/{{backbone}}.json",
        audits=list_audits_of_run,
    output:
        predictions=f"{RUN}/predictions.parquet",
        metrics=f"{RUN}/metrics.json",
        history=f"{RUN}/history.csv",
        model=f"{RUN}/model.ckpt",
        record=f"{RUN}/run.yaml",
    log:
        f"{RESULTS}/logs/train_run/{RUN_NAME}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_run/{RUN_NAME}.tsv"
    wildcard_constraints:
        backbone=one_of(TUNED),
    conda:
        ENVIRONMENT
    threads: tuning_threads(config["training"])
    resources:
        # Profiles do not pack tuned runs, because each of them takes hours.
        mem_mb=tuning_resource(tuning_memory_mb, count_gpus("training")),
        runtime=tuning_resource(
            tuning_minutes,
            config["training"]["epochs"],
            config["training"]["threads"],
            count_gpus("training"),
        ),
        gpu=count_gpus("training"),
    params:
        code=code_fingerprint("tune_run"),
        loss=lambda wildcards: config["losses"][wildcards.loss],
        decoder=lambda wildcards: config["decoders"][wildcards.decoder],
        training=lambda wildcards: training_settings(config, get_tuning(wildcards)),
        model=lambda wildcards: config["backbones"][wildcards.backbone]["model"],
        bands=DATASET["bands"],
        normalisation=config["normalisation"],
        bookkeeping=without_rerun({key: config["training"][key] for key in BOOKKEEPING}),
        class_names=without_rerun([entry["name"] for entry in DATASET["classes"]]),
        tuning_bookkeeping=without_rerun({key: config["training"]["end_to_end"][key] for key in END_TO_END_BOOKKEEPING}),
        n_classes=len(DATASET["classes"]),
    message:
        "Tuning {wildcards.backbone} × {wildcards.loss} × {wildcards.decoder}, seed {wildcards.seed}"
    script:
        script_path("tune_run")
