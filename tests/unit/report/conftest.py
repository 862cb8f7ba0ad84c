"""Fixtures of the tests of the report."""

from __future__ import annotations

import dataclasses

import pytest

from helpers import report_page
from helpers.synthetic import make_study


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
