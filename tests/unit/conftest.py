"""Fixtures of the tests that download: a server that answers like Google Drive, and a folder for what comes."""

from __future__ import annotations

import os

import pytest

from helpers.drive_server import redirect_google, running_server
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
