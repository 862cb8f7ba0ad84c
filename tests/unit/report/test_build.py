"""The HTML report: its cells follow the tables, and the file stands alone."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import re
import zipfile

import docutils.core
import jinja2
import numpy as np
import pandas as pd
import pytest

from helpers.paths import ROOT
from helpers.report_page import CONTEXT, CROSSED, Page, as_written, change
from helpers.synthetic import LUCAS, draw_all, make_study
from terralucas.errors import StudyError
from terralucas.evidence.gallery import make_gallery, mean_predictions
from terralucas.report import build
from terralucas.report.build import FIGURES, TABLES, build_report
from terralucas.report.sections.point_map import MOST_MAP_BYTES
from terralucas.report.wording import breakable, class_text, duration_text, p_sentence, value_text
from terralucas.statistics.run_predictions import Part
from terralucas.tables.scores import NUMBER, PERCENT, SCORES
from terralucas.tables.tidy_csv import read_table
from terralucas.tables.vocabulary import RECIPE

CAPTIONS = ROOT / "workflow" / "report"


def test_the_file_asks_for_nothing_from_the_network(study, render):
    html = render(study)
    page = Page(html)
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            outside = re.search(r"(https?:)?//", value or "") and not value.startswith("data:")
            assert not outside or (tag == "a" and name == "href"), (tag, name, value)
    assert not [tag for tag, _ in page.tags if tag in ("link", "iframe", "object")]
    assert "url(" not in html


def test_only_the_script_of_the_page_may_run(study, render):
    html = render(study)
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policies = [meta["content"] for meta in Page(html).attributes("meta") if "http-equiv" in meta]
    assert policies == [f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"]


def test_same_inputs_give_the_same_bytes(study, render):
    assert render(study) == render(study)


def test_notices_come_first_and_then_the_answer(study, render):
    text = Page(render(study)).text
    assert text.index("Backbone weights are random.") < text.index("The answer") < text.index("Figure 1.")
    assert text.index("Figure 1.") < text.index("Highest macro accuracy")
    assert "Read this first" not in Page(render(study, notices=[])).text


def test_every_image_has_a_telling_alternative_text(study, render):
    images = Page(render(study)).attributes("img")
    assert len(images) == len(FIGURES)
    assert all(len(image["alt"]) > 40 and image["src"].startswith("data:image/svg+xml;base64,") for image in images)


def test_tables_have_captions_and_scoped_headers(study, render):
    page = Page(render(study))
    assert len(page.attributes("table")) == len(page.attributes("caption"))
    assert all(header.get("scope") in ("row", "col") for header in page.attributes("th"))
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [link["href"][1:] for link in page.attributes("a") if link["href"].startswith("#")]
    assert set(links) <= targets


def test_hostile_names_are_text_and_not_markup(tmp_path, render):
    name = "<img src=x onerror=alert(1)> & \"quoted\" 'class' 水"
    options = {"losses": ("<b>ce", "focal"), "decoders": ("mlp",), "classes": {name: 40, "b": 25}}
    study = as_written(make_study(tmp_path / "study", **options), tmp_path)
    page = Page(render(study, title="</title><script>", config_yaml="a: <script>alert(1)</script>"))
    assert name in page.text
    assert "a: <script>alert(1)</script>" in page.text
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert len(page.attributes("script")) == 1


def test_scores_of_every_recipe_have_both_intervals_for_both_sets_of_classes(study, render):
    text = Page(render(study)).text
    summary = study.tables["summary"]
    assert set(summary["classes"]) == {"all", "without 3"}
    for row in summary.itertuples():
        metric = SCORES[row.metric]
        scale, digits = (100, 1) if metric.percent else (1, 3)
        values = (row.pooled, row.crossed_low, row.crossed_high, row.mean, row.seeds_low, row.seeds_high)
        shown = [f"{scale * value:.{digits}f}".replace("-", "−") for value in values]
        if metric.recipe_interval == "none":
            assert np.isnan([row.crossed_low, row.seeds_high]).all(), row
        elif metric.recipe_interval == "seeds":
            assert np.isnan(row.crossed_low), row
            assert f"{shown[3]}seeds [{shown[4]}, {shown[5]}]" in text, row
        else:
            assert "{}crossed [{}, {}]seeds {} [{}, {}]".format(*shown) in text, row


def test_the_tables_and_the_map_can_be_taken_out_again(study, render, tmp_path):
    links = [link for link in Page(render(study)).attributes("a") if "download" in link]
    files = {link["download"]: base64.b64decode(link["href"].split(",")[1]) for link in links}
    assert set(files) == {"demo-tables.zip", "demo-points.geojson"}
    assert files["demo-points.geojson"] == study.geojson.read_bytes()
    archive = zipfile.ZipFile(io.BytesIO(files["demo-tables.zip"]))
    assert set(archive.namelist()) == {f"demo-tables/{name}.csv" for name in TABLES}
    for name in TABLES:
        (tmp_path / "table.csv").write_bytes(archive.read(f"demo-tables/{name}.csv"))
        pd.testing.assert_frame_equal(read_table(tmp_path / "table.csv"), study.tables[name], check_dtype=False)


def test_a_large_map_is_named_and_not_embedded(study, render, tmp_path):
    large = tmp_path / "maps" / "points.geojson"
    large.parent.mkdir()
    large.write_text(study.geojson.read_text(encoding="utf-8") + " " * MOST_MAP_BYTES, encoding="utf-8")
    page = Page(render(dataclasses.replace(study, geojson=large)))
    assert "maps/points.geojson in the study’s results" in page.text
    assert not [link for link in page.attributes("a") if link.get("download", "").endswith("geojson")]


def test_scores_that_could_not_be_computed_are_dashes(study, render):
    empty = dict.fromkeys(["pooled", "mean", "seeds_low", "seeds_high", *CROSSED], np.nan)
    for metric in ("macro_accuracy", "nll"):
        change(study, "summary", {"metric": metric}, **empty)
    text = Page(render(study)).text
    assert "Could not be computed for any recipe." in text
    assert "—" in text
    assert not re.search(r"\bnan\b", text.lower())


def test_the_best_of_a_column_is_marked_by_more_than_colour(study, render):
    summary = study.tables["summary"]
    nll = summary[(summary["metric"] == "nll") & (summary["classes"] == "all")]
    assert f"★ best: {nll['pooled'].min():.3f}" in Page(render(study)).text


def test_uncommitted_changes_are_told(study, render):
    assert "with uncommitted changes" in Page(render(study, git_dirty=True)).text
    assert "with uncommitted changes" not in Page(render(study)).text
    assert "Code: not under version control." in Page(render(study, git_commit=None)).text


def test_a_long_list_of_runs_is_cut_and_says_so(study, render):
    study.tables["runs"] = pd.concat([study.tables["runs"]] * 16, ignore_index=True)
    text = Page(render(study)).text
    assert "The first 300 of 320 rows; the tables as files have all." in text


def test_tables_that_are_too_large_for_the_page_are_named_and_not_embedded(study, render, monkeypatch):
    monkeypatch.setattr(build, "MOST_DOWNLOAD_BYTES", 100)
    page = Page(render(study))
    assert "The folder tables of the study, beside this page, has them as CSV" in page.text
    assert not [link for link in page.attributes("a") if link.get("download", "").endswith("zip")]


def test_a_missing_table_is_named(study, render):
    del study.tables["curves"]
    with pytest.raises(StudyError, match="lacks the table curves"):
        render(study)


@pytest.mark.slow
def test_a_study_of_80_runs_with_its_figures_is_less_than_5_mb(tmp_path):
    losses = ("weighted_ce", "weighted_focal", "ce", "focal")
    study = make_study(tmp_path / "study", ("tiny", "base"), losses, classes=LUCAS, excluded=(9,), epochs=10, draws=50)
    assert len(study.tables["runs"]) == 80
    assert len(study.tables["summary"][RECIPE].drop_duplicates()) == 16
    # Every error occurs, and no picture is larger than one of noise.
    random = np.random.default_rng(0)
    shares = Part(np.arange(1994), random.integers(0, 10, 1994), random.normal(size=(1994, 10)))
    noise = random.uniform(0, 0.3, (3, 224, 224))
    names = (["0"] * 1994, lambda row: noise, ["RED", "GREEN", "BLUE"], 10, ("tiny", "ce", "mlp"))
    context = dataclasses.replace(CONTEXT, gallery=make_gallery(mean_predictions([shares], 10), *names))
    figures, shares = draw_all(study, tmp_path), study.points["share_right"]
    build_report(study.tables, figures, shares, study.geojson, context, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("data:image/jpeg") == 10 * 6 + 90 * 2
    assert (tmp_path / "report.html").stat().st_size < 5_000_000


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (True, "yes"), (1e-4, "0.0001"), (["a", 1], "a, 1"), ({"gamma": 2.0}, "gamma: 2"), ([], "none")],
)
def test_settings_read_naturally(value, text):
    assert value_text(value) == text


def test_durations_probabilities_and_breakable_names():
    assert [duration_text(seconds) for seconds in (12.34, 59.97, 245, 7380)] == [
        "12.3 s",
        "1 min 00 s",
        "4 min 05 s",
        "2 h 03 min",
    ]
    assert [p_sentence(p) for p in (0.0009, 0.04, np.nan)] == ["p < 0.001", "p = 0.040", ""]
    assert breakable("a_<b>") == "a_<wbr>&lt;b&gt;"


def test_what_is_rounded_to_zero_has_no_sign():
    assert [PERCENT.text(value) for value in (-0.0004, -0.0006, 0.0)] == ["0.0", "−0.1", "0.0"]
    assert [NUMBER.text(-0.0004), NUMBER.signed(-0.0004)] == ["0.000", "0.000"]


def test_a_class_whose_code_is_its_name_is_written_once():
    assert [class_text("Forest", "Forest"), class_text(8, "Inland water")] == ["Forest", "8 Inland water"]


@pytest.mark.parametrize("caption", sorted(CAPTIONS.glob("*.rst")), ids=lambda path: path.stem)
def test_captions_are_valid_for_the_workflow_report(caption):
    job = {"config": {"study": "demo"}}
    template = jinja2.Template(caption.read_text(encoding="utf-8"), undefined=jinja2.StrictUndefined)
    text = template.render({} if caption.stem == "workflow" else {"snakemake": job})
    settings = {"halt_level": 2, "report_level": 2}
    assert docutils.core.publish_parts(text, writer="html", settings_overrides=settings)["body"]
