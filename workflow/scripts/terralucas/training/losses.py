"""Training losses and class weights, built from the settings of a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


def class_weights(scheme: str, labels: np.ndarray, n_classes: int, beta: float | None = None) -> np.ndarray:
    """Compute the weight of each class from the training labels.

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
    """Compute the focal loss of each chip, −(1 − p_y)^γ log p_y with softmax probabilities.

    Lin et al. (2017), Focal loss for dense object detection, eq. 4, in its multi-class softmax form.

    Args:
        logits: (n, K).
        labels: (n,) class indices.
        gamma: focusing exponent γ > 0.

    Returns:
        (n,) losses without class weights.
    """
    log_p = functional.log_softmax(logits, dim=1).gather(1, labels[:, None]).squeeze(1)
    # expm1 computes 1 − p without loss of precision where p is close to 1. The clamp keeps the gradient finite at
    # p = 1, where (1 − p)^γ with γ < 1 has an infinite slope.
    missing = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
    return -(missing**gamma) * log_p


def terratorch_focal(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the loss that TerraTorch 1.2 builds for `loss="focal"`; only needed to reproduce the original study.

    It is the `FocalLoss(mode="multiclass", normalized=True)` of Segmentation Models PyTorch: a binary focal loss
    (γ = 2) of each class against all others, divided by the sum of its focal factors over the batch (Yu et al. 2019,
    arXiv:1909.07829), then averaged over batch and classes. TerraTorch ignores the class weights for this loss.

    Args:
        logits: (n, K).
        labels: (n,) class indices.
    """
    target = functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
    terms = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    factor = (1.0 - torch.exp(-terms)) ** 2
    return (factor * terms / factor.sum(dim=0).clamp_min(1e-6)).mean()


class LdamLoss:
    """Label-distribution-aware margin loss (LDAM) with deferred re-weighting.

    The loss of a chip is −w_y log softmax(z − s Δ_y e_y)_y, and chips are averaged as Σ w l / Σ w. The margins are
    Δ_c = C / n_c^¼, with C such that the largest margin is `max_margin` (Cao et al. 2019, Learning imbalanced datasets
    with label-distribution-aware margin loss; largest margin and scale as in their code). z are the logits
    s cos(w_c, x) of a normalised head of scale s. Before `drw_epoch` all weights are one.

    Args:
        margins: (K,) s Δ_c.
        weight: (K,) class weights, used from `drw_epoch` on.
        drw_epoch: first epoch with class weights; epochs are counted from 1.
    """

    def __init__(self, margins: Tensor, weight: Tensor, drw_epoch: int) -> None:
        self.margins, self.weight, self.drw_epoch = margins, weight, drw_epoch
        self.epoch = 1

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        lowered = logits - self.margins * functional.one_hot(labels, logits.shape[1])
        weight = self.weight if self.epoch >= self.drw_epoch else None
        return functional.cross_entropy(lowered, labels, weight=weight)


def denominator_terms(setting: Mapping[str, Any], weights: np.ndarray, labels: np.ndarray, epoch: int) -> np.ndarray:
    """Return what each chip adds to the denominator of the mean loss of a batch.

    The loss of a batch is the weighted mean of the losses of its pieces; the weight of a piece is its share of the
    batch's denominator. The denominator of `terratorch_focal` depends on the logits, so its batches cannot be cut; see
    `can_be_cut`.

    Args:
        setting: an entry of `losses`.
        weights: (K,) class weights.
        labels: (n,) class indices.
        epoch: number of the epoch, from 1; from `drw_epoch` on, LDAM divides by the sum of class weights.

    Returns:
        (n,) the class weight of each chip, or ones.
    """
    reweighted = setting["type"] == "ldam" and epoch >= setting["drw_epoch"]
    return weights[labels] if reweighted or setting.get("reduction") == "weighted_mean" else np.ones(len(labels))


def can_be_cut(setting: Mapping[str, Any]) -> bool:
    """Return whether the loss of a batch can be computed from the losses of its pieces."""
    return setting["type"] != "terratorch_focal"


def start_epoch(loss: Loss, epoch: int) -> None:
    """Tell a loss that changes during training the number of the epoch that starts, counted from 1."""
    if isinstance(loss, LdamLoss):
        loss.epoch = epoch


def head_scale(setting: Mapping[str, Any]) -> float | None:
    """Return the scale of the normalised head that a loss needs (LDAM), or None if the head is linear."""
    return setting.get("scale")


def build_loss(
    setting: Mapping[str, Any], weights: np.ndarray, device: torch.device, counts: np.ndarray | None = None
) -> Loss:
    """Build the loss of a setting as a function of (logits, labels).

    For a batch of n chips with losses l_i and class weights w, the reduction `weighted_mean` is
    Σ w_{y_i} l_i / Σ w_{y_i} (as in `torch.nn.CrossEntropyLoss`), and `mean` is Σ w_{y_i} l_i / n. Label smoothing ε is
    defined as in torch: the target is 1 − ε for the label plus ε / K for every class (Szegedy et al. 2016, section 7),
    and the term of each class is multiplied by the weight of the class.

    `logit_adjusted` is the cross-entropy of z + τ log π with the class shares π (Menon et al. 2021, Long-tail learning
    via logit adjustment, eq. 10). `balanced_softmax` is the cross-entropy of z + log n_c (Ren et al. 2020, Balanced
    meta-softmax), which equals `logit_adjusted` with τ = 1. Classes are predicted from the unshifted logits z.

    Args:
        setting: an entry of `losses`.
        weights: (K,) class weights.
        device: the device of the logits.
        counts: (K,) number of training chips of each class; only losses that shift logits need it.

    Returns:
        A function that maps logits (n, K) and labels (n,) to a scalar.
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
    """Build a cross-entropy or focal loss with class weights and the reduction of the setting."""
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
