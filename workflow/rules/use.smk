# The selected models in use: predictions of new chips, and maps of scenes.
include: "prediction.smk"
include: "map.smk"
