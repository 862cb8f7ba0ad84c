"""What the tests of tuned runs share."""

import pytest
import torch


@pytest.fixture
def plain_descent(monkeypatch):
    """Steps in proportion to gradients; AdamW's first ones only follow signs, which rounding turns near zero."""
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, weight_decay: torch.optim.SGD(groups))


# Imports inside: tests of losses and decoders do not wait for Lightning.
@pytest.fixture(scope="module")
def shallow_backbones():
    """Encoders of two blocks, for all tests of a module that asks for it by a mark."""
    from helpers.tuned_runs import shallow
    from terralucas.training import tuned

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuned, "build_backbone", shallow)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The folder of a study on small chips, with index, split and packed chips."""
    from helpers.tuned_runs import make_study

    return make_study(tmp_path_factory.mktemp("study"))
