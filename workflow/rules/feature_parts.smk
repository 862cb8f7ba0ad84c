# Where the job of a feature pass writes: to the features themselves, or with `features.shards` to those of its part.
SHARDS = config["features"]["shards"]
PASSED = FEATURES if SHARDS == 1 else f"{FEATURES}/parts/{{part}}-of-{SHARDS}"
PASS_NAME = f"{{backbone}}-{{normalised_by}}-{{kind}}{'' if SHARDS == 1 else f'-{{part}}-of-{SHARDS}'}"
OF_PART = "" if SHARDS == 1 else f", part {{wildcards.part}} of {SHARDS}"


def keep_if_whole(path):
    """Return the path of an output of a pass; it is temporary where it is a part that is joined to others."""
    return path if SHARDS == 1 else temp(path)
