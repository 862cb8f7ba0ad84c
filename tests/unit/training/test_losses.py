"""Losses against kornia, torch, scipy, Segmentation Models PyTorch, their papers and a hand-computed case."""

import math

import numpy as np
import pytest
import torch
from kornia.losses import focal_loss
from scipy.special import log_softmax
from sklearn.utils.class_weight import compute_class_weight

from terralucas.training.losses import build_loss, class_weights, focal_terms, start_epoch

CPU = torch.device("cpu")
WEIGHTS = np.array([0.39, 1.12, 4.69, 9.97])
COUNTS = np.array([409, 142, 34, 16])
LABELS = np.repeat(np.arange(4), COUNTS)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(16, 4, generator=generator, dtype=torch.float64) * 3
    return logits.float().requires_grad_(), torch.randint(0, 4, (16,), generator=generator)


def value_and_gradient(loss, logits, labels):
    value = loss(logits, labels)
    return value.detach(), torch.autograd.grad(value, logits)[0]


def setting(kind, reduction="weighted_mean", gamma=2.0):
    return {"type": kind, "reduction": reduction, **({"gamma": gamma} if kind == "focal" else {})}


def test_balanced_weights_are_scikit_learns_and_the_originals():
    labels = np.repeat(np.arange(10), [409, 142, 164, 563, 101, 46, 100, 34, 16, 20])
    ours = class_weights("balanced", labels, 10)
    assert np.allclose(ours, compute_class_weight("balanced", classes=np.arange(10), y=labels))
    original = [
        0.38997555,
        1.12323944,
        0.97256098,
        0.28330373,
        1.57920792,
        3.4673913,
        1.595,
        4.69117647,
        9.96875,
        7.975,
    ]
    assert np.allclose(ours, original)
    assert np.array_equal(class_weights("none", labels, 10), np.ones(10))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_is_kornias_with_class_weights(batch, gamma):
    logits, labels = batch
    weight = torch.tensor(WEIGHTS, dtype=torch.float32)
    kornia = lambda x, y: focal_loss(x, y, alpha=None, gamma=gamma, reduction="none", weight=weight).sum() / len(y)  # noqa: E731
    ours = build_loss(setting("focal", "mean", gamma), WEIGHTS, CPU)
    for mine, theirs in zip(value_and_gradient(ours, *batch), value_and_gradient(kornia, logits, labels), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("reduction", ["weighted_mean", "mean"])
def test_cross_entropy_is_torchs(batch, reduction):
    weight = torch.tensor(WEIGHTS, dtype=torch.float32)
    if reduction == "weighted_mean":
        theirs = torch.nn.CrossEntropyLoss(weight=weight)
    else:
        theirs = lambda x, y: torch.nn.CrossEntropyLoss(weight=weight, reduction="sum")(x, y) / len(y)  # noqa: E731
    ours = build_loss(setting("ce", reduction), WEIGHTS, CPU)
    for mine, other in zip(value_and_gradient(ours, *batch), value_and_gradient(theirs, *batch), strict=True):
        torch.testing.assert_close(mine, other)


def test_weighted_focal_becomes_weighted_cross_entropy_as_gamma_goes_to_zero(batch):
    focal = build_loss(setting("focal", gamma=1e-6), WEIGHTS, CPU)
    ce = build_loss(setting("ce"), WEIGHTS, CPU)
    torch.testing.assert_close(focal(*batch), ce(*batch), rtol=1e-4, atol=1e-5)


def test_by_hand():
    # p_y = 3/4 and 1/4, weights 1 and 5: (1·(1/4)²·ln(4/3) + 5·(3/4)²·ln 4) / 6.
    logits = torch.tensor([[math.log(3.0), 0.0], [math.log(3.0), 0.0]])
    loss = build_loss(setting("focal"), np.array([1.0, 5.0]), CPU)
    expected = (math.log(4 / 3) / 16 + 5 * 9 / 16 * math.log(4)) / 6
    assert float(loss(logits, torch.tensor([0, 1]))) == pytest.approx(expected, rel=1e-6)


def test_class_weights_change_the_focal_loss(batch):
    even, weighted = (build_loss(setting("focal"), weights, CPU)(*batch) for weights in (np.ones(4), WEIGHTS))
    assert not torch.isclose(even, weighted)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gradient_is_finite_for_certain_chips(gamma):
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    focal_terms(logits, torch.tensor([0, 0]), gamma).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_terratorchs_focal_is_smps_and_ignores_class_weights(batch):
    from segmentation_models_pytorch.losses import FocalLoss

    smp = FocalLoss(mode="multiclass", normalized=True)
    ours = build_loss({"type": "terratorch_focal"}, WEIGHTS, CPU)
    for mine, theirs in zip(value_and_gradient(ours, *batch), value_and_gradient(smp, *batch), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_square_roots_of_balanced_weights():
    theirs = compute_class_weight("balanced", classes=np.arange(4), y=LABELS)
    assert np.allclose(class_weights("sqrt_balanced", LABELS, 4), np.sqrt(theirs))


@pytest.mark.parametrize("beta", [0.9, 0.999, 0.9999])
def test_weights_by_effective_number_are_those_of_the_authors_code(beta):
    """Cui et al. (2019), class_balanced_loss.py of their repository."""
    effective = 1.0 - np.power(beta, COUNTS)
    weights = (1.0 - beta) / np.array(effective)
    assert np.allclose(class_weights("effective_number", LABELS, 4, beta), weights / np.sum(weights) * 4)


@pytest.mark.parametrize("reduction", ["weighted_mean", "mean"])
def test_label_smoothing_mixes_the_target_with_all_classes(batch, reduction):
    logits, labels = batch
    smoothing = 0.2
    log_p = log_softmax(logits.detach().double().numpy(), axis=1)
    target = np.full((16, 4), smoothing / 4)
    target[np.arange(16), labels] += 1 - smoothing
    terms = -(WEIGHTS * target * log_p).sum(axis=1)
    divisor = WEIGHTS[labels].sum() if reduction == "weighted_mean" else 16
    ours = build_loss(setting("ce", reduction) | {"label_smoothing": smoothing}, WEIGHTS, CPU)
    assert float(ours(*batch).detach()) == pytest.approx(terms.sum() / divisor, rel=1e-5)


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_logit_adjustment_is_the_papers_pairwise_form(batch, tau):
    """Menon et al. (2021), eq. 10: log(1 + Σ over other classes c of (π_c / π_y)^τ exp(f_c − f_y))."""
    logits, labels = batch
    prior, terms = COUNTS / COUNTS.sum(), []
    for scores, label in zip(logits.detach().double().numpy(), labels.numpy(), strict=True):
        ratios = (prior / prior[label]) ** tau * np.exp(scores - scores[label])
        terms.append(math.log1p(np.delete(ratios, label).sum()))
    ours = build_loss({"type": "logit_adjusted", "tau": tau}, np.ones(4), CPU, COUNTS)
    assert float(ours(*batch).detach()) == pytest.approx(np.mean(terms), rel=1e-5)


def test_balanced_softmax_is_the_papers(batch):
    """Ren et al. (2020): −log of n_y e^{z_y} / Σ n_c e^{z_c}."""
    logits, labels = batch
    masses = COUNTS * np.exp(logits.detach().double().numpy())
    expected = -np.log(masses[np.arange(16), labels] / masses.sum(axis=1)).mean()
    ours = build_loss({"type": "balanced_softmax"}, np.ones(4), CPU, COUNTS)
    assert float(ours(*batch).detach()) == pytest.approx(expected, rel=1e-5)


LDAM = {"type": "ldam", "max_margin": 0.5, "scale": 30.0, "drw_epoch": 3}


def authors_ldam(cosines, labels, weight):
    """Cao et al. (2019), losses.py of their repository, in numpy."""
    margins = 1.0 / np.sqrt(np.sqrt(COUNTS))
    margins = margins * (0.5 / np.max(margins))
    lowered = cosines.copy()
    lowered[np.arange(len(labels)), labels] -= margins[labels]
    terms = -log_softmax(30 * lowered, axis=1)[np.arange(len(labels)), labels]
    return (weight[labels] * terms).sum() / weight[labels].sum()


@pytest.mark.parametrize(("epoch", "weight"), [(1, np.ones(4)), (2, np.ones(4)), (3, WEIGHTS), (9, WEIGHTS)])
def test_ldam_is_the_authors_and_its_weights_are_deferred(batch, epoch, weight):
    cosines = torch.tanh(batch[0]).detach()
    loss = build_loss(LDAM, WEIGHTS, CPU, COUNTS)
    start_epoch(loss, epoch)
    expected = authors_ldam(cosines.double().numpy(), batch[1].numpy(), weight)
    # Runs hand over what their normalised head gives: scale times cosine.
    assert float(loss(30 * cosines, batch[1])) == pytest.approx(expected, rel=1e-5)
