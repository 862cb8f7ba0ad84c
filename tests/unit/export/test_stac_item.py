"""The STAC item of exported models, checked without a network."""

import copy

import numpy as np
import pytest
from pydantic import ValidationError
from rasterio.warp import transform
from stac_model.schema import MLModelProperties

from terralucas.errors import StudyError
from terralucas.export.stac_item import check_item, make_item

DESCRIPTION = {
    "study": "my study", "recipe": {"backbone": "tiny", "loss": "ce", "decoder": "mlp"}, "bands": ["RED", "NIR_BROAD"],
    "side_px": 32, "unit_in_words": "0 to 1", "missing_pixels": "A pixel that is NaN is replaced.",
    "classes": [{"code": "A1", "name": "Arable land (dry)"}, {"code": "B", "name": "Bare"}],
}  # fmt: skip
# Near Rome and near Trento, in ETRS89-LAEA.
PLACES = np.array([[4522000.0, 2084000.0], [4420000.0, 2556000.0]])


def item(places=PLACES, source="ibm-esa/TerraMind"):
    return make_item(DESCRIPTION, 5, 1234, source, places)


def test_it_describes_input_output_and_place():
    found = item()
    west, south, east, north = found["bbox"]
    assert 10 < west < 12 < east < 13
    assert 41 < south < 42 < 45 < north < 47
    properties = found["properties"]
    assert properties["mlm:input"][0]["input"]["shape"] == [-1, 2, 32, 32]
    logits, probabilities = properties["mlm:output"]
    assert (logits["result"]["shape"], probabilities["result"]["shape"]) == ([-1, 5, 2], [-1, 2])
    assert [entry["name"] for entry in logits["classification:classes"]] == ["Arable-land-dry", "Bare"]
    assert properties["mlm:pretrained_source"] == "ibm-esa/TerraMind"
    assert {asset["href"] for asset in found["assets"].values()} == {"./model.onnx", "./model.pt2", "./README.md"}


def test_classes_of_other_alphabets_and_of_like_names_have_names_of_their_own():
    names = ["水", "лес", "Forêt", "Forest (dense)", "Forest [dense]"]
    classes = [{"code": str(number), "name": name} for number, name in enumerate(names)]
    found = make_item(DESCRIPTION | {"study": "森林", "classes": classes}, 5, 1234, None, PLACES)
    named = found["properties"]["mlm:output"][0]["classification:classes"]
    assert [entry["name"] for entry in named] == ["class-0", "class-1", "Foret", "Forest-dense-3", "Forest-dense-4"]
    assert named[0]["description"] == "0: 水"
    assert found["id"] == "model"


def test_chips_on_both_sides_of_the_antimeridian_have_a_small_extent():
    """By RFC 7946, sections 3.1.9 and 5.2, the western longitude is greater then, and the area has two parts."""
    degrees = [(179.95, -16.8), (-179.96, -16.7), (179.98, -16.75)]
    places = np.transpose(transform("EPSG:4326", "EPSG:3035", *zip(*degrees, strict=True)))
    found = item(places)
    assert found["bbox"] == pytest.approx([179.95, -16.8, -179.96, -16.7], abs=1e-4)
    west, east = found["geometry"]["coordinates"]
    assert found["geometry"]["type"] == "MultiPolygon"
    assert {x for x, _ in west[0]} == {found["bbox"][0], 180}
    assert {x for x, _ in east[0]} == {-180, found["bbox"][2]}


@pytest.mark.parametrize("degrees", [[(179.99999, 1), (-179.9, 2)], [(179.9, 1), (-179.99999, 2)]])
def test_an_area_at_the_antimeridian_has_no_part_without_a_width(degrees):
    places = np.transpose(transform("EPSG:4326", "EPSG:3035", *zip(*degrees, strict=True)))
    geometry = item(places)["geometry"]
    assert geometry["type"] == "Polygon"
    assert len({x for x, _ in geometry["coordinates"][0]}) == 2


def test_one_chip_has_an_extent():
    west, south, east, north = item(PLACES[:1])["bbox"]
    assert (west, south) == (east, north)


def test_random_weights_and_chips_without_a_place_are_said():
    found = item(np.empty((0, 2)), None)
    assert found["geometry"] is None
    assert "bbox" not in found
    assert found["properties"]["mlm:pretrained"] is False
    assert found["properties"]["mlm:pretrained_source"] is None


@pytest.mark.parametrize(("places", "source"), [(PLACES, "ibm-esa/TerraMind"), (np.empty((0, 2)), None)])
def test_the_package_of_the_extension_accepts_its_fields(places, source):
    """The models of stac-model are the source from which the extension's authors make and check items."""
    found = item(places, source)["properties"]
    fields = {name.removeprefix("mlm:"): value for name, value in found.items() if name.startswith("mlm:")}
    read = MLModelProperties(**fields)
    assert (read.name, read.pretrained, read.pretrained_source) == (fields["name"], source is not None, source)
    assert [each.input.shape for each in read.input] == [[-1, 2, 32, 32]]
    assert [each.result.shape for each in read.output] == [[-1, 5, 2], [-1, 2]]
    with pytest.raises(ValidationError, match="architecture"):
        MLModelProperties(**{name: value for name, value in fields.items() if name != "architecture"})


def without_input(found):
    del found["properties"]["mlm:input"]


def without_artifact(found):
    del found["assets"]["onnx"]["mlm:artifact_type"]


def with_unknown_field(found):
    found["properties"]["mlm:colour"] = "blue"


def with_source_of_random_weights(found):
    found["properties"]["mlm:pretrained"] = False


def without_datetime(found):
    del found["properties"]["datetime"]


def with_bands_of_no_dimension(found):
    found["properties"]["mlm:input"][0]["input"]["dim_order"][1] = "channel"


@pytest.mark.parametrize(
    "spoil",
    [
        without_input, without_artifact, with_unknown_field, with_source_of_random_weights, without_datetime,
        with_bands_of_no_dimension,
    ],
)  # fmt: skip
def test_an_invalid_item_is_refused(spoil):
    found = item()
    check_item(found)
    spoiled = copy.deepcopy(found)
    spoil(spoiled)
    with pytest.raises(StudyError, match="STAC item of the exported models is invalid"):
        check_item(spoiled)
