"""A report page, written from a study's tables and read again."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser

import pandas as pd

from terralucas.report.build import FIGURES, ReportContext, build_report
from terralucas.tables.tidy_csv import read_table, write_table

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
    primary="macro_accuracy",
    contrasts=[],
    interactions=[],
    select={"metric": None, "rule": "one_standard_error"},
    block_km=None,
    simulated=True,
    random_weights=["tiny"],
    registrations=[PLAN],
    plan_changes=[],
)
CROSSED = ["crossed_low", "crossed_high"]


def render(study, folder, **changes):
    """The page of a study with empty figures; `changes` are of `CONTEXT`."""
    figures = {name: folder / f"{name}.svg" for name in FIGURES}
    for path in figures.values():
        path.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>', encoding="utf-8")
    context = dataclasses.replace(CONTEXT, **changes)
    build_report(study.tables, figures, study.points["share_right"], study.geojson, context, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def as_written(study, folder):
    """The study with its tables as their files hold them."""
    for name, table in study.tables.items():
        write_table(table, folder / f"{name}.csv")
    tables = {name: read_table(folder / f"{name}.csv") for name in study.tables}
    return dataclasses.replace(study, tables=tables)


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
MACRO, MICRO = ({**LOSSES, "metric": metric} for metric in ("macro_accuracy", "micro_accuracy"))
