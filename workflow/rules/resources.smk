# Memory, time and GPUs that rules request.
from terralucas.study.job_limits import (
    Workload,
    explanation_passes,
    features_memory_mb,
    features_minutes,
    dataset_size,
    training_memory_mb,
    training_minutes,
    tuning_memory_mb,
    tuning_minutes,
    tuning_threads,
)


def get_workload(backbone, kind):
    """Return the amount of work of a job with a backbone and a kind of features."""
    chips, side_px = dataset_size(Path(RESULTS, "data", "chips.parquet"))
    return Workload(config["backbones"][backbone]["model"], chips, side_px, kind)


def features_resource(function, *arguments):
    """Return a resource function for feature passes: `function(workload, *arguments)` times the number of the attempt."""
    return lambda wildcards, attempt: attempt * function(get_workload(wildcards.backbone, wildcards.kind), *arguments)


def selection_resource(function, *arguments):
    """Return a resource function for a pass of all chips through the models of any recipe: the largest of the grid."""
    return lambda wildcards, attempt: attempt * max(
        function(get_workload(backbone, "tokens"), *arguments) * (len(GRID["seeds"]) if backbone in TUNED else 1)
        for backbone in GRID["backbones"]
    )


def explanation_resource(function, *arguments):
    """Return a resource function for `explain_models` with the models of any recipe: the largest of the grid."""
    chips, side_px = dataset_size(Path(RESULTS, "data", "chips.parquet"))
    passes = explanation_passes(
        len(GRID["seeds"]), chips, side_px, len(DATASET["bands"]), len(DATASET["classes"]), **config["explain"]
    )
    return lambda wildcards, attempt: attempt * max(
        function(Workload(config["backbones"][backbone]["model"], passes, side_px, "tokens"), *arguments)
        for backbone in GRID["backbones"]
    )


def training_resource(function, *arguments):
    """Return a resource function for runs: `function(workload, *arguments)` times the number of the attempt."""
    kind = lambda wildcards: kind_of_features(config["decoders"][wildcards.decoder])
    return lambda wildcards, attempt: attempt * function(get_workload(wildcards.backbone, kind(wildcards)), *arguments)


def tuning_resource(function, *arguments):
    """Return a resource function for tuned runs; it is multiplied by the number of the attempt."""
    training = config["training"]
    return lambda wildcards, attempt: attempt * function(
        get_workload(wildcards.backbone, "tokens"), get_tuning(wildcards), training["batch_size"], *arguments
    )


def count_gpus(section):
    """Return the number of GPUs that a job requests, from `device` in a section of the configuration."""
    return 0 if config[section]["device"] == "cpu" else 1
