"""Decoders against TerraTorch's own modules: same names, same numbers."""

import pytest
import torch

from terralucas.config import kind_of_features
from terralucas.decoders import DecoderModel

IDENTITY = {"pooling": "mean", "hidden": None, "dropout": 0.1}
MLP = {"pooling": "tokens", "hidden": "embedding", "dropout": 0.1}
EMBEDDING, TOKENS, CLASSES = 24, 9, 5


class TerraTorchModel(torch.nn.Module):
    """TerraTorch's decoder and head as its `ScalarOutputModel` names and calls them."""

    def __init__(self, decoder):
        from terratorch.models.heads import ScalarHead

        super().__init__()
        self.decoder = decoder
        self.head = ScalarHead(decoder.out_channels, num_classes=CLASSES, dropout=0.1)

    def forward(self, features):
        return self.head(self.decoder([features]))


@pytest.mark.parametrize(("setting", "name"), [(IDENTITY, "IdentityDecoder"), (MLP, "MLPDecoder")])
def test_state_dicts_move_over_and_give_the_same_logits(setting, name):
    from terratorch.models import decoders

    theirs = TerraTorchModel(getattr(decoders, name)([EMBEDDING])).eval()
    ours = DecoderModel(setting, EMBEDDING, CLASSES).eval()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    tokens = torch.randn(4, TOKENS, EMBEDDING, generator=torch.Generator().manual_seed(0))
    # TerraTorch's necks give the identity decoder pooled vectors and the MLP decoder a channels-first image of tokens.
    if kind_of_features(setting) == "pooled":
        pooled = tokens.mean(dim=1)
        torch.testing.assert_close(ours(pooled), theirs(pooled))
    else:
        torch.testing.assert_close(ours(tokens), theirs(tokens.transpose(1, 2).reshape(4, EMBEDDING, 3, 3)))


def test_a_hidden_width_is_honoured():
    model = DecoderModel({"pooling": "mean", "hidden": 7, "dropout": 0.0}, EMBEDDING, CLASSES)
    assert model.decoder.hidden_layer.weight.shape == (7, EMBEDDING)
    assert model(torch.zeros(2, EMBEDDING)).shape == (2, CLASSES)


def test_dropout_acts_in_training_only():
    model = DecoderModel(IDENTITY | {"dropout": 0.5}, EMBEDDING, CLASSES)
    features = torch.ones(1, EMBEDDING)
    model.train()
    assert not torch.equal(model(features), model(features))
    model.eval()
    assert torch.equal(model(features), model(features))
