"""Training on stored features against TerraTorch's own pipeline, from the chips' files to the logits."""

import pytest
import torch

from helpers.real_chips import FOLDER, needs_real_chips
from terralucas.backbones.encoder import build_backbone

REAL_BANDS = ("BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2")
# Imbalanced, and no number of training chips is a multiple of the batch size.
MANY, FEW = {1: 14, 2: 4, 4: 20, 5: 8, 9: 2}, {1: 13, 4: 9, 9: 3}
TINY, BASE = "terramind_v1_tiny", "terramind_v1_base"
TOLERANCE = 1e-4


class Laboratory:
    """Chips, a backbone with random weights and its features, made once for all recipes."""

    def __init__(self, paths, chips, model, folder):
        self.paths, self.chips, self.model, self.folder = paths, chips, model, folder
        self.backbone = build_backbone(model, chips.spec.bands, {"source": "random", "seed": 3})
        self.features = {
            decoder: paths.store_features(self.backbone, chips, kind, folder / f"{kind}.npy")
            for decoder, kind in (("identity", "pooled"), ("mlp", "tokens"))
        }

    def training(self, decoder, loss, epochs):
        return self.paths.Training(self.model, decoder, loss, 2, self.paths.original_options(epochs))

    def stock(self, training):
        return self.paths.train_stock(training, self.chips, self.backbone.encoder.state_dict())

    def stored(self, training, dropout=None):
        return self.paths.train_stored(training, self.chips, self.features[training.decoder], dropout)

    def untrained(self, training):
        model = training.initial(self.backbone.embedding, len(self.chips.spec.classes)).eval()
        with torch.inference_mode():
            return model(self.features[training.decoder][self.chips.validation])


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory):
    # Importing TerraTorch takes seconds, which only those pay who run these tests.
    from benchmarks import both_paths

    made = {}

    def get(model, source="simulated"):
        if (model, source) not in made:
            folder = tmp_path_factory.mktemp("chips")
            if source == "real":
                chips = both_paths.read_chips(FOLDER, REAL_BANDS, "dn")
            else:
                chips = both_paths.simulated_chips(folder / "chips", MANY if model == TINY else FEW, 64)
            made[model, source] = Laboratory(both_paths, chips, model, folder)
        return made[model, source]

    return get


def largest_difference(a, b):
    return float((a - b).abs().max())


def assert_same_training(lab, training):
    stock, stored = lab.stock(training), lab.stored(training)
    assert stored.parameters.keys() == stock.parameters.keys()
    # A few weights may part: AdamW makes a whole step of a vanishing gradient, whatever its sign after rounding.
    apart = torch.cat([(stored.parameters[name] - value).abs().flatten() for name, value in stock.parameters.items()])
    assert float(apart.quantile(0.99)) <= TOLERANCE / 100
    assert largest_difference(stored.logits, stock.logits) <= TOLERANCE
    assert stored.train_loss == pytest.approx(stock.train_loss, abs=TOLERANCE)
    assert stored.macro_accuracy == pytest.approx(stock.macro_accuracy, abs=1e-6)
    # Equality says something only where training, and dropout at its rate, moved the logits by far more.
    assert largest_difference(stock.logits, lab.untrained(training)) > 100 * TOLERANCE
    for rate in (0.0, 0.2):
        assert largest_difference(stock.logits, lab.stored(training, dropout=rate).logits) > 10 * TOLERANCE


@pytest.mark.parametrize("decoder", ["identity", "mlp"])
@pytest.mark.parametrize(("model", "epochs"), [(TINY, 4), (BASE, 2)], ids=["tiny", "base"])
def test_stored_features_train_as_terratorch_does_from_files(laboratory, model, epochs, decoder):
    lab = laboratory(model)
    assert_same_training(lab, lab.training(decoder, "weighted_ce", epochs))


def test_terratorchs_focal_loss_trains_as_its_task_does_which_drops_the_class_weights(laboratory):
    lab = laboratory(TINY)
    assert_same_training(lab, lab.training("identity", "terratorch_focal", 3))


@needs_real_chips
def test_real_chips_in_dn_train_alike(laboratory):
    lab = laboratory(TINY, "real")
    assert_same_training(lab, lab.training("identity", "weighted_ce", 2))
