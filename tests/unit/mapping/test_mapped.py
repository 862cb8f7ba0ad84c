"""From a scene to its map with a model that reads a class from the middle of a window: places, gaps, parts, files."""

import json
import math
import os
import re
import shutil
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy
from rasterio.warp import transform

from helpers.chips import SIDE
from helpers.records import record_scene
from helpers.scenes import CLASSES, LEFT, TOP, FakePredictor, make_selected, noise, patches, write_scene
from terralucas.data.dataset import ClassSpec
from terralucas.disk import explain
from terralucas.errors import StudyError
from terralucas.mapping import grid as grid_module
from terralucas.mapping import page
from terralucas.mapping.plan import make_plan, read_plan
from terralucas.mapping.strip_files import NO_CLASS, Strip, missing_strips, strip_path, strips_of_part
from terralucas.mapping.strips import map_strips
from terralucas.mapping.write import summary_text, write_map
from terralucas.predict.options import PredictOptions
from terralucas.study.scene_files import require_recorded_scene, token_of_scene

FILES = {
    "classes.tif", "classes.tif.aux.xml", "classes.qml", "probabilities.tif", "uncertainty.tif", "map.png", "map.html",
    "map.json", "plan.json",
}  # fmt: skip
# Of each square of 64 px.
TRUE = np.random.default_rng(3).integers(0, 4, (5, 7))


def make_map(scene, folder, stride_m=80.0, parts=1, order=None, **options):
    """Map a scene in parts; return the content of map.json."""
    selected = make_selected()
    plan = make_plan([scene], selected, stride_m, PredictOptions(**options), folder / "plan.json")
    predictor = FakePredictor(selected, plan.options)
    for part in order or range(parts):
        map_strips(
            plan, predictor, missing_strips(plan, folder / "strips", part, parts), folder / "strips", progress=False
        )
    return write_map(plan, selected, folder / "strips", folder)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """5 x 7 squares of 64 px with known classes, without data in the upper left corner."""
    values = patches(TRUE, 64)
    values[:, :100, :100] = np.nan
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", values)


@pytest.fixture(scope="module")
def mapped(scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("map")
    return folder, make_map(scene, folder)


def test_lengths_and_areas_are_of_the_ground_where_the_projection_stretches_them(tmp_path):
    """Web Mercator stretches lengths at a latitude by its secant: 10 m at 44° are 13.9 m in its coordinates."""
    nominal_m = 10 / math.cos(math.radians(44))
    (x,), (y,) = transform("EPSG:4326", "EPSG:3857", [9.0], [44.0])
    place = {"crs": "EPSG:3857", "transform": rasterio.Affine(nominal_m, 0, x, 0, -nominal_m, y)}
    scene = write_scene(tmp_path / "scene.tif", patches(TRUE[:2, :2], 64), **place)
    content = make_map(scene, tmp_path, stride_m=None)
    assert content["stride_px"] == 8
    # Of an ellipsoid, whose secant is another one by less than half a percent.
    assert content["stride_m"] == pytest.approx(80, rel=0.005)
    assert f"Each cell of {content['stride_m']:g} m" in content["meaning"]
    assert f"({4 * content['stride_m']:g} m)" in content["meaning"]


@pytest.mark.parametrize(("stride_m", "side"), [(10, 16), (70, 64), (80, 64), (320, 64)])
def test_known_classes_are_at_their_coordinates(tmp_path, stride_m, side):
    make_map(write_scene(tmp_path / "scene.tif", patches(TRUE, side)), tmp_path, stride_m)
    with rasterio.open(tmp_path / "classes.tif") as classes:
        assert classes.crs == "EPSG:32632"
        labels = classes.read(1)
        rows, columns = np.nonzero(labels != NO_CLASS)
        x, y = rasterio.transform.xy(classes.transform, rows, columns)
    # From coordinates to squares by hand; cells within 10 m of an edge lie in two of them.
    across, down = (np.array(x) - LEFT) / (10 * side), (TOP - np.array(y)) / (10 * side)
    clear = (np.abs(across - np.rint(across)) > 1.01 / side) & (np.abs(down - np.rint(down)) > 1.01 / side)
    assert clear.sum() > 20
    assert np.array_equal(labels[rows, columns][clear], TRUE[down.astype(int), across.astype(int)][clear])


def test_windows_beyond_the_edge_or_without_data_have_no_class(mapped):
    folder, content = mapped
    with rasterio.open(folder / "classes.tif") as classes:
        labels = classes.read(1)
    assert labels.shape == (40, 56)
    # A window of 32 px around the centre of a cell of 8 px needs 16 px on each side: the first such cell is the third.
    assert (labels[[0, 1, -2, -1]] == NO_CLASS).all()
    assert (labels[:, [0, 1, -2, -1]] == NO_CLASS).all()
    # More than half of a window must have data (dataset.checks.max_nodata_fraction), which begins at pixel 100.
    starts = 8 * np.arange(40) - 12
    inside = np.clip(100 - starts, 0, SIDE)
    missing = np.outer(inside, np.clip(100 - (8 * np.arange(56) - 12), 0, SIDE)) / SIDE**2
    expected = missing > 0.5
    expected[[0, 1, -2, -1]] = expected[:, [0, 1, -2, -1]] = True
    assert np.array_equal(labels == NO_CLASS, expected)
    edge = 40 * 56 - 36 * 52
    assert content["without_class"] == {"edge": edge, "missing_values": int(expected.sum()) - edge}
    assert content["cells"] == 40 * 56 == content["predicted"] + sum(content["without_class"].values())


def test_rasters_agree_with_each_other_and_with_the_record(mapped):
    folder, content = mapped
    with rasterio.open(folder / "classes.tif") as source:
        labels = source.read(1)
    with rasterio.open(folder / "probabilities.tif") as source:
        probabilities = source.read()
        assert source.nodata == 255
        assert source.scales == pytest.approx([0.004] * 4)
        assert source.descriptions[1] == "probability of Grass & <herbs> (value / 250)"
    with rasterio.open(folder / "uncertainty.tif") as source:
        entropy, dissimilarity, unlike, set_size = source.read()
        assert np.isnan(source.nodata)
    has_class = labels != NO_CLASS
    assert (probabilities[:, ~has_class] == 255).all()
    assert np.isnan(entropy[~has_class]).all()
    assert np.array_equal(probabilities.argmax(axis=0)[has_class], labels[has_class])
    assert set(np.unique(probabilities[:, has_class])) == {25, 175}, "0.1 and 0.7 in steps of 1 / 250"
    assert entropy[has_class] == pytest.approx(0.94)
    assert np.array_equal(unlike[has_class] == 1, dissimilarity[has_class] > 0.5)
    assert (set_size[has_class] == 1).all()
    assert content["unlike_training"] == (unlike == 1).sum()
    assert [item["cells"] for item in content["classes"]] == [(labels == value).sum() for value in range(4)]
    assert content["mean_set_size"] == 1
    assert content["simulated_chips"] is content["random_weights"] is True
    assert "80 m has the class" in content["meaning"]
    assert "class" in summary_text(content)


def test_classes_have_colours_and_names_in_gis(mapped, tmp_path):
    folder, _ = mapped
    assert {path.name for path in folder.iterdir()} == FILES
    with rasterio.open(folder / "classes.tif") as source:
        assert source.dtypes == ("uint8",)
        assert source.nodata == 255
        colours = [source.colormap(1)[value] for value in range(4)]
        assert source.tags(1)["class_1"] == "1: Grass & <herbs>"
        assert source.tags()["meaning"].startswith("Each cell of 80 m")
    assert len(set(colours)) == 4
    # GDAL itself writes the names that it knows into a VRT.
    copy(folder / "classes.tif", tmp_path / "classes.vrt", driver="VRT")
    names = [item.text for item in ElementTree.parse(tmp_path / "classes.vrt").iter("Category")]
    assert names == [f"{entry['code']}: {entry['name']}" for entry in CLASSES]
    style = ElementTree.parse(folder / "classes.qml")
    entries = [(item.get("value"), item.get("color"), item.get("label")) for item in style.iter("paletteEntry")]
    in_hex = ["#{:02x}{:02x}{:02x}".format(*colour[:3]) for colour in colours]
    assert entries == [(str(value), in_hex[value], names[value]) for value in range(4)]


def test_rasters_are_cloud_optimised_with_overviews(tmp_path):
    """Of 1,100 cells a side, so that there are tiles and an overview."""
    selected = make_selected()
    plan = make_plan(
        [write_scene(tmp_path / "a.tif", noise(1100, 1100))], selected, 10.0, PredictOptions(), tmp_path / "p"
    )
    for number, rows in enumerate(plan.grid.strips):
        strip = Strip.empty(len(rows), plan.grid.columns, 4, 3)
        strip.label[:] = (np.array(rows)[:, None] // 4 + np.arange(1100) // 4) % 4
        strip.dissimilarity[:], strip.set_size[:] = 0.1, 1
        strip.write(strip_path(tmp_path / "strips", number), plan.fingerprint)
    write_map(plan, selected, tmp_path / "strips", tmp_path / "map")
    for name in ("classes", "probabilities", "uncertainty"):
        with rasterio.open(tmp_path / "map" / f"{name}.tif") as source:
            assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert source.overviews(1) == [2, 4]
            assert source.block_shapes[0] == (512, 512)
    with rasterio.open(tmp_path / "map" / "classes.tif", overview_level=0) as overview:
        assert set(np.unique(overview.read(1))) == {0, 1, 2, 3}, "classes are not averaged"
        assert overview.colormap(1)[0] != overview.colormap(1)[1]


def test_any_number_and_order_of_parts_gives_the_same_bytes(scene, mapped, tmp_path):
    plan = read_plan(mapped[0] / "plan.json")
    assert len(plan.grid.strips) == 3
    make_map(scene, tmp_path, parts=3, order=[2, 0, 1])
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (mapped[0] / name).read_bytes(), name


@pytest.mark.parametrize("parts", [1, 2, 3, 50])
def test_parts_hold_each_strip_once(mapped, parts):
    plan = read_plan(mapped[0] / "plan.json")
    numbers = [number for part in range(parts) for number in strips_of_part(plan, part, parts)]
    assert numbers == [0, 1, 2]


def test_strips_and_blocks_of_any_size_give_the_same_map(scene, mapped, tmp_path, monkeypatch):
    monkeypatch.setattr(grid_module, "_BLOCK_PX", (5000, 5000))
    make_map(scene, tmp_path, batch_size=7)
    for name in ("classes.tif", "probabilities.tif", "uncertainty.tif"):
        with rasterio.open(tmp_path / name) as one, rasterio.open(mapped[0] / name) as several:
            assert np.array_equal(one.read(), several.read(), equal_nan=True)


def test_statistics_and_overviews_that_viewers_wrote_are_not_those_of_the_next_map(tmp_path):
    place = write_scene(tmp_path / "a.tif", patches(TRUE, 64))
    make_map(place, tmp_path / "map")
    for name in ("classes.tif", "probabilities.tif", "uncertainty.tif"):
        for suffix in (".ovr", ".msk", *((".aux.xml",) if name != "classes.tif" else ())):
            (tmp_path / "map" / f"{name}{suffix}").touch()
    write_scene(place, patches(3 - TRUE, 64))
    make_map(place, tmp_path / "map")
    assert {path.name for path in (tmp_path / "map").iterdir()} == FILES


def test_finished_strips_are_not_repeated_and_those_of_another_plan_are(scene, tmp_path):
    selected, strips = make_selected(), tmp_path / "strips"
    plan = make_plan([scene], selected, 80.0, PredictOptions(), tmp_path / "plan.json")
    map_strips(plan, FakePredictor(selected, plan.options), [0, 2], strips, progress=False)
    assert missing_strips(plan, strips) == [1]
    strip_path(strips, 2).write_bytes(strip_path(strips, 2).read_bytes()[:1000])
    assert missing_strips(plan, strips) == [1, 2]
    with pytest.raises(StudyError, match="strip of the map is missing"):
        write_map(plan, selected, strips, tmp_path)
    assert not (tmp_path / "classes.tif").exists()
    other = make_plan([scene], selected, 160.0, PredictOptions(), tmp_path / "plan.json")
    assert missing_strips(other, strips) == list(range(len(other.grid.strips)))


def test_strips_of_other_code_are_made_again(scene, tmp_path):
    """An interrupted map that went on with other code was one of two codes."""
    selected, strips = make_selected(), tmp_path / "strips"
    of = ([scene], selected, 80.0, PredictOptions(), tmp_path / "plan.json")
    plan = make_plan(*of, code_of_parts="a")
    map_strips(plan, FakePredictor(selected, plan.options), [0], strips, progress=False)
    assert missing_strips(make_plan(*of, code_of_parts="a"), strips) == [1, 2]
    assert missing_strips(make_plan(*of, code_of_parts="b"), strips) == [0, 1, 2]


def test_strips_of_another_coverage_of_the_selection_are_made_again(scene, tmp_path):
    """`select.coverage` was changed while the map was interrupted, which changes no model."""
    selected, strips = make_selected(), tmp_path / "strips"
    plan = make_plan([scene], selected, 80.0, PredictOptions(), tmp_path / "plan.json")
    map_strips(plan, FakePredictor(selected, plan.options), [0], strips, progress=False)
    same = make_plan([scene], selected, 80.0, PredictOptions(coverage=0.9), tmp_path / "plan.json")
    assert missing_strips(same, strips) == [1, 2]
    selected.record["conformal"]["goal"] = 0.5
    other = make_plan([scene], selected, 80.0, PredictOptions(), tmp_path / "plan.json")
    assert missing_strips(other, strips) == [0, 1, 2]


def test_a_scene_that_is_replaced_while_its_map_is_made_is_an_error(tmp_path):
    path, record = write_scene(tmp_path / "a.tif", noise(400, 80)), tmp_path / "scene_found.json"
    selected, strips = make_selected(), tmp_path / "strips"
    plan = make_plan([path], selected, 80.0, PredictOptions(), tmp_path / "plan.json")
    record_scene([str(path)], record, token_of_scene([str(path)], record))

    class Replacing(FakePredictor):
        def predict(self, values):
            write_scene(path, noise(400, 80, 9))
            return super().predict(values)

    with pytest.raises(StudyError, match="The scene was changed while its map was made"):
        map_strips(plan, Replacing(selected, plan.options), [0], strips, progress=False)
    assert missing_strips(plan, strips)[0] == 0, "a strip of it may be of two scenes"
    # A job of the cluster that starts later.
    with pytest.raises(StudyError, match="The scene was changed while its map was made"):
        require_recorded_scene([str(path)], record)
    write_scene(path, noise(400, 80))
    os.utime(path, (1, 1))
    require_recorded_scene([str(path)], record)


def test_a_scene_that_was_written_again_is_another_plan(tmp_path):
    path = write_scene(tmp_path / "a.tif", noise(80, 80))
    first = make_plan([path], make_selected(), 80.0, PredictOptions(), tmp_path / "plan.json")
    write_scene(path, noise(80, 80, 9))
    assert (
        make_plan([path], make_selected(), 80.0, PredictOptions(), tmp_path / "plan.json").fingerprint
        != first.fingerprint
    )


def test_a_vrt_whose_file_was_written_again_is_another_plan(tmp_path):
    """Also through a VRT of a VRT, whose files GDAL does not name."""
    write_scene(tmp_path / "a.tif", noise(80, 80))
    copy(tmp_path / "a.tif", tmp_path / "a.vrt", driver="VRT")
    copy(tmp_path / "a.vrt", tmp_path / "b.vrt", driver="VRT")
    of = ([tmp_path / "b.vrt"], make_selected(), 80.0, PredictOptions(), tmp_path / "plan.json")
    first = make_plan(*of).fingerprint
    write_scene(tmp_path / "a.tif", noise(80, 80, 9))
    assert make_plan(*of).fingerprint != first


def test_a_map_for_which_there_is_no_space_is_never_written_in_part(scene, mapped, tmp_path, small_files):
    """GDAL leaves out pixels without an error."""
    selected = make_selected()
    plan = make_plan([scene], selected, 80.0, PredictOptions(), tmp_path / "plan.json")
    missing = missing_strips(plan, tmp_path / "strips")
    map_strips(plan, FakePredictor(selected, plan.options), missing, tmp_path / "strips", progress=False)
    sizes = {
        name: (mapped[0] / name).stat().st_size for name in ("classes.tif", "probabilities.tif", "uncertainty.tif")
    }
    for limit in sorted({*(size - 1 for size in sizes.values()), 500, 3000, max(sizes.values()) * 2 // 3}):
        small_files(limit)
        with pytest.raises((StudyError, OSError)) as error:
            write_map(plan, selected, tmp_path / "strips", tmp_path / "map")
        text = str(error.value if isinstance(error.value, StudyError) else explain(error.value))
        assert "There is no space left to write" in text
        for path in (tmp_path / "map").iterdir():
            assert path.read_bytes() == (mapped[0] / path.name).read_bytes(), (limit, path.name)
    small_files(10_000_000)
    write_map(plan, selected, tmp_path / "strips", tmp_path / "map")
    assert all((tmp_path / "map" / name).stat().st_size == size for name, size in sizes.items())


def test_the_map_of_another_scene_is_not_replaced(mapped, tmp_path):
    folder, content = mapped
    shutil.copy(folder / "map.json", tmp_path / "map.json")
    other = write_scene(tmp_path / "other.tif", noise(80, 80))
    with pytest.raises(StudyError, match="has the results of another input") as error:
        make_plan([other], make_selected(), 80.0, PredictOptions(), tmp_path / "plan.json")
    assert content["input"][0] in error.value.found


def test_a_scene_with_an_offset_is_an_error_or_said_on_the_page(tmp_path):
    scene = write_scene(tmp_path / "a.tif", patches(TRUE, 32) + np.float32(0.1))
    with pytest.raises(StudyError, match="The windows of the scene have an offset"):
        make_plan([scene], make_selected(), 80.0, PredictOptions(), tmp_path / "plan.json")
    content = make_map(scene, tmp_path / "map", allow_offset=True)
    (warning,) = content["looked_at"]["warnings"]
    assert "may have an offset" in warning
    assert "may have an offset" in (tmp_path / "map" / "map.html").read_text(encoding="utf-8")


def test_windows_with_a_band_that_is_a_copy_of_another_stop_the_map(tmp_path):
    values = noise(100, 100)
    values[4] = values[1]
    with pytest.raises(StudyError, match="cannot be predicted") as error:
        make_plan(
            [write_scene(tmp_path / "a.tif", values)], make_selected(), 80.0, PredictOptions(), tmp_path / "p.json"
        )
    assert "GREEN and SWIR_1" in error.value.found
    assert "dataset." not in str(error.value)


def test_batches_go_on_from_block_to_block_and_leave_out_windows_without_data(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(grid_module, "_BLOCK_PX", (32, 64))
    selected = make_selected()
    plan = make_plan([scene], selected, 320.0, PredictOptions(batch_size=5), tmp_path / "plan.json")
    predictor = FakePredictor(selected, plan.options)
    map_strips(plan, predictor, missing_strips(plan, tmp_path / "s"), tmp_path / "s", progress=False)
    assert plan.grid.blocks[0] == range(2)
    # 10 rows of 14 cells of 32 px; of the first three rows, three windows each have no data before pixel 100.
    assert predictor.batches == [2, 5, 4] * 3 + [5, 5, 4] * 7


@pytest.mark.parametrize(
    ("stride_m", "remedy"),
    [(85, "80"), (4, "10"), (10.01, "10"), (0.001, "10"), (1234.5, "1230"), (-80, "10"), (float("nan"), "80")],
)
def test_a_stride_that_is_no_whole_number_of_pixels_is_an_error(scene, tmp_path, stride_m, remedy):
    with pytest.raises(StudyError, match="no whole number of pixels") as error:
        make_plan([scene], make_selected(), stride_m, PredictOptions(), tmp_path / "plan.json")
    assert error.value.remedy == f"set map.stride_m: {remedy}"
    assert not (tmp_path / "plan.json").exists()


def test_the_stride_that_the_message_advises_is_one(tmp_path):
    """It has six digits; pixels of the real EuroSAT chips have more."""
    path = write_scene(tmp_path / "a.tif", patches(TRUE, 64), pixel=10.005196165)
    for stride_m, cells in ((110.0, 11), (140.0, 14)):
        with pytest.raises(StudyError, match="no whole number of pixels") as error:
            make_plan([path], make_selected(), stride_m, PredictOptions(), tmp_path / "plan.json")
        advised = float(error.value.remedy.removeprefix("set map.stride_m: "))
        assert (
            make_plan([path], make_selected(), advised, PredictOptions(), tmp_path / "plan.json").grid.stride == cells
        )


@pytest.mark.parametrize("stride_m", [1e308, 1e12])
def test_a_stride_beyond_any_scene_is_an_error_in_a_few_words(scene, tmp_path, stride_m):
    with pytest.raises(StudyError, match="larger than any scene") as error:
        make_plan([scene], make_selected(), stride_m, PredictOptions(), tmp_path / "plan.json")
    assert error.value.remedy == "set map.stride_m: 80"
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("shape", "stride_m", "fitting_m"),
    [((31, 31), 80, None), ((32, 20), 10, None), ((32, 128), 80, 30), ((40, 128), 640, 400)],
)
def test_a_smaller_stride_is_advised_only_where_it_helps(tmp_path, shape, stride_m, fitting_m):
    """Windows of 32 px begin (stride - 32) // 2 pixels before or behind multiples of the stride: found by hand."""
    path = write_scene(tmp_path / "a.tif", noise(*shape))
    with pytest.raises(StudyError, match="No window of the map fits") as error:
        make_plan([path], make_selected(), stride_m, PredictOptions(), tmp_path / "plan.json")
    advice = "" if fitting_m is None else f", or set map.stride_m: {fitting_m}"
    assert error.value.remedy == f"map a larger scene{advice}"
    if fitting_m is not None:
        make_plan([path], make_selected(), fitting_m, PredictOptions(), tmp_path / "plan.json")


@pytest.mark.parametrize("number", [255, 256])
def test_a_map_has_at_most_255_classes(tmp_path, number):
    """A class index of one byte has 256 values, and one of them means no class."""
    selected = make_selected()
    classes = tuple(ClassSpec(str(code), f"Class {code}") for code in range(number))
    selected = replace(selected, spec=replace(selected.spec, classes=classes))
    plan = ([write_scene(tmp_path / "a.tif", noise(80, 80))], selected, 80.0, PredictOptions(), tmp_path / "plan.json")
    if number == 255:
        assert len(make_plan(*plan).grid.strips) > 0
    else:
        with pytest.raises(StudyError, match="too many classes for a map") as error:
            make_plan(*plan)
        assert "256 classes" in error.value.found
        assert not (tmp_path / "plan.json").exists()


def test_the_default_stride_is_eight_pixels(scene, tmp_path):
    plan = make_plan([scene], make_selected(), None, PredictOptions(), tmp_path / "plan.json")
    assert plan.grid.stride == 8


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (noise(100, 100) * 10_000, "windows with data that were looked at cannot be predicted"),
        (noise(100, 100) / 100, "are too dark to have the scale of the training chips"),
        (np.full((6, 100, 100), np.nan, np.float32), "None of .* windows that were looked at has enough data"),
        (np.zeros((6, 100, 100), np.float32), "None of .* windows that were looked at has enough data"),
        (noise(31, 500), "No window of the map fits into the scene"),
    ],
)
def test_a_scene_that_cannot_be_right_stops_before_the_first_prediction(tmp_path, values, words):
    with pytest.raises(StudyError, match=words) as error:
        make_plan(
            [write_scene(tmp_path / "a.tif", values)], make_selected(), 80.0, PredictOptions(), tmp_path / "plan.json"
        )
    assert error.value.remedy
    assert not (tmp_path / "plan.json").exists()


def test_the_page_has_every_class_and_loads_nothing(mapped):
    text = (mapped[0] / "map.html").read_text(encoding="utf-8")
    for entry in CLASSES:
        assert f"</i>{entry['name'].replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')}</th>" in text
    assert "simulated chips" in text
    assert not re.findall(r"""(?:src|href)\s*=|url\(|@import|https?://""", text)
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert (data["rows"], data["columns"]) == (40, 56)
    assert data["classes"][1]["name"] == CLASSES[1]["name"]
    places = data["places"]
    corner = places["longitude"][0], places["latitude"][0]
    import pyproj

    to_degrees = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True).transform
    assert corner == pytest.approx(to_degrees(LEFT, TOP), abs=1e-6)


def test_longitudes_of_the_page_go_on_beyond_the_antimeridian():
    places = page._geographic_places({"crs": "EPSG:32701", "bounds": [140_000, 8_100_000, 200_000, 8_140_000]})
    longitude = np.reshape(places["longitude"], (places["side"], places["side"]))
    assert longitude[0, 0] < 180 < longitude[0, -1] or longitude[0, 0] < -180 < longitude[0, -1]
    assert (np.diff(longitude) > 0).all()
    assert np.ptp(longitude) < 1
