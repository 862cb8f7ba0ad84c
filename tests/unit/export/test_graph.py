"""The graph predicts what the selected models predict, with LoRA adapters merged and one copy of a frozen encoder."""

import copy

import numpy as np
import pytest
import torch

from helpers.chips import make_spec
from terralucas.export.graph import ChipFormat, EnsembleGraph, NormalisedInput, plain_encoder
from terralucas.export.graph_files import InputShape, trace
from terralucas.predict.conformal import softmax
from terralucas.predict.ensemble import EncoderGroup
from terralucas.training.tuned import TunedModel

pytestmark = pytest.mark.slow
REFLECTANCE = ChipFormat(1.0, None)


def largest(a, b):
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())


@pytest.mark.parametrize("kind", ["frozen", "lora"])
@pytest.mark.parametrize("number", [1, 2, 7])
def test_it_predicts_what_the_models_predict(kind, number, request):
    models = request.getfixturevalue(kind)
    assert np.isnan(models.chips[:1]).any(), "a missing pixel"
    expected, _ = models.ensemble.predict(models.chips[:number])
    logits, probabilities = EnsembleGraph(models.ensemble, REFLECTANCE)(torch.from_numpy(models.chips[:number]))
    assert logits.shape == (number, 2, 3)
    assert largest(logits.transpose(0, 1), expected) <= 1e-5
    assert largest(probabilities, softmax(expected).mean(axis=0)) <= 1e-5
    assert largest(expected[0], expected[1]) > 1e-2, "the models differ"


@pytest.mark.parametrize(("unit", "scale"), [("dn", 10_000.0), ("reflectance", 1.0)])
def test_a_stored_value_is_missing_only_where_no_tags_change_it(unit, scale):
    """With an offset of -1,000 DN, a missing 0 is -1,000, and 0 is the value of dark water."""
    spec = make_spec(unit=unit, nodata=0.0)
    assert ChipFormat.of(spec, has_tags=False) == ChipFormat(scale, 0.0)
    assert ChipFormat.of(spec, has_tags=True) == ChipFormat(scale, None)


def test_missing_pixels_become_the_mean_as_in_the_projects_normaliser(frozen):
    normaliser = frozen.ensemble.groups[0].normaliser
    chips = frozen.chips[1:3].copy()
    dn = (chips * 10_000).astype(np.float32)
    places = [(0, 0, 3, 4), (0, 5, 0, 0), (1, 2, 31, 31)]
    for place, value in zip(places, (np.nan, np.inf, -9999.0), strict=True):
        chips[place], dn[place] = np.nan, value
    found = NormalisedInput(normaliser, ChipFormat(10_000.0, -9999.0))(torch.from_numpy(dn))
    assert largest(found, normaliser(chips)) <= 1e-5
    without = NormalisedInput(normaliser, ChipFormat(10_000.0, None))(torch.from_numpy(dn))
    assert largest(without[places[2]], found[places[2]]) > 1, "without a nodata value, −9999 is a reflectance"
    # Huge nodata values are written with few digits.
    dn[places[2]] = np.finfo(np.float32).min
    huge = NormalisedInput(normaliser, ChipFormat(10_000.0, -3.40282e38))(torch.from_numpy(dn))
    assert largest(huge, found) == 0


def test_merged_adapters_compute_what_separate_ones_do(lora):
    with torch.inference_mode():
        for group in lora.ensemble.groups:
            chips = torch.from_numpy(group.normaliser(lora.chips))
            merged, tuned = plain_encoder(group.encoder)(chips)[-1], group.encoder(chips)[-1]
            with group.encoder.disable_adapter():
                original = group.encoder(chips)[-1]
            assert largest(merged, tuned) <= 1e-5
            assert largest(original, tuned) > 1e-2, "the adapters were trained"


def test_a_merged_encoder_has_the_names_of_terraminds_own(lora, frozen):
    own = frozen.ensemble.groups[0].encoder.state_dict()
    merged = plain_encoder(lora.ensemble.groups[0].encoder).state_dict()
    assert {name: value.shape for name, value in merged.items()} == {name: value.shape for name, value in own.items()}


def test_a_frozen_encoder_is_in_the_graph_once_whatever_the_normalisation(frozen):
    """With `normalisation: train`, each seed has statistics of its own, and so a group of its own."""
    ensemble = copy.copy(frozen.ensemble)
    (group,) = ensemble.groups
    other = copy.copy(group.normaliser)
    object.__setattr__(other, "mean", other.mean + 0.05)
    ensemble.groups = [
        EncoderGroup(group.encoder, group.normaliser, group.models[1:], [1]),
        EncoderGroup(group.encoder, other, group.models[:1], [0]),
    ]
    graph = EnsembleGraph(ensemble, REFLECTANCE)
    logits, _ = graph(torch.from_numpy(frozen.chips))
    assert largest(logits.transpose(0, 1), ensemble.predict(frozen.chips)[0]) <= 1e-5
    once = sum(value.numel() for value in EnsembleGraph(frozen.ensemble, REFLECTANCE).parameters())
    assert sum(value.numel() for value in graph.parameters()) == once


@pytest.mark.parametrize(
    ("setting", "scale"),
    [
        ({"pooling": "attention", "layers": None, "hidden": 8}, None),
        ({"pooling": "center", "window": 1, "layers": [1, 2], "hidden": None}, None),
        ({"pooling": "tokens", "layers": None, "hidden": "embedding"}, 10.0),
    ],
    ids=["attention", "centre of two layers", "normalised head"],
)
def test_every_kind_of_decoder_can_be_traced(shallow, setting, scale):
    ensemble = copy.copy(shallow.ensemble)
    (group,) = ensemble.groups
    torch.manual_seed(3)
    model = TunedModel(group.encoder, setting | {"dropout": 0.1}, group.width, 3, scale).eval()
    ensemble.groups = [EncoderGroup(group.encoder, group.normaliser, [model], [0])]
    program = trace(EnsembleGraph(ensemble, REFLECTANCE), InputShape(6, 32))
    for number in (1, 7):
        with torch.inference_mode():
            expected, _ = ensemble.groups[0](shallow.chips[:number], torch.device("cpu"))
        logits, _ = program.module()(torch.from_numpy(shallow.chips[:number]))
        assert largest(logits.transpose(0, 1), expected) <= 1e-5
