"""The audit of treatments: what is the same under two names, and keys that change nothing."""

import copy

import numpy as np
import pyarrow as pa
import pytest
import yaml

from helpers.paths import ROOT
from terralucas.audit.losses_and_decoders import Probe, loss_or_decoder_treatments
from terralucas.audit.normalisations import normalisation_treatments
from terralucas.audit.treatments import audit
from terralucas.errors import StudyError
from terralucas.study.validation import resolve

# Chips of each class of LUCAS Italy; chips of 32 px have 2 × 2 tokens.
LUCAS = np.repeat(np.arange(10), [511, 178, 205, 704, 126, 57, 125, 43, 20, 25])
MODELS = ("terramind_v1_tiny", "terramind_v1_base")


def audited(section, written, name=None, labels=LUCAS, models=MODELS, side_px=32, epochs=10, losses=None):
    """Audit one of the named settings, or all of them, as the workflow does."""
    config = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text(encoding="utf-8"))
    for key, entries in ((section, written), ("losses", losses)):
        if entries is not None:
            config[key] = entries
            config["grid"][key] = list(entries)
    config["report"] = {}
    resolved = resolve(copy.deepcopy(config))
    settings, losses = resolved[section], tuple(resolved["losses"].values())
    probe = Probe(labels, int(labels.max()) + 1, side_px, models, epochs, losses)
    names = [name] if name is not None else settings
    return [audit(each, loss_or_decoder_treatments(section, each, settings, probe), written[each]) for each in names]


@pytest.mark.parametrize("study", ["config", "demo", "notebook"])
def test_the_shipped_studies_pass(study):
    config = yaml.safe_load((ROOT / "config" / f"{study}.yaml").read_text(encoding="utf-8"))
    for section in ("losses", "decoders"):
        found = audited(section, config[section])
        assert len(found) == len(config[section])


EVERY_LOSS = {
    "ce": {"type": "ce", "class_weights": "none"},
    "smooth": {"type": "ce", "label_smoothing": 0.1},
    "weighted": {"type": "ce", "class_weights": "balanced", "reduction": "weighted_mean", "label_smoothing": 0.0},
    "mean": {"type": "ce", "class_weights": "balanced", "reduction": "mean"},
    "soft": {"type": "ce", "class_weights": "sqrt_balanced"},
    "effective": {"type": "ce", "class_weights": "effective_number", "beta": 0.999},
    "focal": {"type": "focal", "gamma": 2.0},
    "weighted_focal": {"type": "focal", "gamma": 2.0, "class_weights": "balanced", "reduction": "mean"},
    "adjusted": {"type": "logit_adjusted", "tau": 0.5},
    "balanced_softmax": {"type": "balanced_softmax"},
    "ldam": {"type": "ldam", "max_margin": 0.5, "scale": 30},
    "ldam_drw": {"type": "ldam", "class_weights": "effective_number", "beta": 0.9999, "drw_epoch": 8},
    "terratorch_focal": {"type": "terratorch_focal"},
}  # fmt: skip
EVERY_DECODER = {
    "identity": {"pooling": "mean", "hidden": None, "dropout": 0.1, "layers": None},
    "plain": {"pooling": "mean", "dropout": 0.0},
    "wide": {"pooling": "mean", "hidden": 512},
    "mlp": {"pooling": "tokens", "hidden": "embedding", "dropout": 0.1},
    "point": {"pooling": "center", "window": 1},
    "near": {"pooling": "center", "window": 2, "dropout": 0.2},
    "attention": {"pooling": "attention", "hidden": 64},
    "layers": {"pooling": "mean", "layers": [6, 12]},
    "one_layer": {"pooling": "mean", "layers": [6]},
}


@pytest.mark.slow
def test_every_kind_of_loss_and_decoder_with_all_its_keys_passes():
    tiny = {"models": MODELS[:1], "side_px": 64}
    found = audited("losses", EVERY_LOSS, "ldam_drw")
    assert found == [
        {
            "differs_from": [name for name in EVERY_LOSS if name != "ldam_drw"],
            "keys_with_effect": ["class_weights", "beta", "drw_epoch"],
        }
    ]
    audited("losses", EVERY_LOSS, **tiny)
    audited("decoders", EVERY_DECODER, **tiny)


def test_the_notebooks_differently_weighted_focal_losses_are_caught():
    """Its runs 3 and 4 gave TerraTorch's focal loss balanced and softened weights, which TerraTorch drops."""
    written = {
        "weighted_focal": {"type": "terratorch_focal", "class_weights": "balanced"},
        "softly_weighted_focal": {"type": "terratorch_focal", "class_weights": "sqrt_balanced"},
    }
    for name in written:
        with pytest.raises(StudyError) as raised:
            audited("losses", written, name)
        assert f"losses.{name}.class_weights" in str(raised.value)
        assert "has no effect" in str(raised.value)
        (other,) = set(written) - {name}
        assert f"the same effect as losses.{other}" in str(raised.value)


@pytest.mark.parametrize(
    ("section", "written", "said"),
    [
        ("losses", {"a": {"type": "ce", "reduction": "mean"}}, "losses.a.reduction is mean and has no effect"),
        ("losses", {"a": {"type": "ldam", "drw_epoch": 5}}, "losses.a.drw_epoch is 5 and has no effect"),
        (
            "losses",
            {"a": {"type": "ldam", "class_weights": "balanced", "drw_epoch": 11}},
            "losses.a.class_weights is balanced and has no effect",
        ),
        (
            "losses",
            {"a": {"type": "logit_adjusted", "tau": 1.0}, "b": {"type": "balanced_softmax"}},
            "the same effect as losses.b",
        ),
        ("losses", {"a": {"type": "ce", "label_smoothing": 0.0}, "b": {"type": "ce", "reduction": "mean"}}, "losses.b"),
        (
            "decoders",
            {"a": {"pooling": "mean", "layers": [12]}, "b": {"pooling": "mean"}},
            "the same effect as decoders.b",
        ),
        (
            "decoders",
            {"a": {"pooling": "center", "window": 2}, "b": {"pooling": "mean"}},
            "the same effect as decoders.b",
        ),
        (
            "decoders",
            {"a": {"pooling": "tokens", "dropout": 0.0}, "b": {"pooling": "mean", "dropout": 0.0}},
            "the same effect as decoders.b",
        ),
        ("decoders", {"a": {"pooling": "center", "window": 3}}, "chips of 2 × 2 tokens"),
    ],
    ids=[
        "reduction without weights", "deferring no weights", "weights deferred beyond the last epoch",
        "balanced softmax is logit adjustment", "unweighted reductions", "the last layer by number",
        "a window as large as the grid", "a linear head on tokens or on their mean", "a window larger than the grid",
    ],
)  # fmt: skip
def test_what_is_caught(section, written, said):
    with pytest.raises(StudyError) as raised:
        audited(section, written, "a")
    assert said in str(raised.value)


def test_class_weights_of_classes_of_one_size_change_nothing():
    found = r"losses\.a\.class_weights is balanced and has no effect.* because every class has the same number of chips"
    with pytest.raises(StudyError, match=found):
        audited("losses", {"a": {"type": "ce", "class_weights": "balanced"}}, labels=np.arange(100) % 10)


def test_margins_whose_weights_set_in_at_other_epochs_differ():
    ldam = {"type": "ldam", "class_weights": "effective_number", "beta": 0.9999}
    written = {name: ldam | {"drw_epoch": epoch} for name, epoch in (("early", 60), ("late", 80), ("soon", 2))}
    audited("losses", written, epochs=100)
    with pytest.raises(StudyError, match=r"the same effect as losses\.late"):
        audited("losses", {"never": ldam | {"drw_epoch": 101}, "late": ldam | {"drw_epoch": 102}}, "never", epochs=100)


def test_decoders_are_tried_with_the_heads_of_the_studys_losses():
    written = {"a": {"pooling": "tokens", "dropout": 0.0}, "b": {"pooling": "mean", "dropout": 0.0}}
    # A normalised head takes each token's length away before it averages.
    audited("decoders", written, losses={"ldam": {"type": "ldam"}})
    audited("decoders", written, losses={"ldam": {"type": "ldam"}, "ce": {"type": "ce"}})


def test_keys_that_are_switched_off_are_not_asked_to_do_anything():
    off = {"class_weights": "none", "label_smoothing": 0.0}
    (found,) = audited("losses", {"a": {"type": "ce"} | off}, labels=np.arange(100) % 10)
    assert found["keys_with_effect"] == []


def test_a_width_is_another_treatment_on_a_wider_backbone_alone():
    written = {"a": {"pooling": "mean", "hidden": 192}, "b": {"pooling": "mean", "hidden": "embedding"}}
    audited("decoders", written)
    with pytest.raises(StudyError, match=r"the same effect as decoders\.b"):
        audited("decoders", written, "a", models=("terramind_v1_tiny",))


def moments(mean, spread):
    """An index of chips of one band, with these means and one spread of pixels."""
    pixels = 1024
    return pa.table({
        "valid_pixels": [[pixels]] * len(mean), "band_mean": [[value] for value in mean],
        "band_m2": [[pixels * spread**2]] * len(mean),
    })  # fmt: skip


def test_each_normalisation_gives_other_inputs():
    index = moments(np.linspace(0.1, 0.3, 40) ** 1.5, 0.05)
    for kind in ("dataset", "train", "pretraining"):
        found = audit(kind, normalisation_treatments(index, ["RED"]), [])
        assert sorted([kind, *found["differs_from"]]) == ["dataset", "pretraining", "train"]


@pytest.mark.parametrize("copies", [2, 4])
def test_neighbouring_chips_of_equal_statistics_are_no_equal_normalisations(copies):
    """As flipped copies of chips have, which lie beside each other in the order of their names."""
    index = moments(np.repeat(np.linspace(0.1, 0.3, 40) ** 1.5, copies), 0.05)
    assert sorted(audit("dataset", normalisation_treatments(index, ["RED"]), [])["differs_from"]) == [
        "pretraining", "train"
    ]  # fmt: skip


def test_a_normalisation_by_equal_statistics_is_caught():
    """Every chip is alike, so that those of all chips are those of the training chips."""
    index = moments(np.full(40, 0.2), 0.05)
    with pytest.raises(StudyError) as raised:
        audit("train", normalisation_treatments(index, ["RED"]), [])
    assert "The setting normalisation: train does not have the effect that the configuration describes" in str(
        raised.value
    )
    assert "it has the same effect as normalisation: dataset: the inputs of the backbone are equal" in str(raised.value)
    audit("pretraining", normalisation_treatments(index, ["RED"]), [])
