# The study's names and paths, and the functions rules ask for their inputs and resources.
import copy
import itertools
import re

from snakemake.exceptions import WorkflowError

from terralucas.codebase import code_of, fingerprint
from terralucas.study.settings import (
    BOOKKEEPING,
    END_TO_END_BOOKKEEPING,
    backbones_tuned,
    control_names,
    min_chips_per_class,
    recipes,
    training_settings,
    without_secrets,
)
from terralucas.study.validation import resolve
from terralucas.errors import StudyError
from terralucas.files import sha256_of_json
from terralucas.backbones.feature_kinds import kind_of_features

# Before the defaults are filled in: what the study says itself.
WRITTEN = copy.deepcopy(config)
try:
    config.update(resolve(config))
except StudyError as error:
    raise WorkflowError(str(error)) from None

GRID = config["grid"]
FROZEN, TUNED = backbones_tuned(config, "frozen"), backbones_tuned(config, "full", "lora")
DATASET = config["dataset"]
RESULTS = f"results/{config['study']}"
RUN = f"{RESULTS}/runs/{{backbone}}/{{loss}}/{{decoder}}/seed-{{seed}}"
CONTROL = f"{RESULTS}/controls/{{control}}/seed-{{seed}}"
FEATURES = f"{RESULTS}/features/{{backbone}}/{{scope}}"
SCRIPTS = Path(workflow.basedir) / "workflow" / "scripts"
# Used under `--software-deployment-method conda`; otherwise jobs run in the environment Snakemake runs in.
ENVIRONMENT = str(Path(workflow.basedir) / "environment.yml")
# Downloads are shared by the studies of this working directory; the key changes with the list of sources.
DOWNLOADS = "resources"
SOURCES = sha256_of_json([{k: v for k, v in source.items() if k != "sha256"} for source in DATASET["sources"]])
DATASET_KEY = "-".join((re.sub(r"[^\w.-]+", "_", DATASET["name"]), SOURCES[:8]))


def one_of(names):
    """Wildcard constraint: exactly one of these names."""
    # No name at all matches nothing; an empty constraint would match anything.
    return "|".join(re.escape(str(name)) for name in names) or "(?!)"


wildcard_constraints:
    backbone=one_of(GRID["backbones"]),
    loss=one_of(GRID["losses"]),
    decoder=one_of(GRID["decoders"]),
    seed=one_of(GRID["seeds"]),
    control=one_of(control_names(config)),
    scope=r"all|seed-\d+",
    kind=r"(pooled|tokens)(-\d+)*",


def without_rerun(value):
    """A parameter that may change without a rerun: Snakemake compares no parameter that is a function of the input."""
    return lambda wildcards, input: value


def script_of(rule_name):
    """Path of a rule's script, as the `script:` directive wants it."""
    return str(SCRIPTS / f"{rule_name}.py")


def code_fingerprint(rule_name):
    """What the code of a rule's script does. Snakemake compares it as a parameter: an edit that changes no result, of a
    comment, docstring or layout, reruns nothing."""
    return lambda wildcards: fingerprint(code_of(SCRIPTS / f"{rule_name}.py"))


def shared_code_fingerprint(rule_name, other):
    """What the code does that two rules' scripts share."""
    return lambda wildcards: fingerprint(
        set(code_of(SCRIPTS / f"{rule_name}.py")) & set(code_of(SCRIPTS / f"{other}.py"))
    )


def archives():
    """Archives among the sources that are on this machine."""
    paths = [Path(source["path"]).expanduser() for source in DATASET["sources"] if source["type"] == "archive"]
    return [str(path) for path in paths if path.is_file()]


def state_of_directories():
    """Names, sizes and times of the files in source folders: a corrected label or a new chip must not go unnoticed."""
    folders = [Path(source["path"]).expanduser() for source in DATASET["sources"] if source["type"] == "directory"]
    files = sorted(file for folder in folders for file in folder.rglob("*") if file.is_file())
    return sha256_of_json([[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files])


def weights_file(wildcards):
    """The file of a backbone whose weights are one on this machine."""
    path = Path(config["backbones"][wildcards.backbone]["weights"].get("path", "")).expanduser()
    return [str(path)] if path.is_file() else []


def split_settings():
    """What decides a split: the keys of the other strategy do not."""
    unused = "test_share" if config["split"]["strategy"] == "kfold" else "folds"
    return {key: value for key, value in config["split"].items() if key != unused}


def scope_of_seed(seed):
    """Whose statistics normalise the chips of a seed: of all chips, or of the seed's training chips."""
    if config["normalisation"] != "train":
        return "all"
    # Under a holdout all seeds share one split, and so one pass.
    return f"seed-{GRID['seeds'][0] if config['split']['strategy'] == 'holdout' else seed}"


def feature_settings(backbone):
    """Everything in the configuration that decides the numbers of a backbone's features."""
    return {
        "model": config["backbones"][backbone]["model"],
        "normalisation": config["normalisation"],
        **{key: DATASET[key] for key in ("bands", "unit", "nodata")},
        **{key: value for key, value in config["features"].items() if key != "workers"},
    }


def features_of_run(wildcards):
    """The features a run trains on, without suffix."""
    folder = FEATURES.format(backbone=wildcards.backbone, scope=scope_of_seed(wildcards.seed))
    kind = kind_of_features(config["decoders"][wildcards.decoder])
    return f"{folder}/{kind}"


def tuning_of(wildcards):
    """How a run's backbone is tuned."""
    return config["backbones"][wildcards.backbone]["tuning"]


def all_runs():
    """Every run of the grid, as (backbone, loss, decoder, seed)."""
    return [(*recipe, str(seed)) for recipe in recipes(config) for seed in GRID["seeds"]]


def run_files(name):
    """A file of every run of the grid."""
    return [
        f"{RUN.format(backbone=backbone, loss=loss, decoder=decoder, seed=seed)}/{name}"
        for backbone, loss, decoder, seed in all_runs()
    ]


def reported_run_files(name):
    """A file of every run the report is of: all, or those there are where the study says that others may lack."""
    files = run_files(name)
    if config["report"]["unfinished_runs"] == "refuse":
        return files
    return [file for file, record in zip(files, run_files("run.yaml")) if Path(record).is_file()]


def sources_of_control(wildcards):
    """What a control reads of the chips with each seed: nothing, their descriptions, or a backbone's pooled features."""
    seeds = GRID["seeds"]
    if wildcards.control == "majority":
        return [[] for seed in seeds]
    if "/" not in wildcards.control:
        return [[f"{RESULTS}/data/descriptions.parquet"] for seed in seeds]
    backbone = wildcards.control.partition("/")[2]
    folders = [FEATURES.format(backbone=backbone, scope=scope_of_seed(seed)) for seed in seeds]
    return [[f"{folder}/pooled.npy", f"{folder}/pooled.json"] for folder in folders]


def control_files(name):
    """A file of every control and seed, where the study wants controls."""
    controls = control_names(config) if config["report"]["controls"] else []
    return [f"{CONTROL.format(control=control, seed=seed)}/{name}" for control in controls for seed in GRID["seeds"]]


def tables_of(names):
    """Paths of tables, as items of Snakemake's report."""
    return {
        name: report(
            f"{RESULTS}/tables/{name}.csv",
            caption=f"../report/{name}.rst",
            category="Tables",
            labels={"table": name.replace("_", " "), "rows": rows},
        )
        for name, rows in names.items()
    }


def feature_records():
    """The records of all feature passes of the study, which only frozen backbones have."""
    scopes = dict.fromkeys(scope_of_seed(seed) for seed in GRID["seeds"])
    kinds = dict.fromkeys(kind_of_features(config["decoders"][name]) for name in GRID["decoders"])
    folders = [FEATURES.format(backbone=name, scope=scope) for name in FROZEN for scope in scopes]
    return [f"{folder}/{kind}.json" for folder in folders for kind in kinds]


def summaries_of_other_studies():
    """The scores of other studies that are there."""
    paths = [Path("results", study, "tables", "summary.csv") for study in config["report"]["beside"]]
    return [str(path) for path in paths if path.is_file()]


include: "resources.smk"
include: "treatments.smk"
