"""Weights by which an encoder does not see one of its bands."""

import re

import pytest
import torch
from torch import nn

from terralucas.backbones.encoder import _require_seeing
from terralucas.errors import StudyError

BANDS = ("RED", "GREEN", "BLUE")
WEIGHTS = {"path": "converted.pt"}


class Encoder(nn.Module):
    """Tokens of 16 x 16 pixels, which are a sum of each band times its factor."""

    def __init__(self, *factors):
        super().__init__()
        self.factors = torch.tensor(factors)

    def forward(self, values):
        patches = nn.functional.avg_pool2d(values, 16).flatten(2).transpose(1, 2)
        return [patches, torch.tanh(patches @ self.factors[:, None])]


def test_an_encoder_that_sees_each_band_is_accepted():
    _require_seeing(Encoder(0.3, -0.2, 1e-4), BANDS, WEIGHTS)


@pytest.mark.parametrize(
    ("factors", "found"),
    [
        ((0.3, 0.0, 0.1), "whatever the values of GREEN$"),
        ((0.0, 0.2, 0.0), "whatever the values of RED, BLUE$"),
        ((float("inf"), 0.2, 0.1), "no numbers"),
    ],
)
def test_weights_that_are_blind_to_a_band_are_refused(factors, found):
    """As of a program that fills the bands that a model lacks with zeros."""
    with pytest.raises(StudyError, match=r"converted\.pt of the backbone cannot be used") as error:
        _require_seeing(Encoder(*factors), BANDS, WEIGHTS)
    assert re.search(found, error.value.found)
