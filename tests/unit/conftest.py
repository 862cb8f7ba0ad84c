"""Fixtures of several packages: a browser, a server that answers like Google Drive, and a folder for what comes."""

from __future__ import annotations

import os
import resource
import warnings

import pytest
from rasterio._env import del_gdal_config

from helpers import browser
from helpers.debian import PackageError
from helpers.drive_server import redirect_google, running_server
from helpers.not_tested import not_tested
from terralucas.data.retrieval import downloads as downloads_module


@pytest.fixture
def server(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(downloads_module, "RETRIES", 0)
    with running_server() as running:
        redirect_google(monkeypatch, running)
        yield running


@pytest.fixture
def gdal_in_the_shell(monkeypatch):
    """Options of GDAL that keep it from reading what lies beside an image, as variables of the environment."""
    options = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
    for name, value in options.items():
        monkeypatch.setenv(name, value)
    yield
    # rasterio keeps the values that it found when one of its environments began.
    for name in options:
        del_gdal_config(name)


@pytest.fixture
def small_files():
    """Call it with a number of bytes: in this test, no file can become larger, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@pytest.fixture(scope="session")
def chromium():
    """Path of a Chromium; it is installed where it is missing, this is root and there is apt-get."""
    path = browser.find()
    if path is not None:
        return path
    try:
        path = browser.install_chromium()
    except PackageError as error:
        not_tested("browser", error)
    warnings.warn(pytest.PytestWarning("apt-get installed Chromium for these tests"), stacklevel=1)
    return path
