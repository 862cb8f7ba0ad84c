# Files that the study reads but did not make: Snakemake compares their content, not their times, and not whether they are
# there.
from functools import cache

from terralucas.contents import SOURCE_FILES
from terralucas.study.class_names import classes_token
from terralucas.study.invalid_chips import chip_size_token, on_invalid_token, pixel_size_token
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
def get_on_invalid_token():
    """Return the token of what becomes of invalid chips, which stays the same where there are none."""
    return on_invalid_token(DATASET["on_invalid"], Path(INVALID_RECORD))


@cache
def get_chip_size_token():
    """Return the token of the size of the chips, which stays the same where the size they have is written out."""
    return chip_size_token(DATASET["chip_size_px"], Path(INVALID_RECORD))


@cache
def get_pixel_size_token():
    """Return the token of the size of pixels, which stays the same where another one fits all chips, too."""
    return pixel_size_token(DATASET["pixel_size_m"], Path(INVALID_RECORD))


@cache
def get_weights_token(backbone):
    """Return the token of the weights of a backbone, and let its link lead to where a file of the user is now."""
    paths = (Path(path.format(backbone=backbone)) for path in (WEIGHTS_RECORD, WEIGHTS_FILES_RECORD, WEIGHTS_LINK))
    return token_of_weights(config["backbones"][backbone]["weights"], *paths)
