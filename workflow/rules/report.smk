# Aggregation: tidy tables, figures and one self-contained report, all a function of the runs' files.
TABLES = ["runs", "summary", "per_class", "contrasts", "confusion", "curves", "classes"]
FIGURES = ["accuracy", "per_class", "confusion", "curves"]


rule make_tables:
    input:
        predictions=of_all_runs("predictions.parquet"),
        records=of_all_runs("run.yaml"),
        histories=of_all_runs("history.csv"),
        chips=f"{RESULTS}/data/chips.parquet",
        code=code_of("make_tables"),
    output:
        runs=report(
            f"{RESULTS}/tables/runs.csv",
            caption="../report/runs.rst",
            category="Tables",
            labels={"table": "runs", "rows": "one per run"},
        ),
        summary=report(
            f"{RESULTS}/tables/summary.csv",
            caption="../report/summary.rst",
            category="Tables",
            labels={"table": "summary", "rows": "one per recipe and metric"},
        ),
        per_class=report(
            f"{RESULTS}/tables/per_class.csv",
            caption="../report/per_class_table.rst",
            category="Tables",
            labels={"table": "per class", "rows": "one per recipe, class and metric"},
        ),
        contrasts=report(
            f"{RESULTS}/tables/contrasts.csv",
            caption="../report/contrasts.rst",
            category="Tables",
            labels={"table": "contrasts", "rows": "one per contrast, scope and metric"},
        ),
        confusion=f"{RESULTS}/tables/confusion.csv",
        curves=f"{RESULTS}/tables/curves.csv",
        classes=f"{RESULTS}/tables/classes.csv",
        durations=f"{RESULTS}/durations.csv",
    log:
        f"{RESULTS}/logs/make_tables.log",
    benchmark:
        f"{RESULTS}/benchmarks/make_tables.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        classes=DATASET["classes"],
        strategy=config["split"]["strategy"],
        level=config["report"]["confidence_level"],
        contrasts=config["report"]["contrasts"],
    message:
        "Computing the tables of {config[study]}"
    script:
        script_of("make_tables")


rule draw_figures:
    input:
        summary=f"{RESULTS}/tables/summary.csv",
        per_class=f"{RESULTS}/tables/per_class.csv",
        confusion=f"{RESULTS}/tables/confusion.csv",
        curves=f"{RESULTS}/tables/curves.csv",
        code=code_of("draw_figures"),
    output:
        accuracy=report(
            f"{RESULTS}/figures/accuracy.svg",
            caption="../report/accuracy.rst",
            category="Figures",
            labels={"figure": "macro against micro accuracy"},
        ),
        per_class=report(
            f"{RESULTS}/figures/per_class.svg",
            caption="../report/per_class.rst",
            category="Figures",
            labels={"figure": "recall per class"},
        ),
        confusion=report(
            f"{RESULTS}/figures/confusion.svg",
            caption="../report/confusion.rst",
            category="Figures",
            labels={"figure": "confusion matrices"},
        ),
        curves=report(
            f"{RESULTS}/figures/curves.svg",
            caption="../report/curves.rst",
            category="Figures",
            labels={"figure": "training curves"},
        ),
    log:
        f"{RESULTS}/logs/draw_figures.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_figures.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    message:
        "Drawing the figures of {config[study]}"
    script:
        script_of("draw_figures")


rule build_report:
    input:
        **{f"table_{name}": f"{RESULTS}/tables/{name}.csv" for name in TABLES},
        **{f"figure_{name}": f"{RESULTS}/figures/{name}.svg" for name in FIGURES},
        durations=f"{RESULTS}/durations.csv",
        features=feature_records(),
        retrieval=f"{RESULTS}/data/retrieval.json",
        data_report=f"{RESULTS}/data/report.json",
        code=code_of("build_report"),
        template=[SCRIPTS / "terralucas" / "assets" / name for name in ("report.html.j2", "report.css")],
    output:
        report(
            f"{RESULTS}/report.html",
            caption="../report/report.rst",
            category="Report",
            labels={"page": "the whole report in one file"},
        ),
    log:
        f"{RESULTS}/logs/build_report.log",
    benchmark:
        f"{RESULTS}/benchmarks/build_report.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        config=without_secrets(config),
        tables=TABLES,
        figures=FIGURES,
    message:
        "Writing the report of {config[study]}"
    script:
        script_of("build_report")
