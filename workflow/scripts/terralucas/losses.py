"""Training losses and class weights, by the name of a setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


def class_weights(scheme: str, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Weight of each class from the training labels.

    Args:
        scheme: `none` (all one) or `balanced`: n / (K n_c), scikit-learn's "balanced", after King & Zeng (2001),
            Political Analysis 9(2).
        labels: (n,) class indices of the training chips; every class occurs.
        n_classes: K.

    Returns:
        (K,) float64 weights.
    """
    if scheme == "none":
        return np.ones(n_classes)
    counts = np.bincount(labels, minlength=n_classes)
    return len(labels) / (n_classes * counts.astype(np.float64))


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


def build_loss(setting: Mapping[str, Any], weights: np.ndarray, device: torch.device) -> Loss:
    """The loss of a setting as a function of (logits, labels).

    With losses l_i and class weights w of a batch of n chips, `weighted_mean` is Σ w_{y_i} l_i / Σ w_{y_i} (as
    `torch.nn.CrossEntropyLoss` does) and `mean` is Σ w_{y_i} l_i / n.

    Args:
        setting: an entry of `losses`.
        weights: (K,) class weights.
        device: of the logits to come.

    Returns:
        A function of logits (n, K) and labels (n,) that gives a scalar.
    """
    if setting["type"] == "terratorch_focal":
        return terratorch_focal
    weight = torch.as_tensor(weights, dtype=torch.float32, device=device)
    divide_by_weights = setting["reduction"] == "weighted_mean"
    if setting["type"] == "ce" and divide_by_weights:
        return lambda logits, labels: functional.cross_entropy(logits, labels, weight=weight)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        if setting["type"] == "ce":
            terms = functional.cross_entropy(logits, labels, reduction="none")
        else:
            terms = focal_terms(logits, labels, setting["gamma"])
        w = weight[labels]
        return (w * terms).sum() / (w.sum() if divide_by_weights else len(labels))

    return loss
