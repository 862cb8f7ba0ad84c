# The files that the report is made of.
from terralucas.contents import read_record


def reported_run_files(name):
    """Return an input function that gives the path of a file of every run in the report.

    These are all runs, or the finished ones if `report.unfinished_runs` is `name`. Jobs of a cluster read the rules too,
    and need no list of thousands of runs.
    """

    def find_files(wildcards):
        files = run_files(name)
        if config["report"]["unfinished_runs"] == "refuse":
            return files
        return [file for file, record in zip(files, run_files("run.yaml")) if Path(record).is_file()]

    return find_files


def get_reported_config():
    """Return the configuration without what the report does not depend on: the uses of the selected models.

    Of `select`, the report says which recipe would be taken.
    """
    uses = ("select", "explain", "predict", "map")
    reported = {key: value for key, value in without_secrets(config).items() if key not in uses}
    return reported | {"select": {key: config["select"][key] for key in ("metric", "rule")}}


def declare_tables(names):
    """Return the paths of tables, each declared as an item of Snakemake's report.

    `names` maps the name of a table to the meaning of its rows.
    """
    return {
        name: report(
            f"{RESULTS}/tables/{name}.csv",
            caption=f"../report/{name}.rst",
            category="Tables",
            labels={"table": name.replace("_", " "), "rows": rows},
        )
        for name, rows in names.items()
    }


def list_feature_records():
    """Return the records of all feature passes of the study; only frozen backbones have features."""
    statistics = dict.fromkeys(get_normalised_by(seed) for seed in GRID["seeds"])
    kinds = dict.fromkeys(kind_of_features(config["decoders"][name]) for name in GRID["decoders"])
    folders = [FEATURES.format(backbone=name, normalised_by=each) for name in FROZEN for each in statistics]
    return [f"{folder}/{kind}.json" for folder in folders for kind in kinds]


def list_tables_beside(name):
    """Return the tables of this name of the studies in `report.beside`, where they exist."""
    paths = [Path("results", study, "tables", f"{name}.csv") for study in config["report"]["beside"]]
    return [str(path) for path in paths if path.is_file()]


def get_settings_of_runs(wildcards):
    """Return the settings that the runs of the study must have: losses and decoders by name, the others by backbone."""
    rule_of = {name: "train_run" if name in FROZEN else "tune_run" for name in GRID["backbones"]}
    return {
        "losses": {name: config["losses"][name] for name in GRID["losses"]},
        "decoders": {name: config["decoders"][name] for name in GRID["decoders"]},
        "training": {name: training_settings(config, config["backbones"][name]["tuning"]) for name in rule_of},
        "code": {name: code_fingerprint(rule)(wildcards) for name, rule in rule_of.items()},
    }


def get_counted_chips():
    """Return the fingerprint of the chips whose classes rule power counts; None if the configuration has the numbers."""
    if config["report"]["planning"]["class_counts"] is not None:
        return None
    return (read_record(Path(RESULTS, "data", "report.json")) or {}).get("data_fingerprint")
