# Predictions on new chips with the selected models: plan → parts, in any number → one table.


include: "new_chips.smk"


rule plan_prediction:
    input:
        SELECTION,
    output:
        PREDICTION_PLAN,
    log:
        f"{RESULTS}/logs/plan_prediction.log",
    benchmark:
        f"{RESULTS}/benchmarks/plan_prediction.tsv"
    # A check: it would fail in the same way again.
    retries: 0
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        code=code_fingerprint("plan_prediction"),
        code_of_parts=code_fingerprint("predict_part"),
        source=lambda wildcards: get_prediction_input(),
        contents=lambda wildcards: token_of_new_chips(Path(get_prediction_input()), Path(NEW_CHIPS_RECORD)),
        record=NEW_CHIPS_RECORD,
        options={key: value for key, value in PREDICT.items() if key in PREDICT_OPTIONS},
        study=without_rerun(RESULTS),
    message:
        "Looking at the chips to predict"
    script:
        script_path("plan_prediction")


rule predict_part:
    input:
        PREDICTION_PLAN,
        SELECTION,
    output:
        temp(f"{PREDICTION}/parts/{{part}}-of-{PREDICT['shards']}.parquet"),
    log:
        f"{RESULTS}/logs/predict_part/{{part}}-of-{PREDICT['shards']}.log",
    benchmark:
        f"{RESULTS}/benchmarks/predict_part/{{part}}-of-{PREDICT['shards']}.tsv"
    wildcard_constraints:
        part=r"\d+",
    conda:
        ENVIRONMENT
    threads: PREDICT["threads"]
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=0 if PREDICT["device"] == "cpu" else 1,
    params:
        code=code_fingerprint("predict_part"),
        source=without_rerun(PREDICT["input"]),
        record=NEW_CHIPS_RECORD,
        parts=PREDICT["shards"],
        study=without_rerun(RESULTS),
    message:
        "Predicting part {wildcards.part} of {params.parts}"
    script:
        script_path("predict_part")


rule join_predictions:
    input:
        plan=PREDICTION_PLAN,
        parts=[f"{PREDICTION}/parts/{part}-of-{PREDICT['shards']}.parquet" for part in range(PREDICT["shards"])],
        lost=made_again_if_lost(f"{PREDICTION}/prediction.json", lost_of_prediction, Path(PREDICTION)),
    output:
        predictions=f"{PREDICTION}/predictions.parquet",
        unread=f"{PREDICTION}/unread.csv",
        record=f"{PREDICTION}/prediction.json",
    log:
        f"{RESULTS}/logs/join_predictions.log",
    benchmark:
        f"{RESULTS}/benchmarks/join_predictions.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        code=code_fingerprint("join_predictions"),
    message:
        "Writing the predictions"
    script:
        script_path("join_predictions")
