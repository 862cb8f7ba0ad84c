# Files that the study reads but did not make: Snakemake compares their content, not their times, and not whether they are
# there.
from functools import cache

from terralucas.contents import SOURCE_FILES
from terralucas.study.class_names import classes_token
from terralucas.study.invalid_chips import tokens_of_keys
from terralucas.study.source_order import tokens_of_sources
from terralucas.backbones.weights import settings_of_weights, token_of_weights

# Written by the rules that read, and no outputs: Snakemake deletes outputs before a job, which must still find the token.
SOURCE_FILES_RECORD = f"{RESULTS}/data/{SOURCE_FILES}"
LABELS_RECORD = f"{RESULTS}/data/labels_found.json"
INVALID_RECORD = f"{RESULTS}/data/invalid_chips.json"
WEIGHTS_FILES_RECORD = f"{RESULTS}/weights/{{backbone}}.files.json"
WEIGHTS_RECORD = f"{RESULTS}/weights/{{backbone}}.json"
# By which jobs read a weights file of the user.
WEIGHTS_LINK = f"{RESULTS}/weights/{{backbone}}.pt"


@cache
def get_source_tokens():
    """Return the tokens of the sources of the chips."""
    return tokens_of_sources(DATASET["sources"], DATASET["layout"], Path(SOURCE_FILES_RECORD))


@cache
def get_classes_token():
    """Return the token of the classes, which stays the same if a name is corrected that is only shown."""
    return classes_token(DATASET["classes"], Path(LABELS_RECORD))


@cache
def get_tokens_of_valid_chips():
    """Return the tokens of the keys that decide which chips are valid. A value that decides nothing changes no token."""
    return tokens_of_keys(DATASET, Path(INVALID_RECORD))


@cache
def get_weights_token(backbone):
    """Return the token of the weights of a backbone, and let its link lead to where a file of the user is now."""
    paths = (Path(path.format(backbone=backbone)) for path in (WEIGHTS_RECORD, WEIGHTS_FILES_RECORD, WEIGHTS_LINK))
    return token_of_weights(config["backbones"][backbone]["weights"], *paths)
