"""Keeps the libraries that a job imports from the network."""

from __future__ import annotations

import os


def stay_offline() -> None:
    """Let no library ask a server for anything; call it before TerraTorch is imported.

    Weights were fetched on the head node; a compute node may have no network, and must not wait for one. A library that
    TerraTorch imports would ask for its own latest version.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["LIGHTLY_DID_VERSION_CHECK"] = "True"
