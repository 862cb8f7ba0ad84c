# Audits before training. Every loss, decoder and tuning is compared with the others of the study on random features or
# chips. The normalisation is compared with all other normalisations on the statistics of the chips.


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
        # Only the code that the audit shares with the runs: a change of the audit itself must not rerun a finished study.
        code=code_fingerprint("audit_treatment", "train_run"),
        # A run depends on the audits of its settings. Therefore an audit must rerun only when the run reruns anyway. It
        # does not rerun when a name is added to the grid: the audit of the new name compares it with all others.
        setting=lambda wildcards: get_setting(wildcards.section, wildcards.setting),
        epochs=config["training"]["epochs"],
        study=get_settings_to_compare,
    message:
        "Auditing {wildcards.section}.{wildcards.setting}"
    script:
        script_path("audit_treatment")


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
        code=code_fingerprint("audit_tuning", "tune_run"),
        training=lambda wildcards: training_settings(config, wildcards.tuning),
        bands=DATASET["bands"],
        study=get_tunings_to_compare,
    message:
        "Auditing training.tuning {wildcards.tuning}"
    script:
        script_path("audit_tuning")
