# The study's names and paths, and the functions rules ask for their inputs and resources.
import re

from snakemake.exceptions import WorkflowError

from terralucas.codebase import modules_of
from terralucas.config import min_chips_per_class, recipes, resolve
from terralucas.errors import StudyError
from terralucas.files import sha256_of_json

try:
    config.update(resolve(config))
except StudyError as error:
    raise WorkflowError(str(error)) from None

GRID = config["grid"]
DATASET = config["dataset"]
RESULTS = f"results/{config['study']}"
RUN = f"{RESULTS}/runs/{{backbone}}/{{loss}}/{{decoder}}/seed-{{seed}}"
FEATURES = f"{RESULTS}/features/{{backbone}}/{{scope}}"
SCRIPTS = Path(workflow.basedir) / "workflow" / "scripts"
# Used under `--software-deployment-method conda`; otherwise jobs run in the environment Snakemake runs in.
ENVIRONMENT = str(Path(workflow.basedir) / "environment.yml")
# Downloads are shared by the studies of this working directory; the key changes with the list of sources.
DOWNLOADS = "resources"
DATASET_KEY = "-".join((re.sub(r"[^\w.-]+", "_", DATASET["name"]), sha256_of_json(DATASET["sources"])[:8]))


def one_of(names):
    """Wildcard constraint: exactly one of these names."""
    return "|".join(re.escape(str(name)) for name in names)


wildcard_constraints:
    backbone=one_of(GRID["backbones"]),
    loss=one_of(GRID["losses"]),
    decoder=one_of(GRID["decoders"]),
    seed=one_of(GRID["seeds"]),
    scope=r"all|seed-\d+",


def script_of(rule_name):
    """Path of a rule's script, as the `script:` directive wants it."""
    return str(SCRIPTS / f"{rule_name}.py")


def code_of(rule_name):
    """The modules a rule's script runs. Snakemake compares their content, so only a real edit reruns the rule."""
    script = SCRIPTS / f"{rule_name}.py"
    return [str(script), *map(str, modules_of(script))]


def scope_of_seed(seed):
    """Whose statistics normalise the chips of a seed: of all chips, or of the seed's training chips."""
    return f"seed-{seed}" if config["normalisation"] == "train" else "all"


def features_folder(backbone, scope):
    """Where the features of a backbone lie."""
    return FEATURES.format(backbone=backbone, scope=scope)


def feature_kinds():
    """The kinds of features the decoders of the grid read."""
    pooling = {config["decoders"][name]["pooling"] for name in GRID["decoders"]}
    return [kind for kind, needed in (("pooled", "mean" in pooling), ("tokens", "tokens" in pooling)) if needed]


def feature_settings(backbone):
    """Everything in the configuration that decides the numbers of a backbone's features."""
    return {
        "model": config["backbones"][backbone]["model"],
        "normalisation": config["normalisation"],
        **{key: DATASET[key] for key in ("bands", "unit", "nodata")},
        **{key: value for key, value in config["features"].items() if key != "workers"},
    }


def features_of_run(wildcards):
    """The array of features a run trains on."""
    kind = "tokens" if config["decoders"][wildcards.decoder]["pooling"] == "tokens" else "pooled"
    return f"{features_folder(wildcards.backbone, scope_of_seed(wildcards.seed))}/{kind}.npy"


def features_record_of_run(wildcards):
    """What the features of a run were made of."""
    return f"{features_folder(wildcards.backbone, scope_of_seed(wildcards.seed))}/features.json"


def of_all_runs(name):
    """A file of every run of the grid."""
    folders = [
        RUN.format(backbone=backbone, loss=loss, decoder=decoder, seed=seed)
        for backbone, loss, decoder in recipes(config)
        for seed in GRID["seeds"]
    ]
    return [f"{folder}/{name}" for folder in folders]


def feature_records():
    """The records of all feature passes of the study."""
    scopes = sorted({scope_of_seed(seed) for seed in GRID["seeds"]})
    return [f"{features_folder(name, scope)}/features.json" for name in GRID["backbones"] for scope in scopes]


def is_large(backbone):
    """Whether a backbone is of base size or above."""
    return config["backbones"][backbone]["model"].removeprefix("terramind_v1_") in ("base", "large")


def training_memory_mb(wildcards, attempt):
    """Memory of a run: torch, and for token decoders the tokens it reads; more with each attempt."""
    tokens = config["decoders"][wildcards.decoder]["pooling"] == "tokens"
    return attempt * (3000 + (5000 if tokens and is_large(wildcards.backbone) else 1000 * tokens))


def training_minutes(wildcards, attempt):
    """Time limit of a run: generous for the study's size on one GPU, growing with epochs and attempts."""
    tokens = config["decoders"][wildcards.decoder]["pooling"] == "tokens"
    per_epoch = 0.4 if tokens and is_large(wildcards.backbone) else 0.1
    return int(attempt * (10 + per_epoch * config["training"]["epochs"]))


def wants_gpu(section):
    """GPUs a job of this configuration section asks for."""
    return 0 if config[section]["device"] == "cpu" else 1
