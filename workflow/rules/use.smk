# The selected models in use: what mattered for them, predictions of new chips, and maps of scenes.
include: "explanation.smk"
include: "prediction.smk"
include: "map.smk"
