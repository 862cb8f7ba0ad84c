"""Import single modules of TerraTorch without the rest of it.

`import terratorch` imports its datasets, tasks and all its models, and with them thousands of modules of Torchvision,
Diffusers, Lightly and others. TerraMind's encoders need few of them, and each job with an encoder would wait for all.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_TERRAMIND = "terratorch.models.backbones.terramind"
# Packages that import more than their modules need, parents first.
_PACKAGES = ("terratorch", "terratorch.registry", "terratorch.models", "terratorch.models.backbones", _TERRAMIND)
_REGISTRIES = "terratorch.registry.registry"
# Only TerraMind's tokenizers need it, and it imports Diffusers. TerraTorch registers the encoders also where it fails.
_TOKENIZERS = f"{_TERRAMIND}.tokenizer.vqvae"


def terramind_registry() -> Any:
    """Return TerraTorch's registry of backbones (`build`) with the encoders of TerraMind.

    If nothing has imported all of TerraTorch before, the registry has no other encoders, and this process cannot build
    the tokenizers of TerraMind.
    """
    left_out = [] if _TOKENIZERS in sys.modules else [_TOKENIZERS]
    # Python's sign for a module that cannot be imported.
    sys.modules.update(dict.fromkeys(left_out))  # type: ignore[arg-type]
    try:
        terratorch_module(f"{_TERRAMIND}.model.terramind_register")
    finally:
        for name in left_out:
            del sys.modules[name]
    return terratorch_module(_REGISTRIES).BACKBONE_REGISTRY


def terratorch_module(name: str) -> ModuleType:
    """Import one module of TerraTorch, and what it names itself, but not what the packages above it import.

    All of TerraTorch can be imported later in the same process; it then uses the modules that are there.

    Args:
        name: with all packages, such as terratorch.models.peft_utils.
    """
    with _bare_packages():
        return importlib.import_module(name)


@contextmanager
def _bare_packages() -> Iterator[None]:
    """Let packages that were not imported yet be found, without running their `__init__.py`."""
    bare = [name for name in _PACKAGES if name not in sys.modules]
    try:
        for name in bare:
            spec = importlib.util.find_spec(name)
            if spec is None:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            sys.modules[name] = importlib.util.module_from_spec(spec)
        if "terratorch.registry" in bare:
            registries = vars(importlib.import_module(_REGISTRIES))
            found = {name: value for name, value in registries.items() if name.endswith("_REGISTRY")}
            vars(sys.modules["terratorch.registry"]).update(found)
        yield
    finally:
        # Whoever imports such a package later must get all of it.
        for name in bare:
            sys.modules.pop(name, None)
