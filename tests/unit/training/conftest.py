"""What the tests of tuned runs share."""

import pytest
import torch


@pytest.fixture
def plain_descent(monkeypatch):
    """Steps in proportion to gradients; AdamW's first ones only follow signs, which rounding turns near zero."""
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, weight_decay: torch.optim.SGD(groups))
