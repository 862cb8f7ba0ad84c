"""Simulated predictions, shared by the tests of what scores mean."""

import itertools

import numpy as np

from terralucas.statistics.run_predictions import Part, RunPredictions

COUNTS = (60, 25, 10, 5)
PRIOR = np.array(COUNTS) / sum(COUNTS)


def part(random, chips, labels, skill=1.5, sharpness=1.0):
    """Logits that know the label by `skill`, lean to common classes as an unweighted loss does, and are as sure as
    `sharpness` says."""
    logits = random.normal(size=(len(labels), len(PRIOR))) + np.log(PRIOR)
    logits[np.arange(len(labels)), labels] += skill
    return Part(chips, labels, (sharpness * logits).astype(np.float32))


def study(losses=("ce", "focal"), decoders=("identity",), backbones=("tiny",), seeds=(0, 1, 2), **options):
    """Runs of a k-fold study: seed s tests fold s, and validates on half of the fold after it."""
    labels = np.repeat(np.arange(len(COUNTS)), COUNTS)
    fold = np.arange(len(labels)) % len(seeds)
    runs = []
    for number, (backbone, loss, decoder) in enumerate(itertools.product(backbones, losses, decoders)):
        for place, seed in enumerate(seeds):
            random = np.random.default_rng([number, seed])
            test = np.flatnonzero(fold == place)
            validation = np.flatnonzero(fold == (place + 1) % len(seeds))[::2]
            names = {"backbone": backbone, "loss": loss, "decoder": decoder, "seed": seed}
            parts = [part(random, chips, labels[chips], **options) for chips in (test, validation)]
            runs.append(RunPredictions(names, *parts))
    return runs
