"""The selected models of a finished study, exported, and used without this project."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from helpers.paths import ROOT
from helpers.project import results
from terralucas.data.chips.chip_files import read_chip
from terralucas.errors import StudyError
from terralucas.export import export
from terralucas.export.model_card import StudyTables
from terralucas.predict.conformal import softmax
from terralucas.predict.ensemble import Ensemble
from terralucas.predict.selected import load_selected

pytestmark = pytest.mark.workflow

CONFIG = ("--cores", 2, "--configfile", "config/small.yaml")
TABLES = ("summary", "per_class", "classes")


@pytest.fixture(scope="module")
def exported(study):
    """The folder of the exported files."""
    output = study.snakemake(*CONFIG, "--", "export").output
    assert "exported 2 models to results/small/exported" in output
    assert study.planned(*CONFIG, "--", "export") == {}, "nothing has changed"
    return results(study) / "exported"


@pytest.fixture(scope="module")
def chips(study):
    """Seven chips of the study, the first with missing pixels."""
    selected = load_selected(results(study))
    files = sorted((study.folder / "resources").rglob("*.tif"))[:7]
    values = np.stack([read_chip(file, selected.spec) for file in files])
    values[0, :, :4, :4] = np.nan
    return values


@pytest.fixture(scope="module")
def expected(study, chips):
    """Logits (J, n, K) of the selected models."""
    return Ensemble(load_selected(results(study)).models, torch.device("cpu")).predict(chips)[0]


@pytest.mark.parametrize("name", ["models/seed-0/config.json", "export.json"])
def test_an_export_of_which_a_file_is_gone_is_made_again(study, exported, tmp_path, name):
    """Snakemake knows the folder alone. What is deleted here is put back, because to make it takes long."""
    (exported / name).rename(tmp_path / "moved")
    try:
        done = study.snakemake("-n", *CONFIG, "--", "export").output
        assert f"results/small/exported ({name})" in done
        assert study.planned(*CONFIG, "--", "export") == {"export_models": 1, "export": 1}
        assert study.planned(*CONFIG) == {}, "nobody asks for it"
    finally:
        (tmp_path / "moved").rename(exported / name)
    assert study.planned(*CONFIG, "--", "export") == {}


def documented_examples():
    section = (ROOT / "docs" / "using-the-winner.md").read_text(encoding="utf-8").partition("\n## Export\n")[2]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def test_the_documented_code_uses_each_format_without_this_project(exported, chips, expected, tmp_path):
    onnx, torch_export, terratorch = documented_examples()
    filled = chips.copy()
    fill = json.loads((exported / "models" / "seed-0" / "config.json").read_text())["fill"]
    filled[0, :, :4, :4] = np.array(fill)[:, None, None]
    np.savez(tmp_path / "chips.npz", raw=chips, filled=filled)
    code = f"""
import numpy as np
given = np.load({str(tmp_path / "chips.npz")!r})
chips = given["raw"]
{onnx}
onnx = logits, probabilities
{torch_export}
torch_export = logits, probabilities
chips = given["filled"]
{terratorch}
np.savez({str(tmp_path / "found.npz")!r}, onnx=onnx[0], onnx_probabilities=onnx[1], pt2=torch_export[0],
         pt2_probabilities=torch_export[1], terratorch=logits.numpy(force=True))
import importlib.util
assert importlib.util.find_spec("terralucas") is None
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=exported, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    for name in ("onnx", "pt2"):
        np.testing.assert_allclose(np.moveaxis(found[name], 1, 0), expected, atol=1e-4)
        np.testing.assert_allclose(found[f"{name}_probabilities"], softmax(expected).mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(found["terratorch"], expected[0], atol=1e-4)


def test_the_model_card_shows_the_documented_code(exported):
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"```python\n(.*?)```", card, re.DOTALL) == documented_examples()


def test_the_record_has_differences_versions_and_checksums(exported):
    record = json.loads((exported / "export.json").read_text(encoding="utf-8"))
    assert record["largest_difference"].keys() == {"model.safetensors", "terratorch.yaml", "model.pt2", "model.onnx"}
    assert max(record["largest_difference"].values()) <= 1e-4
    assert record["not_exported"] == {}
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    files = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert set(record["files"]) == files - {"export.json", ".snakemake_timestamp"}
    for name, entry in record["files"].items():
        content = (exported / name).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (entry["sha256"], entry["bytes"]), name
    # Two models, one frozen encoder: its weights are in a graph once.
    encoder = sum(4 * value.numel() for value in load_file(exported / "encoder.safetensors").values())
    assert all(record["files"][name]["bytes"] < 1.2 * encoder for name in ("model.onnx", "model.pt2"))


def test_the_model_card_has_the_studys_figures_and_says_what_they_are_of(exported, study):
    card = ModelCard.load(exported / "README.md")
    tables = results(study) / "tables"
    summary = pd.read_csv(tables / "summary.csv").set_index("metric").loc["macro_accuracy"]
    (quoted,) = [result for result in card.data.eval_results if result.metric_type == "macro_accuracy"]
    assert quoted.metric_value == pytest.approx(summary["pooled"], abs=1e-6)
    assert card.data.license == "apache-2.0"
    value, low, high = (f"{100 * summary[name]:.1f}" for name in ("pooled", "crossed_low", "crossed_high"))
    assert f"| Macro accuracy | {value}\u00a0% | [{low}, {high}] (new seeds and new chips) |" in card.text
    recalls = pd.read_csv(tables / "per_class.csv").query("metric == 'recall'")
    assert len(recalls) == 10
    for row in recalls.itertuples():
        recall, low, high = (f"{100 * number:.1f}" for number in (row.pooled, row.wilson_low, row.wilson_high))
        assert f"| {row.class_name} | {recall} [{low}, {high}] |" in card.text
    assert "**The backbone has random weights.**" in card.text
    assert "**The chips are simulated.**" in card.text
    assert "LUCAS point in the centre" in card.text
    assert "photo-interpreted points" in card.text


def test_the_stac_item_and_terratorchs_configuration_are_of_this_model(exported, study):
    item = json.loads((exported / "stac_item.json").read_text(encoding="utf-8"))
    west, south, east, north = item["bbox"]
    assert 6 < west < east < 19
    assert 36 < south < north < 48, "Italy"
    bands = yaml.safe_load((results(study) / "selected" / "selection.yaml").read_text())["dataset"]["bands"]
    assert item["properties"]["mlm:input"][0]["bands"] == bands
    arguments = yaml.safe_load((exported / "terratorch.yaml").read_text())["model"]["init_args"]["model_args"]
    assert arguments["backbone_bands"] == {"S2L2A": bands}
    assert Path(item["assets"]["onnx"]["href"]).name == "model.onnx"


def test_an_export_that_predicts_something_else_is_not_written(study, exported, chips, tmp_path, monkeypatch):
    """Also where an earlier export is there: it is kept."""
    write = export.write_weights

    def write_others(ensemble, *arguments):
        ensemble.runs[1].model.head.head[2].bias += 0.001
        write(ensemble, *arguments)

    monkeypatch.setattr(export, "write_weights", write_others)
    target = tmp_path / "exported"
    target.mkdir()
    (target / "earlier").touch()
    tables = StudyTables(*(pd.read_csv(results(study) / "tables" / f"{name}.csv") for name in TABLES))
    with pytest.raises(StudyError, match="does not predict what the selected models predict"):
        export.export_models(load_selected(results(study)), tables, chips, np.empty((0, 2)), 1, target, has_tags=False)
    assert [path.name for path in tmp_path.rglob("*")] == ["exported", "earlier"]
