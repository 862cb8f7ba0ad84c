# A map of a scene with the selected models: plan → strips, in any number of parts → rasters and page.


include: "scene.smk"


rule plan_map:
    input:
        SELECTION,
    output:
        MAP_PLAN,
    log:
        f"{RESULTS}/logs/plan_map.log",
    benchmark:
        f"{RESULTS}/benchmarks/plan_map.tsv"
    # A check: it would fail in the same way again.
    retries: 0
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        code=code_fingerprint("plan_map"),
        # Strips that are finished are kept, and must be of this code.
        code_of_parts=code_fingerprint("map_part"),
        source=lambda wildcards: get_scene(),
        contents=lambda wildcards: token_of_scene(get_scene(), Path(SCENE_RECORD)),
        record=SCENE_RECORD,
        stride_m=MAP["stride_m"],
        options={key: value for key, value in MAP.items() if key in PREDICT_OPTIONS},
        study=without_rerun(RESULTS),
    message:
        "Looking at the scene to map"
    script:
        script_path("plan_map")


rule map_part:
    input:
        MAP_PLAN,
        SELECTION,
    output:
        temp(touch(f"{MAP_FOLDER}/parts/{{part}}-of-{MAP['shards']}.done")),
    log:
        f"{RESULTS}/logs/map_part/{{part}}-of-{MAP['shards']}.log",
    benchmark:
        f"{RESULTS}/benchmarks/map_part/{{part}}-of-{MAP['shards']}.tsv"
    wildcard_constraints:
        part=r"\d+",
    conda:
        ENVIRONMENT
    threads: MAP["threads"]
    resources:
        mem_mb=4000,
        runtime=720,
        gpu=0 if MAP["device"] == "cpu" else 1,
    params:
        code=code_fingerprint("map_part"),
        source=lambda wildcards: get_scene(),
        record=SCENE_RECORD,
        parts=MAP["shards"],
        study=without_rerun(RESULTS),
    message:
        "Mapping part {wildcards.part} of {params.parts}"
    script:
        script_path("map_part")


rule write_map:
    input:
        SELECTION,
        plan=MAP_PLAN,
        parts=[f"{MAP_FOLDER}/parts/{part}-of-{MAP['shards']}.done" for part in range(MAP["shards"])],
    output:
        classes=f"{MAP_FOLDER}/classes.tif",
        categories=f"{MAP_FOLDER}/classes.tif.aux.xml",
        style=f"{MAP_FOLDER}/classes.qml",
        probabilities=f"{MAP_FOLDER}/probabilities.tif",
        uncertainty=f"{MAP_FOLDER}/uncertainty.tif",
        picture=f"{MAP_FOLDER}/map.png",
        page=f"{MAP_FOLDER}/map.html",
        record=f"{MAP_FOLDER}/map.json",
    log:
        f"{RESULTS}/logs/write_map.log",
    benchmark:
        f"{RESULTS}/benchmarks/write_map.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        code=code_fingerprint("write_map"),
        study=without_rerun(RESULTS),
    message:
        "Writing the map"
    script:
        script_path("write_map")
