"""The HTML report: its sentences and cells follow the tables, and the file stands alone."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import docutils.core
import jinja2
import numpy as np
import pandas as pd
import pytest

from synthetic import LUCAS, draw_all, make_study
from terralucas.errors import StudyError
from terralucas.report import FIGURES, MOST_MAP_BYTES, TABLES, ReportContext, build_report
from terralucas.tidy import RECIPE, read_table, write_table
from terralucas.wording import METRICS, breakable, duration, p_sentence, plain

CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"
PLAN = {"sha256": "ab" * 32, "registered_at": "2026-01-01T00:00:00+00:00", "finished_runs": 0, "plan": {"margins": 1}}
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
    registrations=[PLAN],
    plan_changes=[],
)
CROSSED = ["crossed_low", "crossed_high"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small study as its files hold it."""
    return as_written(make_study(tmp_path_factory.mktemp("study"), excluded=(2,)), tmp_path_factory.mktemp("tables"))


def as_written(study, folder):
    for name, table in study.tables.items():
        write_table(table, folder / f"{name}.csv")
    tables = {name: read_table(folder / f"{name}.csv") for name in study.tables}
    return dataclasses.replace(study, tables=tables)


@pytest.fixture
def study(whole):
    return dataclasses.replace(whole, tables={name: table.copy() for name, table in whole.tables.items()})


@pytest.fixture
def render(tmp_path):
    figures = {name: tmp_path / f"{name}.svg" for name in FIGURES}
    for path in figures.values():
        path.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>', encoding="utf-8")

    def _render(study, **changes):
        context = dataclasses.replace(CONTEXT, **changes)
        build_report(study.tables, figures, study.geojson, context, tmp_path / "report.html")
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
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    def attributes(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def change(study, table, chosen, **values):
    """Other numbers in the rows of a table whose columns have the values of `chosen`."""
    content = study.tables[table]
    rows = (content[list(chosen)] == pd.Series(chosen)).all(axis="columns")
    assert rows.any(), chosen
    for name, value in values.items():
        content[name] = content[name].astype(object).where(~rows, value).infer_objects()
    return study


LOSSES = {"contrast": "focal − weighted_ce", "scope": "all", "classes": "all"}
MACRO = {**LOSSES, "metric": "macro_accuracy"}


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
        metric = METRICS[row.metric]
        scale, digits = (100, 1) if metric.percent else (1, 3)
        values = (row.pooled, row.crossed_low, row.crossed_high, row.mean, row.seeds_low, row.seeds_high)
        shown = [f"{scale * value:.{digits}f}".replace("-", "−") for value in values]
        assert "{}crossed [{}, {}]seeds {} [{}, {}]".format(*shown) in text, row


def test_the_tables_and_the_map_can_be_taken_out_again(study, render):
    links = [link for link in Page(render(study)).attributes("a") if "download" in link]
    files = {link["download"]: base64.b64decode(link["href"].split(",")[1]) for link in links}
    assert set(files) == {f"demo-{name}.csv" for name in TABLES} | {"demo-points.geojson"}
    assert files["demo-points.geojson"] == study.geojson.read_bytes()
    for name in TABLES:
        read = pd.read_csv(io.BytesIO(files[f"demo-{name}.csv"]), keep_default_na=False, na_values=[""])
        pd.testing.assert_frame_equal(read, study.tables[name], check_dtype=False)


def test_a_large_map_is_named_and_not_embedded(study, render, tmp_path):
    large = tmp_path / "maps" / "points.geojson"
    large.parent.mkdir()
    large.write_text(study.geojson.read_text(encoding="utf-8") + " " * MOST_MAP_BYTES, encoding="utf-8")
    page = Page(render(dataclasses.replace(study, geojson=large)))
    assert "maps/points.geojson in the study’s results" in page.text
    assert not [link for link in page.attributes("a") if link.get("download", "").endswith("geojson")]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"difference": 0.012, "crossed_low": 0.006, "crossed_high": 0.018, "verdict": "difference shown"},
            "In macro accuracy focal is higher than weighted_ce: +1.2 points [+0.6, +1.8], p = 0.012;",
        ),
        (
            {"difference": -0.012, "crossed_low": -0.018, "crossed_high": -0.006, "verdict": "difference shown",
             "p_equivalence_holm": 0.01, "p_holm": 0.0002},
            "In macro accuracy focal is lower than weighted_ce: −1.2 points [−1.8, −0.6], p < 0.001, which is less "
            "than the margin of 2 points;",
        ),
        (
            {"difference": 0.001, "crossed_low": -0.009, "crossed_high": 0.011, "verdict": "equivalent within margin",
             "p_equivalence_holm": 0.031},
            "In macro accuracy focal and weighted_ce are equivalent within ± 2 points: +0.1 points [−0.9, +1.1], "
            "p = 0.031;",
        ),
        (
            {"difference": 0.012, "crossed_low": -0.006, "crossed_high": 0.03, "verdict": "undecided"},
            "Macro accuracy is undecidable with this design: +1.2 points [−0.6, +3.0]; to decide 2 points it would "
            "need 20 seeds or 3.2 times the chips;",
        ),
        (
            {"difference": 0.012, "crossed_low": np.nan, "crossed_high": np.nan, "verdict": "undecided"},
            "Macro accuracy differs by +1.2 points without an interval, so that nothing is shown;",
        ),
        (
            {"difference": np.nan, "crossed_low": np.nan, "crossed_high": np.nan, "verdict": "undecided"},
            "Macro accuracy could not be compared;",
        ),
    ],
)  # fmt: skip
def test_the_answer_says_what_the_numbers_say(study, render, values, sentence):
    change(study, "contrasts", MACRO, **({"p_holm": 0.012, "p_equivalence_holm": 0.4} | values))
    change(study, "power", MACRO, seeds_needed=20.0, chips_factor_needed=3.14)
    text = Page(render(study)).text
    assert f"focal − weighted_ce: {sentence}" in text
    assert "no difference" not in text.lower().replace("and no difference is shown", "")


@pytest.mark.parametrize(
    ("seeds", "chips", "words"),
    [
        (np.nan, 3.14, "it would need 3.2 times the chips (more seeds alone would not do);"),
        (30.0, np.nan, "it would need 30 seeds (more chips alone would not do);"),
        (np.nan, np.nan, "neither more seeds nor more chips alone would decide 2 points;"),
        (5.0, 1.0, "though at least 80 % of such studies would decide 2 points;"),
    ],
)
def test_an_open_answer_says_what_would_decide_it(study, render, seeds, chips, words):
    change(study, "contrasts", MACRO, verdict="undecided")
    change(study, "power", MACRO, seeds_needed=seeds, chips_factor_needed=chips)
    assert words in Page(render(study)).text


def test_verdicts_are_counted_by_family(study, render):
    macro = {"metric": "macro_accuracy", "classes": "all"}
    change(study, "contrasts", macro | {"family": "averaged"}, verdict="undecided")
    change(study, "contrasts", macro | {"family": "cell"}, verdict="equivalent within margin")
    words = (
        "averaged: 0 of 2 show a difference, 0 equivalent within the margin, 2 undecided; cell: 0 of 4 show a "
        "difference, 4 equivalent within the margin, 0 undecided"
    )
    assert words in Page(render(study)).text


def test_discrepancies_of_the_mixed_model_are_listed_or_said_to_be_none(study, render):
    study.tables["mixed_model"]["discrepancy"] = np.nan
    total = len(study.tables["mixed_model"])
    assert f"agrees in {total} of {total} comparisons." in Page(render(study)).text
    change(study, "mixed_model", MACRO, discrepancy="estimates differ", mixed_difference=0.05)
    text = Page(render(study)).text
    assert f"agrees in {total - 1} of {total} comparisons." in text
    assert "focal − weighted_ce (all classes), macro accuracy: +5.0" in text
    assert "here; estimates differ." in text


@pytest.mark.parametrize(
    ("low", "high", "verdict", "words"),
    [
        (0.01, 0.03, "difference shown", "focal is better, not only elsewhere on the curve."),
        (-0.01, 0.05, "difference shown", "may be a place elsewhere on the same curve."),
        (-0.01, 0.05, "undecided", "no difference is shown, there or of the runs as they are."),
        (np.nan, np.nan, "undecided", "better and elsewhere can’t be told apart."),
    ],
)
def test_fronts_tell_better_from_elsewhere(study, render, low, high, verdict, words):
    change(study, "contrasts", MACRO, verdict=verdict, crossed_low=0.01, crossed_high=0.03, difference=0.02)
    fronts = study.tables["fronts_contrasts"]
    rows = (fronts["metric"] == "macro_accuracy_at_equal_micro") & (fronts["contrast"] == LOSSES["contrast"])
    fronts.loc[rows & (fronts["scope"] == "all"), ["difference", "ci_low", "ci_high"]] = [0.02, low, high]
    text = Page(render(study)).text
    sentence = text[text.index("focal − weighted_ce: at equal micro accuracy") :]
    assert words in sentence[:300]


def test_controls_are_beaten_only_where_numbers_say_so(study, render):
    macro = {"metric": "macro_accuracy", "classes": "all"}
    change(study, "summary", macro, pooled=0.4, crossed_low=0.35, crossed_high=0.45)
    change(study, "controls", macro, pooled=0.5, crossed_low=0.48, crossed_high=0.52)
    assert "reaches 50.0 % [48.0, 52.0]; no recipe does better." in Page(render(study)).text
    change(study, "summary", macro | {"decoder": "mlp"}, pooled=0.6, crossed_low=0.53, crossed_high=0.65)
    assert "2 of 4 recipes do better, 2 with an interval wholly above it." in Page(render(study)).text
    change(study, "summary", macro | {"decoder": "mlp"}, crossed_low=0.5)
    assert "2 of 4 recipes do better, none with an interval wholly above it." in Page(render(study)).text
    study.tables["controls"] = study.tables["controls"].head(0)
    assert "The study has no controls (report.controls)" in Page(render(study)).text


def test_the_leader_follows_the_numbers(study, render):
    macro = {"metric": "macro_accuracy", "classes": "all"}
    change(study, "summary", macro, pooled=0.4, crossed_low=0.35, crossed_high=0.45)
    best = macro | {"loss": "focal", "decoder": "mlp"}
    change(study, "summary", best, pooled=0.5, crossed_low=0.48, crossed_high=0.52)
    text = Page(render(study)).text
    assert "Highest macro accuracy of 4 recipes 50.0 % tiny · focal · mlp crossed [48.0, 52.0]" in text
    assert "guessing would score about 10.0 %: the interval of the best lies above that." in text
    below = Page(render(study, chance_macro_accuracy=0.6)).text
    assert "guessing would score about 60.0 %: the interval of the best lies below that." in below
    change(study, "summary", best, pooled=0.3)
    assert "40.0 % A tie of 3 at the precision shown:" in Page(render(study)).text


def test_a_class_that_is_never_predicted_has_no_precision_and_is_named(study, render):
    assert "never predicted by" not in Page(render(study)).text
    mlp = {"decoder": "mlp", "predicted_name": "Grass"}
    change(study, "confusion", mlp, count=0)
    empty = dict.fromkeys(["pooled", "mean", "seeds_low", "seeds_high", *CROSSED], np.nan)
    change(study, "per_class", {"decoder": "mlp", "class_name": "Grass", "metric": "precision"}, **empty)
    text = Page(render(study)).text
    assert "“Grass” is never predicted by tiny · weighted_ce · mlp and tiny · focal · mlp" in text
    assert "—never predicted" in text
    change(study, "confusion", {"predicted_name": "Grass"}, count=0)
    assert "“Grass” is never predicted by any recipe" in Page(render(study)).text


def test_one_seed_says_what_it_cannot_tell(tmp_path, render):
    study = as_written(make_study(tmp_path, seeds=1), tmp_path)
    text = Page(render(study)).text
    assert "No seeds interval: it needs at least two seeds" in text
    assert "interval for new chips alone" in text
    assert "chips [" in text
    assert "seeds [" not in text
    assert "One seed tells nothing of the spread over trainings, so that the power can't be told." in text
    assert "one seed" in text[text.index("The answer") : text.index("Figure 1.")].lower()
    assert not re.search(r"\bnan\b", text.lower())


def test_one_recipe_compares_nothing(tmp_path, render):
    options = {"losses": ("ce",), "decoders": ("identity",), "seeds": 3, "controls": False}
    study = as_written(make_study(tmp_path, **options), tmp_path)
    text = Page(render(study)).text
    assert "The configuration names no contrasts (report.contrasts), so no settings are compared." in text
    assert "Macro accuracy of the one recipe" in text
    assert "★" not in text


def test_without_coordinates_the_page_says_so(study, render, tmp_path):
    for name in ("overlap", "distance"):
        study.tables[name] = study.tables[name].head(0)
    empty = tmp_path / "points.geojson"
    empty.write_text('{"type": "FeatureCollection", "features": []}', encoding="utf-8")
    text = Page(render(dataclasses.replace(study, geojson=empty))).text
    assert "so that shared ground can't be told." in text
    assert "so that there is no map." in text


def test_the_kind_of_interval_decides_how_to_read_it(study, render):
    assert "training sets of different seeds overlap" in Page(render(study)).text
    for name in ("summary", "per_class", "controls"):
        study.tables[name]["seeds_interval"] = "t_fixed_split"
    text = Page(render(study)).text
    assert "do not cover the choice of training chips" in text
    assert "training sets of different seeds overlap" not in text


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


def test_plans_made_after_results_are_told(study, render):
    assert "No plan was made or changed after results existed." in Page(render(study)).text
    text = Page(render(study, plan_changes=["On Monday margins changed."])).text
    assert "The plan was changed or made after results existed: On Monday margins changed." in text
    assert PLAN["sha256"] in text
    assert "There is no record of what was planned" in Page(render(study, registrations=[])).text


def test_runs_that_failed_are_named(study, render):
    runs = study.tables["runs"]
    runs["status"] = "ok"
    runs.loc[3, "status"] = "diverged"
    assert f"1 run diverged: {runs.loc[3, 'run']}." in Page(render(study)).text


def test_uncommitted_changes_are_told(study, render):
    assert "with uncommitted changes" in Page(render(study, git_dirty=True)).text
    assert "with uncommitted changes" not in Page(render(study)).text
    assert "Code: not under version control." in Page(render(study, git_commit=None)).text


def test_a_long_list_of_runs_is_cut_and_says_so(study, render):
    study.tables["runs"] = pd.concat([study.tables["runs"]] * 11, ignore_index=True)
    text = Page(render(study)).text
    assert "The first 200 of 220 runs; the table to download holds them all." in text


def test_a_missing_table_is_named(study, render):
    del study.tables["curves"]
    with pytest.raises(StudyError, match="lacks the table curves"):
        render(study)


def test_a_study_of_80_runs_with_its_figures_is_less_than_5_mb(tmp_path):
    losses = ("weighted_ce", "weighted_focal", "ce", "focal")
    study = make_study(tmp_path / "study", ("tiny", "base"), losses, classes=LUCAS, excluded=(9,), epochs=10, draws=50)
    assert len(study.tables["runs"]) == 80
    assert len(study.tables["summary"][RECIPE].drop_duplicates()) == 16
    build_report(study.tables, draw_all(study, tmp_path), study.geojson, CONTEXT, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 5_000_000


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (True, "yes"), (1e-4, "0.0001"), (["a", 1], "a, 1"), ({"gamma": 2.0}, "gamma: 2"), ([], "none")],
)
def test_settings_read_naturally(value, text):
    assert plain(value) == text


def test_durations_probabilities_and_breakable_names():
    assert [duration(seconds) for seconds in (12.34, 59.97, 245, 7380)] == [
        "12.3 s",
        "1 min 00 s",
        "4 min 05 s",
        "2 h 03 min",
    ]
    assert [p_sentence(p) for p in (0.0009, 0.04, np.nan)] == ["p < 0.001", "p = 0.040", ""]
    assert breakable("a_<b>") == "a_<wbr>&lt;b&gt;"


@pytest.mark.parametrize("caption", sorted(CAPTIONS.glob("*.rst")), ids=lambda path: path.stem)
def test_captions_are_valid_for_the_workflow_report(caption):
    job = {"config": {"study": "demo"}}
    template = jinja2.Template(caption.read_text(encoding="utf-8"), undefined=jinja2.StrictUndefined)
    text = template.render({} if caption.stem == "workflow" else {"snakemake": job})
    settings = {"halt_level": 2, "report_level": 2}
    assert docutils.core.publish_parts(text, writer="html", settings_overrides=settings)["body"]
