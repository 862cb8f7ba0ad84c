# Parameters of the audits: each setting and the settings with which it is compared.
from terralucas.study.settings import written_options


def get_setting(section, name):
    """Return a setting of the study by its name; the setting of a normalisation is the name itself."""
    return name if section == "normalisation" else config[section][name]


def get_settings_to_compare(wildcards, input):
    """Return the settings with which a loss, decoder or normalisation is compared.

    Snakemake does not compare this parameter, because it is a function of the input.
    """
    names = GRID.get(wildcards.section, [])
    return {
        "settings": {name: config[wildcards.section][name] for name in names},
        "written": list(WRITTEN[wildcards.section][wildcards.setting]) if names else [],
        "models": [config["backbones"][name]["model"] for name in GRID["backbones"]],
        "losses": [config["losses"][name] for name in GRID["losses"]],
        "n_classes": len(DATASET["classes"]),
        "bands": DATASET["bands"],
    }


def get_tunings_to_compare(wildcards, input):
    """Return the tunings with which a tuning is compared, and the options that the configuration contains.

    Snakemake does not compare this parameter, because it is a function of the input.
    """
    return {
        "training": config["training"],
        "tunings": sorted({config["backbones"][name]["tuning"] for name in TUNED}),
        "written": written_options(WRITTEN, wildcards.tuning),
    }


def list_audits_of_run(wildcards):
    """Return the audits of the settings of a run, which must succeed before the run starts."""
    settings = [("losses", wildcards.loss), ("decoders", wildcards.decoder), ("normalisation", config["normalisation"])]
    if wildcards.backbone in TUNED:
        settings.append(("tuning", get_tuning(wildcards)))
    return [f"{RESULTS}/data/audit/{section}/{name}.json" for section, name in settings]


def get_duplicate_candidates(backbone):
    """Return the backbones in the grid that differ from this one only in their weights, and what is needed to compare."""
    without_weights = lambda name: {key: value for key, value in config["backbones"][name].items() if key != "weights"}
    names = [
        name for name in GRID["backbones"] if name != backbone and without_weights(name) == without_weights(backbone)
    ]
    return {
        "records": {name: f"{RESULTS}/weights/{name}.json" for name in names},
        "weights": {name: config["backbones"][name]["weights"] for name in names},
        "model": config["backbones"][backbone]["model"],
        "bands": DATASET["bands"],
    }
