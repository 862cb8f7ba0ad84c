# The new chips of a prediction, as the configuration names them.
from terralucas.study.new_chip_files import (
    plan_name,
    prediction_name,
    require_own_prediction,
    token_of_new_chips,
    with_home,
)

PREDICT = with_home(config["predict"])
# Settings of `predict` and `map` that are options of every prediction.
PREDICT_OPTIONS = ("batch_size", "device", "precision", "allow_offset", "allow_band_order")
PREDICTION = f"{RESULTS}/predictions/{prediction_name(PREDICT, Path(RESULTS, 'predictions'))}"
PREDICTION_PLAN = f"{PREDICTION}/{plan_name(PREDICT, ('input', *PREDICT_OPTIONS))}"
# Written by plan_prediction, and none of its outputs, because Snakemake deletes outputs before a job, which must still
# find the token.
NEW_CHIPS_RECORD = f"{PREDICTION}/chips_found.json"


def get_prediction_input():
    """Return the configured path of the new chips.

    Raises:
        StudyStoppedError: there is none, or the folder of its name has the predictions of other chips.
    """
    if PREDICT["input"] is None:
        raise StudyStoppedError(
            "There are no chips to predict: give them as --config 'predict={input: path/to/chips}'. A folder, a table "
            "(.csv, .parquet) with a column path, and an archive are possible."
        )
    try:
        require_own_prediction(PREDICT, Path(PREDICTION))
    except StudyError as error:
        raise StudyStoppedError(str(error)) from None
    return PREDICT["input"]
