"""Decoders against TerraTorch's own modules: same names, same numbers."""

import pytest
import torch

from terralucas.backbones.feature_kinds import kind_of_features
from terralucas.errors import StudyError
from terralucas.training.decoders import DecoderModel, central_tokens, read_tokens

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


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.999999])
def test_dropout_keeps_as_many_as_it_says_each_by_chance(rate):
    model = DecoderModel(IDENTITY | {"dropout": rate}, EMBEDDING, CLASSES).train()
    dropout, n = model.head.head[1], 1_000_001
    torch.manual_seed(0)
    twice = torch.stack([dropout(torch.ones(n)), dropout(torch.ones(n))])
    assert twice.unique().tolist() == pytest.approx([0.0, 1 / (1 - rate)], rel=2e-5 / (1 - rate))
    kept = (twice > 0).double()
    # Five standard deviations of a binomial share, and of the correlation of independent draws.
    assert kept.mean(dim=1).tolist() == pytest.approx([1 - rate] * 2, abs=5 * (rate * (1 - rate) / n) ** 0.5 + 2**-16)
    # Of neighbours, up to those of the next number drawn, and of the next call.
    for other in [*(kept[0].roll(lag) for lag in range(1, 9)), kept[1]]:
        assert abs(torch.corrcoef(torch.stack([kept[0], other]))[0, 1]) < 5 / n**0.5


def test_dropout_repeats_with_its_stream_and_passes_gradients_of_what_it_kept():
    dropout = DecoderModel(MLP | {"dropout": 0.3}, EMBEDDING, CLASSES).train().head.head[1]
    tokens = torch.randn(2, TOKENS, EMBEDDING, generator=torch.Generator().manual_seed(0), requires_grad=True)
    torch.manual_seed(1)
    first = dropout(tokens)
    torch.manual_seed(1)
    assert torch.equal(dropout(tokens), first)
    first.sum().backward()
    torch.testing.assert_close(tokens.grad * tokens, first)


@pytest.mark.parametrize("cosine_scale", [None, 30.0])
def test_class_scores_are_averaged_over_tokens(cosine_scale):
    model = DecoderModel(MLP | {"dropout": 0.0}, EMBEDDING, CLASSES, cosine_scale)
    tokens = torch.randn(4, TOKENS, EMBEDDING, generator=torch.Generator().manual_seed(0))
    alone = torch.stack([model(tokens[:, [token]]) for token in range(TOKENS)])
    torch.testing.assert_close(model(tokens), alone.mean(dim=0))


@pytest.mark.parametrize(
    ("side", "window", "expected"),
    [
        (14, 2, [6 * 14 + 6, 6 * 14 + 7, 7 * 14 + 6, 7 * 14 + 7]),
        (15, 1, [7 * 15 + 7]),
        (4, 1, [1 * 4 + 1]),
        (3, 3, list(range(9))),
    ],
    ids=["even in even", "odd in odd", "odd in even: upper left", "the whole grid"],
)
def test_the_window_lies_around_the_middle(side, window, expected):
    assert central_tokens(side * side, window) == expected


def test_center_sees_the_windows_tokens_alone():
    tokens = torch.randn(3, 16, EMBEDDING, generator=torch.Generator().manual_seed(0))
    setting = {"pooling": "center", "window": 2, "hidden": None, "dropout": 0.0}
    four = tokens[:, 5] + tokens[:, 6] + tokens[:, 9] + tokens[:, 10]
    torch.testing.assert_close(read_tokens(setting, tokens), four / 4)
    with pytest.raises(StudyError, match="window is larger"):
        read_tokens(setting | {"window": 5}, tokens)


def test_attention_is_torchs_with_one_query_and_starts_from_the_mean():
    setting = {"pooling": "attention", "hidden": None, "dropout": 0.0}
    model = DecoderModel(setting, EMBEDDING, CLASSES)
    tokens = torch.randn(4, TOKENS, EMBEDDING, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(tokens), model.head(tokens.mean(dim=1)))
    query = torch.randn(EMBEDDING, generator=torch.Generator().manual_seed(1))
    model.attention.query.data.copy_(query)
    theirs = torch.nn.functional.scaled_dot_product_attention(query.expand(4, 1, EMBEDDING), tokens, tokens)[:, 0]
    torch.testing.assert_close(model(tokens), model.head(theirs))
    model(tokens).sum().backward()
    assert model.attention.query.grad.abs().sum() > 0


def test_a_normalised_head_gives_scaled_cosines():
    model = DecoderModel(IDENTITY | {"dropout": 0.0}, EMBEDDING, CLASSES, cosine_scale=30.0)
    features = 100 * torch.randn(4, EMBEDDING, generator=torch.Generator().manual_seed(0))
    weight = model.state_dict()["head.head.2.weight"]
    expected = 30 * torch.nn.functional.cosine_similarity(features[:, None], weight[None], dim=-1)
    torch.testing.assert_close(model(features), expected)
    assert "head.head.2.bias" not in model.state_dict()
