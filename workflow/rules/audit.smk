# Audits: before anything is trained, every loss, decoder and tuning is tried beside the others of the study, on random
# features or chips, and the normalisation beside all there are, with the statistics of the chips.


rule audit_treatment:
    input:
        chips=f"{RESULTS}/data/chips.parquet",
    output:
        f"{RESULTS}/data/audit/{{section}}/{{setting}}.json",
    log:
        f"{RESULTS}/logs/audit_treatment/{{section}}/{{setting}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/audit_treatment/{{section}}/{{setting}}.tsv"
    wildcard_constraints:
        section="losses|decoders|normalisation",
        setting=one_of([*GRID["losses"], *GRID["decoders"], config["normalisation"]]),
    # Before all else that could start, because what an audit refuses makes long jobs useless.
    priority: 1
    # It would fail in the same way again.
    retries: 0
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        # What it shares with the runs. Its own code is left out: a finished study is not repeated for a better audit.
        code=shared_code_fingerprint("audit_treatment", "train_run"),
        # Runs depend on the audits of what they are made of. Only what makes them run again makes that again: not a
        # name that joins the grid, which has an audit of its own beside all others.
        setting=lambda wildcards: setting_of(wildcards.section, wildcards.setting),
        epochs=config["training"]["epochs"],
        study=study_of_setting,
    message:
        "Auditing {wildcards.section}.{wildcards.setting}"
    script:
        script_of("audit_treatment")


rule audit_tuning:
    output:
        f"{RESULTS}/data/audit/tuning/{{tuning}}.json",
    log:
        f"{RESULTS}/logs/audit_tuning/{{tuning}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/audit_tuning/{{tuning}}.tsv"
    wildcard_constraints:
        tuning="lora|full",
    priority: 1
    retries: 0
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        code=shared_code_fingerprint("audit_tuning", "tune_run"),
        training=lambda wildcards: training_settings(config, wildcards.tuning),
        bands=DATASET["bands"],
        study=study_of_tuning,
    message:
        "Auditing training.tuning {wildcards.tuning}"
    script:
        script_of("audit_tuning")
