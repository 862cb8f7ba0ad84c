"""The audit of tunings and their options, on TerraTorch's real encoder cut to its first blocks."""

import copy
from dataclasses import replace

import pytest
import yaml

from helpers.paths import ROOT
from terralucas.audit import tunings as audit_tuning
from terralucas.audit.treatments import audit
from terralucas.audit.tunings import tuning_treatments
from terralucas.errors import StudyError
from terralucas.study.schema import load_schema
from terralucas.study.settings import written_options
from terralucas.study.validation import resolve
from terralucas.training import tuned_loop

pytestmark = pytest.mark.slow

EVERY_OPTION = {
    "backbone_learning_rate": 0.00001, "warmup_epochs": 2, "schedule": "cosine", "clip_norm": 1.0, "accumulate": 2,
    "early_stopping_patience": 4, "ema_decay": 0.99, "augmentation": {"flips_and_rotations": True, "brightness": 0.05},
}  # fmt: skip
LORA = {"rank": 4, "alpha": 8, "dropout": 0.1, "target_modules": ["qkv.q_linear", "mlp.fc1"]}
# None of these keys is to do anything, but for `accumulate`: another value of it would.
DEFAULTS = {
    "backbone_learning_rate": None, "warmup_epochs": 0, "schedule": "none", "clip_norm": None, "accumulate": 1,
    "early_stopping_patience": None, "ema_decay": None,
    "augmentation": {"flips_and_rotations": False, "brightness": 0.0},
}  # fmt: skip
NO_RESULT = ("workers", "compile", "lower_batch_on_oom")


def audited(tuning, options, tunings=("lora", "full"), **training):
    """Audit a tuning of the demo's chips with these options, as the workflow does."""
    config = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text(encoding="utf-8"))
    for entry, each in zip(config["backbones"].values(), tunings, strict=False):
        entry["tuning"] = each
    config["training"] |= {"end_to_end": options, **training}
    resolved = resolve(copy.deepcopy(config))
    treatments = tuning_treatments(tunings, resolved["training"], resolved["dataset"]["bands"])
    return audit(tuning, treatments, written_options(config, tuning))


def test_every_option_is_written_here():
    section = load_schema()["properties"]["training"]["properties"]["end_to_end"]["properties"]
    assert set(section) - set(EVERY_OPTION) == {"lora", *NO_RESULT}
    assert set(EVERY_OPTION) == set(DEFAULTS)
    for part, written in (("augmentation", EVERY_OPTION["augmentation"]), ("lora", LORA)):
        assert set(section[part]["properties"]) == set(written)


@pytest.mark.parametrize(
    ("tuning", "options", "training"),
    [
        ("full", EVERY_OPTION, {"epochs": 100}),
        ("lora", EVERY_OPTION | {"lora": LORA}, {"epochs": 100}),
        ("lora", DEFAULTS | {"lora": LORA | {"dropout": 0.0}}, {"epochs": 1000, "learning_rate": 0.000001}),
        ("full", {"accumulate": 64}, {"epochs": 1}),
        ("full", {"accumulate": 3, "augmentation": {"flips_and_rotations": True}}, {"epochs": 1}),
        ("full", {"workers": 0, "compile": False, "lower_batch_on_oom": True}, {"epochs": 2}),
    ],
    ids=[
        "full",
        "lora",
        "what is off, and small steps",
        "many batches in a step",
        "one epoch",
        "what is to change nothing",
    ],
)
def test_what_does_something_passes(tuning, options, training):
    found = audited(tuning, options, **training)
    assert found["differs_from"] == ["frozen", "full" if tuning == "lora" else "lora"]
    flat = {key: value for key, value in options.items() if key not in ("lora", "augmentation", *NO_RESULT)}
    for part in ("augmentation", "lora"):
        flat |= {f"{part}.{key}": value for key, value in options.get(part, {}).items()}
    asked = {f"end_to_end.{key}" for key, value in flat.items() if value not in (None, False, "none")}
    assert set(found["keys_with_effect"]) == asked


@pytest.mark.parametrize(
    ("tuning", "options", "said"),
    [
        (
            "full",
            {"clip_norm": 1e9},
            "clip_norm is 1000000000.0 and has no effect: with every other value, losses and logits stay the same",
        ),
        ("full", {"backbone_learning_rate": 1e-14}, "it has the same effect as training.tuning frozen"),
        ("lora", {"lora": {"alpha": 1e-9}}, "it has the same effect as training.tuning frozen"),
    ],
    ids=["a limit that no gradient reaches", "a backbone that does not move", "adapters that add nothing"],
)
def test_what_does_nothing_is_caught(tuning, options, said):
    with pytest.raises(StudyError) as raised:
        audited(tuning, options, tunings=(tuning,), epochs=10)
    assert f"The setting training.tuning {tuning} does not have the effect that the configuration describes" in str(
        raised.value
    )
    assert said in str(raised.value)


def test_options_that_the_code_drops_are_caught(monkeypatch):
    """What the audit is for: each of these would train, report and be believed."""
    original = tuned_loop.EndToEndOptions.of.__func__

    def forgetful(cls, settings):
        return replace(original(cls, settings), ema_decay=None, schedule="none")

    monkeypatch.setattr(tuned_loop.EndToEndOptions, "of", classmethod(forgetful))
    with pytest.raises(StudyError) as raised:
        audited("full", {"ema_decay": 0.99, "schedule": "cosine", "warmup_epochs": 1})
    for key, value in (("ema_decay", 0.99), ("schedule", "cosine")):
        assert f"training.end_to_end.{key} is {value} and has no effect" in str(raised.value)
    assert "warmup_epochs is" not in str(raised.value)


def test_nothing_is_told_of_a_tuning_that_diverges(caplog):
    found = audited("full", {"clip_norm": 1e9}, learning_rate=1.0, weight_decay=10.0, epochs=100)
    assert found == {"differs_from": [], "keys_with_effect": []}
    assert "cannot judge training.tuning full: it diverges" in caplog.text


def test_a_tuning_that_is_not_carried_out_is_caught(monkeypatch):
    monkeypatch.setattr(audit_tuning, "make_trainable", lambda model, tuning, lora: None)
    with pytest.raises(StudyError) as raised:
        audited("full", {})
    assert "the same effect as training.tuning frozen" in str(raised.value)
    assert "the same effect as training.tuning lora" in str(raised.value)
