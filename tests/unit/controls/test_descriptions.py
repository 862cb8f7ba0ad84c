"""Descriptions of chips, against numpy on the pixels."""

import json

import numpy as np
import pytest
import rasterio

from terralucas.controls.descriptions import describe_chips, read_descriptions, write_descriptions
from terralucas.data.dataset import DatasetSpec
from terralucas.data.index_file import read_index, write_index
from terralucas.data.indexing.index import index_chips
from terralucas.errors import StudyError

SIDE = 16
SPEC = DatasetSpec.from_config({
    "name": "test", "layout": {"labels": "folders"}, "bands": ["RED", "NIR_BROAD"], "unit": "reflectance",
    "classes": [{"code": "a", "name": "A"}, {"code": "b", "name": "B"}], "point_ids": "none", "on_invalid": "error",
})  # fmt: skip


@pytest.fixture
def chips(tmp_path):
    """Four chips; the centre of the last is missing in its second band."""
    random = np.random.default_rng(0)
    pixels = {}
    for name in ("a/1", "a/2", "b/3", "b/4"):
        values = random.uniform(0.05, 0.4, size=(2, SIDE, SIDE)).astype(np.float32)
        values[0, 0, 0] = np.nan
        if name == "b/4":
            values[1, SIDE // 2, SIDE // 2] = np.nan
        path = tmp_path / f"{name}.tif"
        path.parent.mkdir(exist_ok=True)
        with rasterio.open(path, "w", driver="GTiff", count=2, height=SIDE, width=SIDE, dtype="float32") as file:
            file.write(values)
        pixels[name.partition("/")[2]] = values
    index, report = index_chips(tmp_path, SPEC, min_chips_per_class=1, threads=1, progress=False)
    write_index(index, report, tmp_path / "chips.parquet", tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["n_valid"] == 4
    return tmp_path, read_index(tmp_path / "chips.parquet"), pixels


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_numbers_are_those_of_the_pixels(chips):
    root, index, pixels = chips
    write_descriptions(describe_chips(root, index, SPEC, threads=2), root / "descriptions.parquet")
    found = read_descriptions(root / "descriptions.parquet", index["point_id"].tolist())
    for row, name in enumerate(index["point_id"]):
        values = pixels[name].astype(np.float64)
        assert found["band_mean"][row] == pytest.approx(np.nanmean(values, axis=(1, 2)))
        assert found["band_std"][row] == pytest.approx(np.nanstd(values, axis=(1, 2)))
        assert found["centre_pixel"][row] == pytest.approx(values[:, SIDE // 2, SIDE // 2], nan_ok=True)
    assert np.isnan(found["centre_pixel"][-1]).tolist() == [False, True]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_chip_that_changed_since_it_was_indexed_is_refused(chips):
    root, index, _ = chips
    (root / "a/1.tif").write_bytes((root / "a/2.tif").read_bytes())
    with pytest.raises(StudyError, match="changed since"):
        describe_chips(root, index, SPEC, threads=1)
