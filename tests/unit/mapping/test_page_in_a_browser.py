"""The page of a map in a real headless Chromium: what it shows, reads out and loads."""

import json
import re

import numpy as np
import pytest

from helpers.browser import look_at
from helpers.scenes import CLASSES, FakePredictor, make_selected, patches, write_scene
from terralucas.mapping.colours import class_colours
from terralucas.mapping.plan import make_plan
from terralucas.mapping.strip_files import missing_strips
from terralucas.mapping.strips import map_strips
from terralucas.mapping.write import write_map
from terralucas.predict.options import PredictOptions

pytestmark = pytest.mark.slow

WIDTHS = (360, 1280)
# A page around the map that reads it in frames of several widths; the map's own rules let no script in. The map is
# drawn after it is inflated, so that the frame is asked until it answers.
AROUND = """<!DOCTYPE html><body><script>
const seen = {};
let left = WIDTHS.length;
const ask = (width, frame) => {
  const page = frame.contentDocument, canvas = page.getElementById("map");
  const readout = page.getElementById("readout");
  const press = (key) => canvas.dispatchEvent(new frame.contentWindow.KeyboardEvent("keydown", { key }));
  press("0");
  if (!readout.textContent.includes("easting")) return setTimeout(ask, 50, width, frame);
  const pixel = () => [...canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data];
  const show = (name) => page.querySelector(`input[value=${name}]`).click();
  const read = { middle: readout.textContent, colour: pixel() };
  press("ArrowLeft");
  read.moved = readout.textContent;
  for (let step = 0; step < 60; step += 1) press("ArrowLeft");
  read.outside = readout.textContent;
  press("0");
  show("entropy");
  read.entropy = pixel();
  read.ramp = !page.getElementById("ramp").hidden;
  show("classes");
  page.getElementById("opacity").value = 0;
  page.getElementById("opacity").dispatchEvent(new frame.contentWindow.Event("input"));
  read.scene = pixel();
  seen[width] = {
    ...read,
    content: page.documentElement.scrollWidth,
    scale: page.getElementById("scale").textContent,
    unnamed: [...page.querySelectorAll("button, input, canvas")]
      .filter((one) => !(one.getAttribute("aria-label") || one.textContent || one.labels?.length)).length,
    loaded: frame.contentWindow.performance.getEntriesByType("resource").map((entry) => entry.name.slice(0, 40)),
  };
  left -= 1;
  const found = document.createElement("pre");
  found.textContent = JSON.stringify(seen);
  if (!left) document.body.replaceChildren(found);
};
for (const width of WIDTHS) {
  const frame = document.createElement("iframe");
  frame.style = `border: 0; width: ${width}px; height: 900px`;
  frame.onload = () => ask(width, frame);
  frame.src = "map.html";
  document.body.append(frame);
}
</script></body>"""
# The middle square of 5 x 5 is a class that no other square has.
TRUE = np.array([[0, 1, 0, 1, 0], [1, 0, 3, 0, 1], [0, 1, 2, 1, 0], [1, 0, 1, 0, 1], [0, 1, 0, 3, 0]])


@pytest.fixture(scope="module")
def browsed(chromium, tmp_path_factory):
    """What the browser saw at each width, and what it said."""
    folder = tmp_path_factory.mktemp("page")
    selected = make_selected()
    scene = write_scene(folder / "scene.tif", patches(TRUE, 40))
    plan = make_plan([scene], selected, 80.0, PredictOptions(), folder / "plan.json")
    strips = folder / "strips"
    map_strips(plan, FakePredictor(selected, plan.options), missing_strips(plan, strips), strips, progress=False)
    write_map(plan, selected, strips, folder)
    (folder / "around.html").write_text(AROUND.replace("WIDTHS", json.dumps(WIDTHS)), encoding="utf-8")
    seen, said = look_at(chromium, folder / "around.html")
    return seen, [line for line in said if "around.html" not in line]


@pytest.mark.parametrize("width", WIDTHS)
class TestInChromium:
    def test_it_fits_loads_nothing_and_names_its_controls(self, browsed, width):
        seen, console = browsed[0][str(width)], browsed[1]
        assert seen["content"] <= width
        assert seen["loaded"] == []
        assert seen["unnamed"] == 0
        assert console == []

    def test_the_cell_in_the_middle_is_read_with_its_coordinates(self, browsed, width):
        seen = browsed[0][str(width)]
        # The middle of 200 x 200 px of 10 m from 600,000, 5,000,000 in UTM zone 32.
        assert re.match(rf"{CLASSES[2]['name']}, entropy 0\.9\d, 1 class in the set", seen["middle"])
        assert seen["middle"].endswith("easting 601000, northing 4999000")
        import pyproj

        place = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True).transform(601_000, 4_999_000)
        latitude, longitude = map(float, re.search(r"([\d.]+)° N, ([\d.]+)° E", seen["middle"]).groups())
        assert (longitude, latitude) == pytest.approx(place, abs=1e-5)

    def test_it_is_moved_by_keys(self, browsed, width):
        seen = browsed[0][str(width)]
        easting = int(re.search(r"easting (\d+)", seen["moved"])[1])
        assert easting < 601_000, "the map moves to the right, so that the middle is farther west"
        assert seen["outside"] == "Outside the map."

    def test_classes_entropy_and_scene_are_drawn(self, browsed, width):
        seen = browsed[0][str(width)]
        assert tuple(seen["colour"]) == (*class_colours(4)[2], 255)
        assert seen["ramp"]
        assert seen["entropy"][3] == 255
        assert len({tuple(seen[name]) for name in ("colour", "entropy", "scene")}) == 3
        assert re.fullmatch(r"\d+ k?m", seen["scale"])
