"""Tables of a study, written and read again."""

import pytest

from helpers.synthetic import make_study
from terralucas.tables.tidy_csv import read_table, tidy_table, write_table
from terralucas.tables.vocabulary import TEXTS

# Columns of sentences, in which a name is one of several words.
SENTENCES = {"classes", "note", "discrepancy"}


@pytest.mark.parametrize(
    "texts", [["01", "02"], ["1", "2"], ["1.1", "1.10"], ["NA", "nan"], ["None", "null"], ["1e1", "-0"], ["True", "="]]
)
@pytest.mark.parametrize("column", ["class_code", "class_name", "backbone", "loss", "decoder", "predicted_code", "a"])
def test_codes_and_names_are_read_as_they_were_written(tmp_path, column, texts):
    write_table(tidy_table([{column: text, "pooled": 0.5} for text in texts]), tmp_path / "table.csv")
    assert read_table(tmp_path / "table.csv")[column].tolist() == texts


def test_empty_fields_are_missing_and_numbers_are_numbers(tmp_path):
    rows = [{"loss": None, "n": 3, "mean": 0.1}, {"loss": "ce", "n": 4, "mean": None}]
    write_table(tidy_table(rows), tmp_path / "table.csv")
    table = read_table(tmp_path / "table.csv")
    assert table["n"].tolist() == [3, 4]
    assert table["mean"][0] == 0.1
    assert table["mean"].isna().tolist() == [False, True]
    assert table["loss"].isna().tolist() == [True, False]


def test_a_column_of_numbers_may_have_the_name_of_one_of_texts(tmp_path):
    write_table(tidy_table([{"name": "1", "loss": 0.5}]), tmp_path / "table.csv")
    table = read_table(tmp_path / "table.csv", numbers={"loss"})
    assert (table["name"][0], table["loss"][0]) == ("1", 0.5)


def test_each_column_with_names_that_a_user_chose_is_known(tmp_path_factory):
    """Whether they look like numbers is the chance of a study."""
    study = make_study(
        tmp_path_factory.mktemp("study"), excluded=(2,), backbones=("Xtiny", "Xbase"), losses=("Xce", "Xfocal"),
        decoders=("Xidentity", "Xmlp"), classes={"Xland": 300, "Xwater": 60, "Xtown": 30},
    )  # fmt: skip
    found = {
        column
        for table in study.tables.values()
        for column in table
        if table[column].map(lambda cell: isinstance(cell, str) and "X" in cell).any()
    }
    assert {"backbone", "class_name", "predicted_name", "contrast"} <= found
    assert found - SENTENCES <= set(TEXTS)
