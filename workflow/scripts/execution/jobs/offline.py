"""Keep the libraries of a job offline."""

from __future__ import annotations

import os


def stay_offline() -> None:
    """Prevent requests of libraries to servers; call this before importing TerraTorch.

    The weights were fetched on the head node. A compute node may have no network, and must not wait for a timeout. A
    library that TerraTorch imports would ask a server for its latest version.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["LIGHTLY_DID_VERSION_CHECK"] = "True"
