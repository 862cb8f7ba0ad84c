"""The configuration of the smallest study that runs through the whole workflow."""

# Two folds need four chips of the rarest class, which LUCAS's shares give from 400 chips on.
TINY = {
    "study": "small",
    "dataset": {
        "name": "simulated",
        "sources": [{"type": "simulated", "chips": 400, "size_px": 32, "seed": 1}],
        "classes": [{"code": code, "name": f"Class {code}"} for code in range(1, 11)],
        "bands": ["RED", "GREEN", "BLUE", "NIR_BROAD", "SWIR_1", "SWIR_2"],
        "pixel_size_m": 30,
    },
    "split": {"folds": 2},
    "backbones": {"tiny": {"model": "terramind_v1_tiny", "weights": {"source": "random"}}},
    "losses": {
        "weighted_ce": {"type": "ce", "class_weights": "balanced"},
        "weighted_focal": {"type": "focal", "class_weights": "balanced"},
    },
    "decoders": {"identity": {"pooling": "mean"}, "mlp": {"pooling": "tokens", "hidden": "embedding"}},
    "grid": {"backbones": ["tiny"], "losses": ["weighted_ce"], "decoders": ["identity"], "seeds": [0, 1]},
    "training": {"epochs": 3, "learning_rate": 0.001},
    # Tests of controls ask for them; the others need not wait.
    "report": {
        "controls": False,
        "contrasts": [{"factor": "loss", "a": "weighted_focal", "b": "weighted_ce"}],
        "claims": [
            {
                "name": "C1",
                "says": "MLP wins.",
                "metric": "micro_accuracy",
                "relation": "higher",
                "contrast": {"factor": "decoder", "a": "mlp", "b": "identity"},
            },
        ],
        "beside": ["absent"],
    },
}
