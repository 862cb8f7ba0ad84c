# What the settings of the study are audited beside.
from terralucas.study.settings import written_options


def setting_of(section, name):
    """A named setting of the study; a normalisation is its name."""
    return name if section == "normalisation" else config[section][name]


def study_of_setting(wildcards, input):
    """What a loss, decoder or normalisation is audited beside. Not tracked, being a function of the input."""
    names = GRID.get(wildcards.section, [])
    return {
        "settings": {name: config[wildcards.section][name] for name in names},
        "written": list(WRITTEN[wildcards.section][wildcards.setting]) if names else [],
        "models": [config["backbones"][name]["model"] for name in GRID["backbones"]],
        "losses": [config["losses"][name] for name in GRID["losses"]],
        "n_classes": len(DATASET["classes"]),
        "bands": DATASET["bands"],
    }


def study_of_tuning(wildcards, input):
    """What a tuning is audited beside, and the options that are written. Not tracked, being a function of the input."""
    return {
        "training": config["training"],
        "tunings": sorted({config["backbones"][name]["tuning"] for name in TUNED}),
        "written": written_options(WRITTEN, wildcards.tuning),
    }


def audits_of_run(wildcards):
    """The audits a run waits for: of what it is made of."""
    made_of = [("losses", wildcards.loss), ("decoders", wildcards.decoder), ("normalisation", config["normalisation"])]
    if wildcards.backbone in TUNED:
        made_of.append(("tuning", tuning_of(wildcards)))
    return [f"{RESULTS}/data/audit/{section}/{name}.json" for section, name in made_of]


def duplicate_candidates(backbone):
    """The backbones of the grid that differ from this one in nothing but their weights."""
    rest = lambda name: {key: value for key, value in config["backbones"][name].items() if key != "weights"}
    names = [name for name in GRID["backbones"] if name != backbone and rest(name) == rest(backbone)]
    return {
        "records": {name: f"{RESULTS}/weights/{name}.json" for name in names},
        "weights": {name: config["backbones"][name]["weights"] for name in names},
        "model": config["backbones"][backbone]["model"],
        "bands": DATASET["bands"],
    }
