import pandas as pd
import pytest

from terralucas.data.index_file import require_classes
from terralucas.errors import StudyError

INDEX = pd.DataFrame({"label": [1, 0, 1, 3], "class_code": ["b", "a", "b", "10"]})


def classes(*codes):
    return [{"code": code, "name": f"Class {code}"} for code in codes]


def test_classes_of_the_index_are_known_by_their_codes():
    require_classes(INDEX, classes("a", "b", "without chips", 10), "chips.parquet")


@pytest.mark.parametrize("codes", [("10", "without chips", "b", "a"), ("a", "b"), ("a", "c", "without chips", "10")])
def test_other_classes_are_refused(codes):
    with pytest.raises(StudyError, match=r"not those of chips\.parquet") as error:
        require_classes(INDEX, classes(*codes), "chips.parquet")
    assert error.value.expected == "a at place 1, b at place 2, 10 at place 4"
