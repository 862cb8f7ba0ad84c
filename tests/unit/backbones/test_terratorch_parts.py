"""TerraMind's encoders come without the rest of TerraTorch, and are those of all of TerraTorch."""

import json
import os
import subprocess
import sys

import pytest

from helpers.paths import SCRIPTS

# Prints the tokens, and which of some modules were imported.
BUILD = """
import json, sys, torch
from terralucas.backbones.encoder import build_backbone
from terralucas.training.tuned import with_adapters
backbone = build_backbone("terramind_v1_tiny", ["BLUE", "RED"], {"source": "random", "seed": 3})
adapters = {"rank": 2, "alpha": 4, "dropout": 0.0, "target_modules": ["q_linear", "v_linear"]}
chips = torch.rand(2, 2, 32, 32, generator=torch.Generator().manual_seed(5))
with torch.inference_mode():
    tokens = backbone.encoder(chips)[-1].double()
    adapted = with_adapters(backbone.encoder, adapters)(chips)[-1].double()
imported = [n for n in ("terratorch.datasets", "torchgeo", "lightly", "diffusers", "kornia") if n in sys.modules]
print(json.dumps({"tokens": tokens.flatten().tolist(), "adapted": adapted.shape, "imported": imported}))
"""
WHOLE = "from terratorch.registry import BACKBONE_REGISTRY\nfrom terratorch.tasks import ClassificationTask\n"
MODELS = """
encoder = BACKBONE_REGISTRY.build("terramind_v1_base", modalities=["S2L2A"], pretrained=False)
arguments = {"backbone": "terramind_v1_tiny", "backbone_modalities": ["S2L2A"], "backbone_pretrained": False}
arguments |= {"decoder": "IdentityDecoder", "num_classes": 3}
ClassificationTask(model_factory="EncoderDecoderFactory", model_args=arguments)
assert "prithvi_eo_v2_300" in BACKBONE_REGISTRY and "timm_resnet18" in BACKBONE_REGISTRY
"""


@pytest.fixture(scope="module")
def alone():
    return _run(BUILD)


def _run(code):
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_an_encoder_comes_without_the_rest_of_terratorch(alone):
    assert alone["imported"] == []
    assert alone["adapted"] == [2, 4, 192]


def test_all_of_terratorch_can_be_imported_later_and_has_the_same_encoder(alone):
    """Exports load their files again with a task of TerraTorch."""
    assert _run(f"{BUILD}{WHOLE}{MODELS}{BUILD}")["tokens"] == alone["tokens"]
