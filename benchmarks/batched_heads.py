"""Compare runs that train one after the other with the same runs trained together, as stacked parameters.

    PYTHONPATH=workflow/scripts python -m benchmarks.batched_heads [--runs 4] [--device cuda]

Runs of one backbone, decoder and seed see the same batches and the same dropout, so that runs with other losses could
share each step: one forward and backward pass of `torch.vmap` over their parameters, and one step of AdamW. Alone, each
run does the steps of `terralucas.training.frozen_loop`. Both start from the same weights; printed are the ratio of the
times (median of the rounds), and the largest difference of a logit at the end.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state

from terralucas.backbones.feature_kinds import kind_of_features
from terralucas.training.decoders import DecoderModel
from terralucas.training.losses import Loss, build_loss

IDENTITY = {"pooling": "mean", "hidden": None, "dropout": 0.1}
MLP = {"pooling": "tokens", "hidden": "embedding", "dropout": 0.1}
CASES = (
    ("tiny", 192, "identity", IDENTITY),
    ("tiny", 192, "mlp", MLP),
    ("base", 768, "identity", IDENTITY),
    ("base", 768, "mlp", MLP),
)
N_CHIPS, N_CLASSES, BATCH = 1356, 10, 8
RATE, DECAY = 1e-4, 0.05


def losses_of(runs: int, device: torch.device) -> list[Loss]:
    """Return cross-entropies and focal losses, all with class weights."""
    weights = np.linspace(0.3, 10, N_CLASSES)
    settings = [
        {"type": "ce", "reduction": "weighted_mean"},
        {"type": "focal", "gamma": 2.0, "reduction": "weighted_mean"},
        {"type": "ce", "reduction": "mean"},
        {"type": "focal", "gamma": 1.0, "reduction": "mean"},
    ]
    return [build_loss(settings[run % len(settings)], weights, device) for run in range(runs)]


def train_alone(model: DecoderModel, loss: Loss, features: Tensor, labels: Tensor, order: Tensor) -> None:
    """Train one run for an epoch."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    torch.manual_seed(0)
    model.train()
    for rows in order.split(BATCH):
        value = loss(model(features[rows]), labels[rows])
        optimiser.zero_grad()
        value.backward()
        optimiser.step()


def train_together(
    model: DecoderModel,
    state: dict[str, Tensor],
    losses: Sequence[Loss],
    features: Tensor,
    labels: Tensor,
    order: Tensor,
) -> None:
    """Train all runs for an epoch; `state` has their stacked parameters."""
    optimiser = torch.optim.AdamW(list(state.values()), lr=RATE, weight_decay=DECAY, fused=True)
    torch.manual_seed(0)
    model.train()
    for rows in order.split(BATCH):
        x, y = features[rows], labels[rows]
        logits = torch.vmap(lambda own, x=x: functional_call(model, own, (x,)), randomness="same")(state)
        # The gradient of a sum is that of each term, because no parameter is shared.
        total = torch.stack([loss(logits[run], y) for run, loss in enumerate(losses)]).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()


def measure(width: int, tokens: int, decoder: dict[str, object], runs: int, device: torch.device, rounds: int) -> str:
    """Measure one case; return its figures as text."""
    random = np.random.default_rng(0)
    shape = (N_CHIPS, tokens, width) if kind_of_features(decoder) == "tokens" else (N_CHIPS, width)
    features = torch.from_numpy(random.normal(size=shape).astype(np.float32)).to(device)
    labels = torch.from_numpy(random.integers(0, N_CLASSES, N_CHIPS)).to(device)
    order = torch.from_numpy(random.permutation(N_CHIPS)).to(device)
    losses = losses_of(runs, device)
    torch.manual_seed(1)
    start = DecoderModel(decoder, width, N_CLASSES).to(device)
    ratios, alone, together = [], [], []
    for _ in range(rounds):
        models = [copy.deepcopy(start) for _ in losses]
        state, _ = stack_module_state(models)
        stacked = {name: value.detach().clone().requires_grad_() for name, value in state.items()}
        started = time.perf_counter()
        for model, loss in zip(models, losses, strict=True):
            train_alone(model, loss, features, labels, order)
        alone.append(seconds_since(started, device))
        skeleton, started = copy.deepcopy(start), time.perf_counter()
        train_together(skeleton, stacked, losses, features, labels, order)
        together.append(seconds_since(started, device))
        ratios.append(alone[-1] / together[-1])
    difference = 0.0
    with torch.inference_mode():
        for run, model in enumerate(models):
            own = {name: value[run] for name, value in stacked.items()}
            gap = model.eval()(features) - functional_call(skeleton.eval(), own, (features,))
            difference = max(difference, float(gap.abs().max()))
    return (
        f"{statistics.median(alone):8.2f}{statistics.median(together):10.2f}{statistics.median(ratios):8.2f}"
        f"{difference:12.1e}"
    )


def seconds_since(started: float, device: torch.device) -> float:
    """Return the seconds since a time of `time.perf_counter`, after all work on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{given.runs} runs, {N_CHIPS} chips, batches of {BATCH}, {given.device}; seconds an epoch of all runs")
    print(f"{'case':<16}{'alone':>8}{'together':>10}{'ratio':>8}{'difference':>12}")
    for backbone, width, name, decoder in CASES:
        figures = measure(width, given.tokens, decoder, given.runs, torch.device(given.device), given.rounds)
        print(f"{backbone + ' ' + name:<16}{figures}", flush=True)


if __name__ == "__main__":
    main()
