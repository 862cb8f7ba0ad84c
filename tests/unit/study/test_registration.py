"""What a study says beforehand, and how changes of it show."""

import json

import yaml

from helpers.paths import ROOT
from terralucas.report.context import changes
from terralucas.study.registration import plan_of, read_registrations, register
from terralucas.study.validation import resolve

PLAN = {
    "contrasts": [{"factor": "loss", "a": "focal", "b": "ce"}],
    "margins": {"macro_accuracy": 0.02},
    "metrics": ["m"],
}


def test_the_same_plan_is_recorded_once_whatever_the_order_of_its_keys(tmp_path):
    path = tmp_path / "registration.json"
    assert read_registrations(path) == []
    register(path, PLAN, 0)
    before = path.read_bytes()
    register(path, dict(reversed(PLAN.items())), 7)
    assert path.read_bytes() == before
    assert changes(read_registrations(path)) == []


def test_a_change_after_results_is_told_and_one_before_is_not(tmp_path):
    path = tmp_path / "registration.json"
    register(path, PLAN, 0)
    register(path, PLAN | {"metrics": ["n"]}, 0)
    register(path, PLAN | {"margins": {"macro_accuracy": 0.1}, "contrasts": []}, 37)
    entries = json.loads(path.read_text())
    assert len({entry["sha256"] for entry in entries}) == 3
    (sentence,) = changes(entries)
    assert "when 37 runs had results, contrasts, margins and metrics changed" in sentence


def test_claims_are_part_of_the_plan_and_a_plan_without_them_is_what_it_was(tmp_path):
    config = resolve(yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8")))
    with_claims = plan_of(config)
    assert [claim["name"] for claim in with_claims["claims"]][:2] == ["C1", "C1, as run"]
    config["report"]["claims"] = []
    assert "claims" not in plan_of(config)
    register(tmp_path / "r.json", with_claims, 0)
    register(tmp_path / "r.json", plan_of(config), 4)
    assert "when 4 runs had results, claims changed" in changes(read_registrations(tmp_path / "r.json"))[0]


def test_a_plan_first_recorded_after_results_is_told(tmp_path):
    register(tmp_path / "r.json", PLAN, 1)
    assert "first recorded" in changes(read_registrations(tmp_path / "r.json"))[0]
    assert "1 run had results" in changes(read_registrations(tmp_path / "r.json"))[0]


def test_a_number_written_in_another_way_is_no_change(tmp_path):
    path = tmp_path / "registration.json"
    register(path, PLAN | {"split": {"block_km": 50}}, 0)
    before = path.read_bytes()
    register(path, PLAN | {"split": {"block_km": 50.0}}, 80)
    assert path.read_bytes() == before
    entries = [{"finished_runs": n, "registered_at": "t", "plan": {"block_km": km}} for n, km in ((0, 50), (80, 50.0))]
    assert changes(entries) == [], "as versions before recorded it"
