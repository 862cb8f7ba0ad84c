# What rules ask a machine for.
from terralucas.study.job_limits import (
    Workload,
    features_memory_mb,
    features_minutes,
    size_of,
    training_memory_mb,
    training_minutes,
    tuning_memory_mb,
    tuning_minutes,
    tuning_threads,
)


def workload(backbone, kind):
    """How much a job of a backbone has to do."""
    chips, side_px = size_of(Path(RESULTS, "data", "chips.parquet"))
    return Workload(config["backbones"][backbone]["model"], chips, side_px, kind)


def features_resource(function, *arguments):
    """Resource of a feature pass; more with each attempt."""
    return lambda wildcards, attempt: attempt * function(workload(wildcards.backbone, wildcards.kind), *arguments)


def training_resource(function, *arguments):
    """Resource of a run; more with each attempt."""
    kind = lambda wildcards: kind_of_features(config["decoders"][wildcards.decoder])
    return lambda wildcards, attempt: attempt * function(workload(wildcards.backbone, kind(wildcards)), *arguments)


def tuning_resource(function, *arguments):
    """Resource of a tuned run; more with each attempt."""
    training = config["training"]
    return lambda wildcards, attempt: attempt * function(
        workload(wildcards.backbone, "tokens"), tuning_of(wildcards), training["batch_size"], *arguments
    )


def wants_gpu(section):
    """GPUs a job of this configuration section asks for."""
    return 0 if config[section]["device"] == "cpu" else 1
