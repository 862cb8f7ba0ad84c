# The selected models in use: what mattered for them, files for others, predictions of new chips, and maps of scenes.
include: "explanation.smk"
include: "export.smk"
include: "prediction.smk"
include: "map.smk"


# What a user asks for; the explanation is a target by itself.
rule select:
    input:
        SELECTION,
    localrule: True


rule export:
    input:
        rules.export_models.output,
    localrule: True


rule predict:
    input:
        rules.join_predictions.output,
    localrule: True


rule map:
    input:
        rules.write_map.output,
    localrule: True
