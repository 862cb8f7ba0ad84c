"""The chips of `make example` are what config/example.yaml says, and the page about own chips has its commands."""

import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import rasterio
import yaml

from helpers.paths import ROOT
from terralucas.data.dataset import DatasetSpec
from terralucas.data.simulation.example_chips import LABELLED_PER_CLASS, NEW_PER_CLASS, write_example
from terralucas.errors import StudyError
from terralucas.study.validation import resolve


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example") / "chips"
    write_example(folder)
    return folder


@pytest.fixture(scope="module")
def spec():
    config = resolve(yaml.safe_load((ROOT / "config" / "example.yaml").read_text(encoding="utf-8")))
    return DatasetSpec.from_config({key: value for key, value in config["dataset"].items() if key != "sources"})


def test_the_table_has_the_columns_and_classes_of_the_configuration(folder, spec):
    table = pd.read_csv(folder / "labelled" / spec.layout.table)
    assert table.columns.tolist() == ["file", "class", "lon", "lat"]
    assert Counter(table["class"]) == dict.fromkeys([entry.code for entry in spec.classes], LABELLED_PER_CLASS)
    assert sorted(table["file"]) == sorted(path.name for path in (folder / "labelled").glob("*.tif"))
    new = {path.name for path in (folder / "new").iterdir()}
    assert len(new) == NEW_PER_CLASS * len(spec.classes)
    assert new.isdisjoint(table["file"])


def test_chips_are_digital_numbers_at_the_places_of_the_table(folder, spec):
    row = pd.read_csv(folder / "labelled" / "labels.csv").iloc[0]
    with rasterio.open(folder / "labelled" / row["file"]) as source:
        assert source.count == len(spec.bands)
        assert set(source.dtypes) == {"uint16"}
        assert 300 < np.median(source.read()) < 4000, "reflectance × 10,000"
        assert source.res == (30.0, 30.0)
        centre = source.lnglat()
    assert centre == pytest.approx((row["lon"], row["lat"]), abs=1e-3)


def test_the_same_code_writes_the_same_bytes(folder, tmp_path):
    write_example(tmp_path / "again")
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    assert len(files) == 120 + 20 + 1
    assert all((tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes() for file in files)


def test_a_folder_with_other_files_is_left_as_it_is(tmp_path):
    for name in ("field notes.txt", ".DS_Store"):
        (tmp_path / name).touch()
    with pytest.raises(StudyError, match="has other files than example chips") as error:
        write_example(tmp_path)
    assert error.value.found == "field notes.txt"
    (tmp_path / "field notes.txt").unlink()
    (tmp_path / "labelled").mkdir()
    (tmp_path / "labelled" / "mine.csv").touch()
    with pytest.raises(StudyError, match=r"labelled/mine\.csv"):
        write_example(tmp_path)
    assert {path.name for path in tmp_path.rglob("*")} == {".DS_Store", "labelled", "mine.csv"}


def test_make_example_runs_the_commands_of_the_page_about_own_chips():
    def commands(text, prefix):
        found = re.findall(rf"^{re.escape(prefix)}snakemake (.+)$", text, re.MULTILINE)
        found = [re.sub(r"--cores \S+", "--cores N", line.partition("  #")[0].strip()) for line in found]
        return [line for line in found if " -n " not in line]

    page = commands((ROOT / "docs" / "own-data.md").read_text(encoding="utf-8"), "")
    target = re.search(r"^example:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert commands(target, "\t@$(BIN)/") == page
    assert len(page) == 3, "report, selection, predictions"
    assert "example_chips results/example-chips\n" in target, "where the configuration and the commands look for chips"
