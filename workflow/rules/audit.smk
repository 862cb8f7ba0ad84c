# Audit: before anything is trained, every loss and decoder is tried beside the others of the study, on random features.


rule audit_treatment:
    input:
        chips=f"{RESULTS}/data/chips.parquet",
        # What it shares with the runs. Its own code is left out: a finished study is not repeated for a better audit.
        code=[path for path in code_of("audit_treatment") if path in code_of("train_run")],
    output:
        f"{RESULTS}/data/audit/{{section}}/{{setting}}.json",
    log:
        f"{RESULTS}/logs/audit_treatment/{{section}}/{{setting}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/audit_treatment/{{section}}/{{setting}}.tsv"
    wildcard_constraints:
        section="losses|decoders",
        setting=one_of([*GRID["losses"], *GRID["decoders"]]),
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        # Runs depend on the audit of their own loss and decoder. Only what makes them run again makes that again: not a
        # name that joins the grid, which has an audit of its own beside all others.
        setting=lambda wildcards: config[wildcards.section][wildcards.setting],
        epochs=config["training"]["epochs"],
        study=study_of_setting,
    message:
        "Auditing {wildcards.section}.{wildcards.setting}"
    script:
        script_of("audit_treatment")
