"""The HTML report: its sentences and cells follow the tables, and the file stands alone."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import docutils.core
import jinja2
import numpy as np
import pandas as pd
import pytest
from test_figures import LUCAS, draw_all, synthetic_tables

from terralucas.errors import StudyError
from terralucas.report import FIGURES, ReportContext, build_report
from terralucas.wording import METRICS, breakable, duration, plain

CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"
CONTEXT = ReportContext(
    study="demo",
    title="Which recipe?",
    question="Does the loss matter?",
    notices=["The chips are simulated.", "Backbone weights are random."],
    dataset={"name": "simulated", "n_chips": 1994, "bands": ["RED", "GREEN"], "dropped": 0},
    splits={"strategy": "kfold", "folds": 5, "groups": None, "validation_share": 0.2},
    training={"lr": 1e-4, "batch_size": 8},
    losses={"weighted_ce": {"type": "ce", "class_weights": "balanced"}, "focal": {"type": "focal", "gamma": 2.0}},
    decoders={"identity": {"pooling": "mean"}},
    config_yaml="study: demo\n",
    versions={"python": "3.11"},
    git_commit="abc1234",
    git_dirty=False,
    durations=[{"stage": "runs", "seconds": 754.0, "jobs": 8}],
    chance_macro_accuracy=0.1,
)


@pytest.fixture
def tables():
    few = dict(list(LUCAS.items())[:3])
    return synthetic_tables(("tiny",), ("weighted_ce", "focal"), ("identity", "mlp"), classes=few, epochs=3)


@pytest.fixture
def render(tmp_path):
    figures = {name: tmp_path / f"{name}.svg" for name in FIGURES}
    for path in figures.values():
        path.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>', encoding="utf-8")

    def _render(tables, **changes):
        build_report(tables, figures, dataclasses.replace(CONTEXT, **changes), tmp_path / "report.html")
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    return _render


class Page(HTMLParser):
    """Visible text, tags and attributes of a page; void tags aside, it checks that tags are balanced."""

    VOID = {"meta", "img", "br", "wbr", "line", "circle"}

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    def attributes(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def contrast(tables, difference, low, high, metric="macro_accuracy", p_value=0.2):
    """The first loss contrast of a metric, with other numbers."""
    chosen = tables["contrasts"]
    row = chosen.index[(chosen["factor"] == "loss") & (chosen["metric"] == metric)][0]
    chosen.loc[row, ["difference", "ci_low", "ci_high", "p_value"]] = [difference, low, high, p_value]
    return tables


def test_the_file_asks_for_nothing_from_the_network(tables, render):
    html = render(tables)
    page = Page(html)
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            outside = re.search(r"(https?:)?//", value or "") and not value.startswith("data:")
            assert not outside or (tag == "a" and name == "href"), (tag, name, value)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object")]
    assert "url(" not in html
    policies = [meta["content"] for meta in page.attributes("meta") if "http-equiv" in meta]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_same_inputs_give_the_same_bytes(tables, render):
    assert render(tables) == render(tables)


def test_notices_come_before_every_result(tables, render):
    text = Page(render(tables)).text
    assert text.index("Backbone weights are random.") < text.index("The answer") < text.index("Highest macro accuracy")
    assert "Read this first" not in Page(render(tables, notices=[])).text


def test_every_image_has_a_telling_alternative_text(tables, render):
    images = Page(render(tables)).attributes("img")
    assert len(images) == len(FIGURES)
    assert all(len(image["alt"]) > 40 and image["src"].startswith("data:image/svg+xml;base64,") for image in images)


def test_tables_have_captions_and_scoped_headers(tables, render):
    page = Page(render(tables))
    assert len(page.attributes("table")) == len(page.attributes("caption"))
    assert all(header.get("scope") in ("row", "col") for header in page.attributes("th"))
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [link["href"][1:] for link in page.attributes("a") if link["href"].startswith("#")]
    assert set(links) <= targets


def test_hostile_names_are_text_and_not_markup(render):
    name = "<img src=x onerror=alert(1)> & \"quoted\" 'class' 水"
    tables = synthetic_tables(("tiny",), ("<b>ce", "focal"), ("identity",), classes={name: 10, "b": 5}, epochs=2)
    page = Page(render(tables, title="</title><script>", config_yaml="a: <script>alert(1)</script>"))
    assert name in page.text
    assert "a: <script>alert(1)</script>" in page.text
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert not page.attributes("script")


def test_scores_of_every_recipe_are_those_of_the_table(tables, render):
    text = Page(render(tables)).text
    for row in tables["summary"].itertuples():
        metric = METRICS[row.metric]
        scale, digits = (100, 1) if metric.percent else (1, 3)
        values = (f"{scale * value:.{digits}f}" for value in (row.mean, row.ci_low, row.ci_high))
        assert "{}[{}, {}]".format(*values) in text, row


def test_the_tables_can_be_taken_out_again(tables, render):
    links = [link for link in Page(render(tables)).attributes("a") if "download" in link]
    files = {link["download"]: base64.b64decode(link["href"].split(",")[1]) for link in links}
    assert set(files) == {f"demo-{name}.csv" for name in tables}
    for name, table in tables.items():
        read = pd.read_csv(io.BytesIO(files[f"demo-{name}.csv"]))
        pd.testing.assert_frame_equal(read, table, check_dtype=False)


def test_the_leader_follows_the_numbers(tables, render):
    summary = tables["summary"]
    macro = summary["metric"] == "macro_accuracy"
    focal = (summary["loss"] == "focal") & (summary["decoder"] == "mlp")
    summary.loc[macro, ["mean", "ci_low", "ci_high"]] = [0.4, 0.35, 0.45]
    summary.loc[macro & focal, ["mean", "ci_low", "ci_high"]] = [0.5, 0.48, 0.52]
    text = Page(render(tables)).text
    assert "Highest macro accuracy of 4 recipes 50.0 % [48.0, 52.0] tiny · focal · mlp" in text
    assert "Guessing would score about 10.0 %: the interval lies above that." in text
    summary.loc[macro & focal, ["mean", "ci_low", "ci_high"]] = [0.3, 0.05, 0.52]
    text = Page(render(tables)).text
    assert "Highest macro accuracy of 4 recipes 40.0 % A tie of 3 at the precision shown:" in text
    assert "tiny · focal · identity [35.0, 45.0]" in text
    assert (
        "Guessing would score about 50.0 %: the interval lies below that."
        in Page(render(tables, chance_macro_accuracy=0.5)).text
    )


@pytest.mark.parametrize(
    ("difference", "low", "high", "sentence"),
    [
        (-0.012, -0.030, 0.006, "−1.2 points [−3.0, +0.6], p = 0.200: a difference is not shown by this design."),
        (0.012, -0.006, 0.030, "+1.2 points [−0.6, +3.0], p = 0.200: a difference is not shown by this design."),
        (0.012, 0.006, 0.018, "+1.2 points [+0.6, +1.8], p = 0.200: weighted_ce is higher than focal."),
        (-0.012, -0.018, -0.006, "−1.2 points [−1.8, −0.6], p = 0.200: weighted_ce is lower than focal."),
        (0.012, 0.0, 0.024, "+1.2 points [0.0, +2.4], p = 0.200: a difference is not shown by this design."),
        (0.012, 0.0002, 0.0238, "+1.2 points [+0.02, +2.4], p = 0.200: weighted_ce is higher than focal."),
        (np.nan, np.nan, np.nan, "—  points, p = 0.200: the difference could not be computed."),
    ],
)
def test_a_sentence_says_what_its_interval_says(tables, render, difference, low, high, sentence):
    text = Page(render(contrast(tables, difference, low, high))).text
    assert "weighted_ce − focal: " + " ".join(sentence.split()) in text
    assert "no difference" not in text.lower()


def test_contrasts_are_counted(tables, render):
    contrasts = tables["contrasts"]
    macro = contrasts["metric"] == "macro_accuracy"
    contrasts.loc[macro, ["difference", "ci_low", "ci_high"]] = [0.02, 0.01, 0.03]
    text = Page(render(tables)).text
    assert "2 of 2 intervals exclude zero. If no setting made any difference, about 0.1 of them would" in text
    contrasts.loc[macro, ["difference", "ci_low", "ci_high"]] = [0.02, -0.01, 0.05]
    assert "0 of 2 intervals exclude zero" in Page(render(tables)).text


def test_many_contrasts_are_folded_away_and_all_there(render):
    tables = synthetic_tables(("tiny",), tuple("abcdefg"), ("mlp",), seeds=2, classes={"x": 9, "y": 5}, epochs=1)
    contrasts = tables["contrasts"]
    contrasts[["difference", "ci_low", "ci_high"]] = [0.01, -0.01, 0.03]
    contrasts.loc[contrasts["contrast"] == "a − b", "ci_low"] = 0.001
    text = Page(render(tables)).text
    assert "20 more contrasts, in which a difference is not shown" in text
    assert "a is higher than b." in text
    assert all(f"{name}: +1.0 points" in text for name in contrasts["contrast"].unique())


def test_one_seed_has_no_intervals_and_says_so(render):
    tables = synthetic_tables(("tiny",), ("ce", "focal"), ("identity",), seeds=1, classes={"a": 9, "b": 5}, epochs=2)
    text = Page(render(tables)).text
    assert "There are no intervals: they need at least two seeds." in text
    assert "no interval, so neither a difference nor its absence is shown." in text
    assert "[" not in text
    assert not re.search(r"\bnan\b", text.lower())
    assert "p value" not in text


def test_the_kind_of_interval_decides_how_to_read_it(tables, render):
    assert "multiplied by 1/J" in Page(render(tables)).text
    for table in tables.values():
        if "interval" in table:
            table["interval"] = "t_fixed_split"
    text = Page(render(tables)).text
    assert "do not cover the choice of training and test chips" in text
    assert "multiplied by 1/J" not in text


def test_one_recipe_compares_nothing(render):
    tables = synthetic_tables(("tiny",), ("ce",), ("identity",), seeds=3, classes={"a": 9, "b": 5}, epochs=2)
    text = Page(render(tables)).text
    assert "The configuration names no contrasts (report.contrasts), so no settings are compared." in text
    assert "Macro accuracy of the one recipe" in text
    assert "★" not in text


def test_metrics_that_could_not_be_computed_are_dashes(tables, render):
    summary = tables["summary"]
    summary.loc[summary["metric"].isin(["macro_accuracy", "nll"]), ["mean", "ci_low", "ci_high"]] = np.nan
    text = Page(render(tables)).text
    assert "Could not be computed for any recipe." in text
    assert "—" in text
    assert not re.search(r"\bnan\b", text.lower())


def test_the_best_of_a_column_is_marked_by_more_than_colour(tables, render):
    summary = tables["summary"]
    nll = summary[summary["metric"] == "nll"]
    assert f"★ best: {nll['mean'].min():.3f}" in Page(render(tables)).text


def test_uncommitted_changes_are_told(tables, render):
    assert "with uncommitted changes" in Page(render(tables, git_dirty=True)).text
    assert "with uncommitted changes" not in Page(render(tables)).text
    assert "Code: not under version control." in Page(render(tables, git_commit=None)).text


def test_a_long_list_of_runs_is_cut_and_says_so(tables, render):
    tables["runs"] = pd.concat([tables["runs"]] * 11, ignore_index=True)
    text = Page(render(tables)).text
    assert "The first 200 of 220 runs; the table to download holds them all." in text


def test_a_missing_table_is_named(tables, render):
    del tables["curves"]
    with pytest.raises(StudyError, match="lacks the table curves"):
        render(tables)


def test_a_full_study_with_its_figures_fits_a_mail(tmp_path):
    tables = synthetic_tables(epochs=10)
    build_report(tables, draw_all(tables, tmp_path), CONTEXT, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 5_000_000


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (True, "yes"), (1e-4, "0.0001"), (["a", 1], "a, 1"), ({"gamma": 2.0}, "gamma: 2"), ([], "none")],
)
def test_settings_read_naturally(value, text):
    assert plain(value) == text


def test_durations_and_breakable_names():
    assert [duration(seconds) for seconds in (12.34, 59.97, 245, 7380)] == [
        "12.3 s",
        "1 min 00 s",
        "4 min 05 s",
        "2 h 03 min",
    ]
    assert breakable("a_<b>") == "a_<wbr>&lt;b&gt;"


@pytest.mark.parametrize("caption", sorted(CAPTIONS.glob("*.rst")), ids=lambda path: path.stem)
def test_captions_are_valid_for_the_workflow_report(caption):
    job = {"config": {"study": "demo"}}
    template = jinja2.Template(caption.read_text(encoding="utf-8"), undefined=jinja2.StrictUndefined)
    text = template.render({} if caption.stem == "workflow" else {"snakemake": job})
    settings = {"halt_level": 2, "report_level": 2}
    assert docutils.core.publish_parts(text, writer="html", settings_overrides=settings)["body"]
