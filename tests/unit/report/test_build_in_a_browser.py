"""The report page in a real headless Chromium: does it fit, stay silent and load nothing."""

import json
import re

import pytest

from helpers import report_page
from helpers.browser import look_at
from helpers.synthetic import LUCAS, draw_all, make_study
from terralucas.report.build import build_report

pytestmark = pytest.mark.slow

WIDTHS = (360, 768, 1440)
# A page around the report that reads it in frames of several widths; the report's own rules let no script in.
AROUND = """<!DOCTYPE html><body><script>
const seen = {};
let left = WIDTHS.length;
for (const width of WIDTHS) {
  const frame = document.createElement("iframe");
  frame.style = `border: 0; width: ${width}px; height: 900px`;
  frame.onload = () => {
    const page = frame.contentDocument;
    const cells = () => [...page.querySelector("table.sortable").querySelectorAll("tbody tr")]
      .map((row) => Number(row.cells[1].dataset.order));
    const button = page.querySelector("table.sortable th:nth-child(2) button");
    button.focus();
    const focused = page.activeElement === button;
    button.click();
    const once = cells();
    button.click();
    const sorted = page.querySelector("table.sortable th[aria-sort]");
    seen[width] = {
      content: page.documentElement.scrollWidth,
      images: [...page.images].map((image) => image.naturalWidth),
      loaded: frame.contentWindow.performance.getEntriesByType("resource").map((entry) => entry.name.slice(0, 40)),
      focused, once, twice: cells(), sort: sorted && sorted.getAttribute("aria-sort"),
      said: page.querySelector("[role=status]").textContent,
      wide: [...page.querySelectorAll(".scroll")]
        .filter((box) => box.scrollWidth > box.clientWidth && box.tabIndex !== 0).length,
    };
    left -= 1;
    if (!left) document.body.innerHTML = `<pre>${JSON.stringify(seen)}</pre>`;
  };
  frame.src = "report.html";
  document.body.append(frame);
}
</script></body>"""


@pytest.fixture(scope="module")
def browsed(chromium, tmp_path_factory):
    """What the browser saw at each width, and what it said."""
    folder = tmp_path_factory.mktemp("page")
    # A study that fills the page: a long name of a class, two sets of classes, four recipes.
    made = make_study(folder / "study", classes=dict(list(LUCAS.items())[4:7]), excluded=(1,))
    study = report_page.as_written(made, folder)
    figures, shares = draw_all(study, folder), study.points["share_right"]
    build_report(study.tables, figures, shares, study.geojson, report_page.CONTEXT, folder / "report.html")
    (folder / "around.html").write_text(AROUND.replace("WIDTHS", json.dumps(WIDTHS)), encoding="utf-8")
    return look_at(chromium, folder / "around.html")


class TestInChromium:
    @pytest.mark.parametrize("width", WIDTHS)
    def test_nothing_is_wider_than_the_screen(self, browsed, width):
        seen = browsed[0][str(width)]
        assert seen["content"] <= width
        assert not seen["wide"], "what scrolls sideways can be reached by keyboard"

    def test_the_browser_has_nothing_to_say_and_nothing_to_load(self, browsed):
        seen, console = browsed
        assert console == []
        for page in seen.values():
            assert [name for name in page["loaded"] if not name.startswith("data:")] == []

    def test_every_figure_is_shown(self, browsed):
        images = browsed[0]["1440"]["images"]
        assert len(images) == len(report_page.FIGURES)
        assert all(images)

    def test_tables_are_sorted_by_keyboard_and_say_so(self, browsed):
        seen = browsed[0]["768"]
        assert seen["focused"]
        assert len(set(seen["once"])) > 1
        assert seen["once"] == sorted(seen["once"])
        assert seen["twice"] == seen["once"][::-1]
        assert seen["sort"] == "descending"
        assert re.fullmatch(r"Sorted by .+, descending\.", seen["said"])
