# Names and paths of the study, and the functions that rules use for their inputs and parameters.
import copy
import itertools
import re

from execution.records.own_start import KEY as SUBMITTED_BY_KEY
from execution.end.stopped import StudyStoppedError
from terralucas.study.settings import (
    BOOKKEEPING,
    END_TO_END_BOOKKEEPING,
    PASS_BOOKKEEPING,
    backbones_with_tuning,
    control_names,
    min_chips_per_class,
    recipes,
    training_settings,
    without_secrets,
)
from terralucas.study.config_files import require_targets_of_study
from terralucas.study.validation import resolve
from terralucas.files import sha256_of_json
from terralucas.names import run_name, seed_name
from terralucas.backbones.feature_kinds import kind_of_features

# What becomes of SLURM jobs of earlier starts: a setting of the site, which a profile sets, and not of the study.
EARLIER_JOBS = config.pop("earlier_jobs", "cancel")
# Whether jobs are forked from a process that has imported what they need; a profile can turn it off.
FORK_JOBS = config.pop("fork_jobs", True)
# In a job of a cluster: the start of the study that submitted it.
SUBMITTED_BY = config.pop(SUBMITTED_BY_KEY, None)
# The configuration of the user, before the defaults are filled in.
WRITTEN = copy.deepcopy(config)
try:
    resolved = resolve(config)
    # In the order of the schema.
    config.clear()
    config.update(resolved)
    if workflow.is_main_process:
        require_targets_of_study(sys.argv[1:], config["study"], workflow.config_settings.configfiles)
except StudyError as error:
    raise StudyStoppedError(str(error)) from None

# With the defaults, which may be others in the version of the project that is there when a job starts.
SETTINGS = sha256_of_json(config)
GRID = config["grid"]
FROZEN, TUNED = backbones_with_tuning(config, "frozen"), backbones_with_tuning(config, "full", "lora")
DATASET = config["dataset"]
DATASET_WITHOUT_SOURCES = {key: value for key, value in DATASET.items() if key != "sources"}
RESULTS = f"results/{config['study']}"
# Names with wildcards, as they stand in paths.
SEED_NAME = seed_name("{seed}")
ANY_SEED = seed_name(r"\d+")
RUN_NAME = run_name("{backbone}", "{loss}", "{decoder}", "{seed}")
RUN = f"{RESULTS}/runs/{RUN_NAME}"
CONTROL = f"{RESULTS}/controls/{{control}}/{SEED_NAME}"
SPLIT = f"{RESULTS}/splits/{SEED_NAME}.csv"
FEATURES = f"{RESULTS}/features/{{backbone}}/{{normalised_by}}"
PASS_SETTINGS = {key: value for key, value in config["features"].items() if key not in PASS_BOOKKEEPING}
# Used with `--software-deployment-method conda`; otherwise jobs run in the environment of Snakemake.
ENVIRONMENT = str(Path(workflow.basedir) / "environment.yml")
# All studies of a working directory share this folder. Its subfolder for chips depends on the list of sources.
DOWNLOADS = "resources"
SOURCES = sha256_of_json([{k: v for k, v in source.items() if k != "sha256"} for source in DATASET["sources"]])
DATASET_FOLDER = "-".join((re.sub(r"[^\w.-]+", "_", DATASET["name"]), SOURCES[:8]))


def one_of(names):
    """Return a wildcard constraint that matches exactly these names."""
    # Without names, the constraint must match nothing; an empty constraint would match everything.
    return "|".join(re.escape(str(name)) for name in names) or "(?!)"


wildcard_constraints:
    backbone=one_of(GRID["backbones"]),
    loss=one_of(GRID["losses"]),
    decoder=one_of(GRID["decoders"]),
    seed=one_of(GRID["seeds"]),
    control=one_of(control_names(config)),
    # The chips whose statistics normalise all chips: all, or the training chips of a seed.
    normalised_by=f"all|{ANY_SEED}",
    kind=r"(pooled|tokens)(-\d+)*",


def get_split_settings():
    """Return the settings that change the split; the keys of the other strategy do not."""
    unused = "test_share" if config["split"]["strategy"] == "kfold" else "folds"
    return {key: value for key, value in config["split"].items() if key != unused}


def get_normalised_by(seed):
    """Return whose statistics normalise the chips of a seed: "all" chips, or the training chips of "seed-…"."""
    if config["normalisation"] != "train":
        return "all"
    # With a holdout, all seeds share one split, and so one feature pass.
    return seed_name(GRID["seeds"][0] if config["split"]["strategy"] == "holdout" else seed)


def get_feature_settings(backbone):
    """Return all settings that change the features of a backbone."""
    return {
        "model": config["backbones"][backbone]["model"],
        "normalisation": config["normalisation"],
        **{key: DATASET[key] for key in ("bands", "unit", "nodata")},
        **PASS_SETTINGS,
    }


def list_feature_kinds():
    """Return the kinds of features that decoders and controls of the study read."""
    kinds = [kind_of_features(config["decoders"][decoder]) for decoder in GRID["decoders"]]
    return list(dict.fromkeys([*kinds, *(["pooled"] if config["report"]["controls"] else [])]))


def get_features_of_run(wildcards):
    """Return the path, without suffix, of the features on which a run trains."""
    folder = FEATURES.format(backbone=wildcards.backbone, normalised_by=get_normalised_by(wildcards.seed))
    kind = kind_of_features(config["decoders"][wildcards.decoder])
    return f"{folder}/{kind}"


def get_tuning(wildcards):
    """Return the tuning of the backbone of a run."""
    return config["backbones"][wildcards.backbone]["tuning"]


def all_runs():
    """Every run of the grid, as (backbone, loss, decoder, seed)."""
    return [(*recipe, str(seed)) for recipe in recipes(config) for seed in GRID["seeds"]]


def run_files(name):
    """Return the path of a file of every run in the grid."""
    return [
        f"{RUN.format(backbone=backbone, loss=loss, decoder=decoder, seed=seed)}/{name}"
        for backbone, loss, decoder, seed in all_runs()
    ]


def list_control_sources(wildcards):
    """Return the input files of a control for each seed: none, descriptions, or the pooled features of a backbone."""
    seeds = GRID["seeds"]
    if wildcards.control == "majority":
        return [[] for seed in seeds]
    if "/" not in wildcards.control:
        return [[f"{RESULTS}/data/descriptions.parquet"] for seed in seeds]
    backbone = wildcards.control.partition("/")[2]
    folders = [FEATURES.format(backbone=backbone, normalised_by=get_normalised_by(seed)) for seed in seeds]
    return [[f"{folder}/pooled.npy", f"{folder}/pooled.json"] for folder in folders]


def list_control_files(name):
    """Return the path of a file of every control and seed, if the study has controls."""
    controls = control_names(config) if config["report"]["controls"] else []
    return [f"{CONTROL.format(control=control, seed=seed)}/{name}" for control in controls for seed in GRID["seeds"]]


include: "code.smk"
include: "contents.smk"
include: "lost_files.smk"
include: "report_files.smk"
include: "resources.smk"
include: "treatments.smk"
