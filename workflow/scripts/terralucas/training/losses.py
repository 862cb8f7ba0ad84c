"""Training losses and class weights, by the name of a setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


def class_weights(scheme: str, labels: np.ndarray, n_classes: int, beta: float | None = None) -> np.ndarray:
    """Weight of each class from the training labels.

    Args:
        scheme: `none` (all one); `balanced`: n / (K n_c), scikit-learn's "balanced", after King & Zeng (2001),
            Political Analysis 9(2); `sqrt_balanced`: its square root; `effective_number`: (1 − β) / (1 − β^n_c), scaled
            to a sum of K (Cui et al. 2019, Class-balanced loss based on effective number of samples).
        labels: (n,) class indices of the training chips; every class occurs.
        n_classes: K.
        beta: β of `effective_number`, 0 < β < 1.

    Returns:
        (K,) float64 weights.
    """
    if scheme == "none":
        return np.ones(n_classes)
    counts = np.bincount(labels, minlength=n_classes).astype(np.float64)
    if scheme == "effective_number":
        assert beta is not None, "the schema gives effective_number a beta"
        weights = (1.0 - beta) / -np.expm1(counts * np.log(beta))
        return weights * n_classes / weights.sum()
    balanced = len(labels) / (n_classes * counts)
    return np.sqrt(balanced) if scheme == "sqrt_balanced" else balanced


def focal_terms(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Focal loss of each chip, −(1 − p_y)^γ log p_y with softmax probabilities.

    Lin et al. (2017), Focal loss for dense object detection, eq. 4, in its multi-class softmax form.

    Args:
        logits: (n, K).
        labels: (n,) class indices.
        gamma: focusing exponent γ > 0.

    Returns:
        (n,) losses without class weights.
    """
    log_p = functional.log_softmax(logits, dim=1).gather(1, labels[:, None]).squeeze(1)
    # 1 − p through expm1 keeps its digits where p is close to 1; the clamp keeps the gradient finite at p = 1 exactly,
    # where (1 − p)^γ with γ < 1 has an infinite slope.
    missing = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
    return -(missing**gamma) * log_p


def terratorch_focal(logits: Tensor, labels: Tensor) -> Tensor:
    """What TerraTorch 1.2 builds for `loss="focal"`, for the faithful reproduction of the original alone.

    Segmentation Models PyTorch's `FocalLoss(mode="multiclass", normalized=True)`: a binary focal loss (γ = 2) of each
    class against the rest, divided by the sum of its focal factors over the batch (Yu et al. 2019, arXiv:1909.07829),
    averaged over batch and classes. TerraTorch drops the class weights.

    Args:
        logits: (n, K).
        labels: (n,) class indices.
    """
    target = functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
    terms = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    factor = (1.0 - torch.exp(-terms)) ** 2
    return (factor * terms / factor.sum(dim=0).clamp_min(1e-6)).mean()


class LdamLoss:
    """Label-distribution-aware margins, with deferred re-weighting.

    −w_y log softmax(z − s Δ_y e_y)_y, averaged as Σ w l / Σ w, with margins Δ_c = C / n_c^¼ and C such that the largest
    is `max_margin` (Cao et al. 2019, Learning imbalanced datasets with label-distribution-aware margin loss; largest
    margin and scale as in their code). z are the scores s cos(w_c, x) of a normalised head of scale s. All weights are
    one before `drw_epoch`.

    Args:
        margins: (K,) s Δ_c.
        weight: (K,) class weights from `drw_epoch` on.
        drw_epoch: first epoch with class weights, from 1.
    """

    def __init__(self, margins: Tensor, weight: Tensor, drw_epoch: int) -> None:
        self.margins, self.weight, self.drw_epoch = margins, weight, drw_epoch
        self.epoch = 1

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        lowered = logits - self.margins * functional.one_hot(labels, logits.shape[1])
        weight = self.weight if self.epoch >= self.drw_epoch else None
        return functional.cross_entropy(lowered, labels, weight=weight)


def denominator_terms(setting: Mapping[str, Any], weights: np.ndarray, labels: np.ndarray, epoch: int) -> np.ndarray:
    """What each chip adds to the denominator of the mean that a loss takes over a batch.

    The loss of a batch is the mean of the losses of its pieces, each weighted by its share of the batch's denominator.
    That of `terratorch_focal` depends on the logits, so that its batches cannot be cut; see `can_be_cut`.

    Args:
        setting: an entry of `losses`.
        weights: (K,) class weights.
        labels: (n,) class indices.
        epoch: from 1; from its `drw_epoch` on LDAM divides by class weights.

    Returns:
        (n,) the chips' class weights, or ones.
    """
    reweighted = setting["type"] == "ldam" and epoch >= setting["drw_epoch"]
    return weights[labels] if reweighted or setting.get("reduction") == "weighted_mean" else np.ones(len(labels))


def can_be_cut(setting: Mapping[str, Any]) -> bool:
    """Whether the loss of a batch follows from those of its pieces."""
    return setting["type"] != "terratorch_focal"


def start_epoch(loss: Loss, epoch: int) -> None:
    """Tell a loss that changes during training which epoch, from 1, begins."""
    if isinstance(loss, LdamLoss):
        loss.epoch = epoch


def head_scale(setting: Mapping[str, Any]) -> float | None:
    """The scale of the normalised head a loss asks for (LDAM); None where the head is linear."""
    return setting.get("scale")


def build_loss(
    setting: Mapping[str, Any], weights: np.ndarray, device: torch.device, counts: np.ndarray | None = None
) -> Loss:
    """The loss of a setting as a function of (logits, labels).

    With losses l_i and class weights w of a batch of n chips, `weighted_mean` is Σ w_{y_i} l_i / Σ w_{y_i} (as
    `torch.nn.CrossEntropyLoss` does) and `mean` is Σ w_{y_i} l_i / n. Label smoothing ε is torch's: the target is
    1 − ε on the label and ε / K on every class (Szegedy et al. 2016, section 7), each class's term times its weight.

    `logit_adjusted` is cross-entropy of z + τ log π with the classes' shares π (Menon et al. 2021, Long-tail learning
    via logit adjustment, eq. 10); `balanced_softmax` is that of z + log n_c (Ren et al. 2020, Balanced meta-softmax),
    which is `logit_adjusted` with τ = 1. Predictions are those of z itself.

    Args:
        setting: an entry of `losses`.
        weights: (K,) class weights.
        device: of the logits to come.
        counts: (K,) training chips of each class; only losses that shift logits need them.

    Returns:
        A function of logits (n, K) and labels (n,) that gives a scalar.
    """
    if setting["type"] == "terratorch_focal":
        return terratorch_focal
    weight = _tensor(weights, device)
    if setting["type"] in ("ce", "focal"):
        return _weighted(setting, weight)
    assert counts is not None, f"{setting['type']} needs the classes' counts"
    counts = np.asarray(counts, dtype=np.float64)
    if setting["type"] == "ldam":
        margins = setting["scale"] * setting["max_margin"] * (counts.min() / counts) ** 0.25
        return LdamLoss(_tensor(margins, device), weight, setting["drw_epoch"])
    adjusted = setting["type"] == "logit_adjusted"
    shift = _tensor(setting["tau"] * np.log(counts / counts.sum()) if adjusted else np.log(counts), device)
    return lambda logits, labels: functional.cross_entropy(logits + shift, labels)


def _tensor(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32, device=device)


def _weighted(setting: Mapping[str, Any], weight: Tensor) -> Loss:
    """Cross-entropy or focal loss with class weights and a choice of reduction."""
    divide_by_weights, smoothing = setting["reduction"] == "weighted_mean", setting.get("label_smoothing", 0.0)
    if setting["type"] == "ce" and divide_by_weights:
        return lambda logits, labels: functional.cross_entropy(logits, labels, weight=weight, label_smoothing=smoothing)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        if setting["type"] == "ce":
            terms = functional.cross_entropy(logits, labels, weight=weight, label_smoothing=smoothing, reduction="none")
            return terms.sum() / len(labels)
        w = weight[labels]
        terms = focal_terms(logits, labels, setting["gamma"])
        return (w * terms).sum() / (w.sum() if divide_by_weights else len(labels))

    return loss
