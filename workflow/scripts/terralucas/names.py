"""Names of seeds and runs in paths and tables."""

from __future__ import annotations

_SEED_PREFIX = "seed-"


def seed_name(seed: int | str) -> str:
    """Return the name of a seed in paths, such as `seed-3`."""
    return f"{_SEED_PREFIX}{seed}"


def seed_of(name: str) -> int:
    """Return the number of a seed from its name in paths."""
    return int(name.removeprefix(_SEED_PREFIX))


def run_name(backbone: str, loss: str, decoder: str, seed: int | str) -> str:
    """Return the name of a run, which is the path of its folder: `backbone/loss/decoder/seed-3`."""
    return "/".join((backbone, loss, decoder, seed_name(seed)))
