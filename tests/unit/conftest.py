"""Fixtures of the tests of retrieval and of the report."""

from __future__ import annotations

import dataclasses
import os

import pytest

import report_page
from drive_server import redirect_google, running_server
from synthetic import make_study
from terralucas.data import retrieval as retrieve_module


@pytest.fixture
def server(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(retrieve_module, "RETRIES", 0)
    with running_server() as running:
        redirect_google(monkeypatch, running)
        yield running


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@pytest.fixture(scope="session")
def whole_study(tmp_path_factory):
    """A small study as its files hold it."""
    study = make_study(tmp_path_factory.mktemp("study"), excluded=(2,))
    return report_page.as_written(study, tmp_path_factory.mktemp("tables"))


@pytest.fixture
def study(whole_study):
    """A copy of the study, to be changed."""
    return dataclasses.replace(whole_study, tables={name: table.copy() for name, table in whole_study.tables.items()})


@pytest.fixture
def render(tmp_path):
    """Writes the page of a study, and gives its HTML."""
    return lambda study, **changes: report_page.render(study, tmp_path, **changes)


@pytest.fixture
def plain_descent(monkeypatch):
    """Steps in proportion to gradients; AdamW's first ones only follow signs, which rounding turns near zero."""
    import torch

    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, weight_decay: torch.optim.SGD(groups))
