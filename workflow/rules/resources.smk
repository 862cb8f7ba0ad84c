# Memory, time and GPUs that rules request.
import math
from dataclasses import replace

from execution.start.refusals_of_start import stop_at_study_error
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


def get_dataset_size():
    """Return the number of chips, and their side in pixels."""
    return stop_at_study_error(dataset_size, Path(RESULTS, "data", "chips.parquet"))


def get_workload(backbone, kind):
    """Return the amount of work of a job with a backbone and a kind of features."""
    chips, side_px = get_dataset_size()
    bytes_per_number = 2 if config["features"]["storage"] == "float16" else 4
    return Workload(config["backbones"][backbone]["model"], chips, side_px, kind, bytes_per_number)


def features_resource(function, *arguments):
    """Return a resource function for feature passes: `function(workload, *arguments)` times the number of the attempt."""

    def resource(wildcards, attempt):
        work = get_workload(wildcards.backbone, wildcards.kind)
        of_part = replace(work, chips=math.ceil(work.chips / config["features"]["shards"]))
        return attempt * function(of_part, *arguments)

    return resource


def selection_resource(function, *arguments):
    """Return a resource function for a pass of all chips through the models of any recipe: the largest of the grid."""
    return lambda wildcards, attempt: attempt * max(
        function(get_workload(backbone, "tokens"), *arguments) * (len(GRID["seeds"]) if backbone in TUNED else 1)
        for backbone in GRID["backbones"]
    )


def retraining_resource(frozen, tuned):
    """Return what training a run of any recipe needs with `select.models: retrain`: the largest of the grid, or 0.

    Args:
        frozen: function of a workload, for a frozen backbone.
        tuned: function of a workload and a tuning.
    """
    if config["select"]["models"] != "retrain":
        return 0
    kinds = [kind_of_features(config["decoders"][decoder]) for decoder in GRID["decoders"]]
    needs = [frozen(get_workload(backbone, kind)) for backbone in FROZEN for kind in kinds]
    tunings = {backbone: config["backbones"][backbone]["tuning"] for backbone in TUNED}
    return max(needs + [tuned(get_workload(backbone, "tokens"), tuning) for backbone, tuning in tunings.items()])


def selection_memory_mb(wildcards, attempt):
    """Return the memory of select_models: of its feature pass, or of the training of one run."""
    training = config["training"]
    need = retraining_resource(
        training_memory_mb,
        lambda work, tuning: tuning_memory_mb(work, tuning, training["batch_size"], count_gpus("training")),
    )
    return max(selection_resource(features_memory_mb)(wildcards, attempt), attempt * need)


def selection_minutes(wildcards, attempt):
    """Return the time of select_models: of its feature pass, and of the training of one run."""
    training, gpus = config["training"], count_gpus("training")
    need = retraining_resource(
        lambda work: training_minutes(work, training["epochs"], training["batch_size"], gpus),
        lambda work, tuning: tuning_minutes(
            work, tuning, training["batch_size"], training["epochs"], training["threads"], gpus
        ),
    )
    passes = selection_resource(features_minutes, config["features"]["threads"], count_gpus("features"))
    return passes(wildcards, attempt) + attempt * need


def explanation_resource(function, *arguments):
    """Return a resource function for `explain_models` with the models of any recipe: the largest of the grid."""

    def resource(wildcards, attempt):
        chips, side_px = get_dataset_size()
        passes = explanation_passes(
            len(GRID["seeds"]), chips, side_px, len(DATASET["bands"]), len(DATASET["classes"]), **config["explain"]
        )
        return attempt * max(
            function(Workload(config["backbones"][backbone]["model"], passes, side_px, "tokens"), *arguments)
            for backbone in GRID["backbones"]
        )

    return resource


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
