"""Exported files are used in a process without this project, and refused where they predict something else."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from terralucas.errors import StudyError
from terralucas.export import examples
from terralucas.export.graph import ChipFormat
from terralucas.export.parity import Reference, check_graph_file, check_weights, run_example
from terralucas.export.terratorch_model import TerraTorchModel, describe_for_terratorch
from terralucas.export.weights import write_weights

pytestmark = pytest.mark.slow
DN = ChipFormat(10_000.0, -9999.0)


@pytest.fixture(scope="module")
def reference(shallow):
    return Reference.of(shallow.ensemble, shallow.chips, DN.scale)


def test_onnx_runs_without_torch_and_without_this_project_for_any_number_of_chips(shallow, graph_files, tmp_path):
    """Written anew here, so that a mistake in the check of the rule is found."""
    script = """
import sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
chips = np.load(sys.argv[1])
for n in (1, 2, 7):
    logits, probabilities = session.run(["logits", "probabilities"], {"chips": chips[:n]})
    np.savez(f"{sys.argv[2]}/{n}.npz", logits=logits, probabilities=probabilities)
assert not {"torch", "terralucas"} & set(sys.modules)
try:
    import terralucas
    raise SystemExit("this project can be imported")
except ImportError:
    pass
"""
    raw = (shallow.chips * 10_000).astype(np.float32)
    raw[2, 1, 4, 4] = -9999
    np.save(tmp_path / "chips.npy", raw)
    command = [sys.executable, "-I", "-c", script, str(tmp_path / "chips.npy"), str(tmp_path)]
    subprocess.run(command, cwd=graph_files, check=True)
    chips = shallow.chips.copy()
    chips[2, 1, 4, 4] = np.nan
    for number in (1, 2, 7):
        expected = torch.from_numpy(shallow.ensemble.predict(chips[:number])[0])
        found = np.load(tmp_path / f"{number}.npz")
        np.testing.assert_allclose(found["logits"].transpose(1, 0, 2), expected, atol=1e-4)
        np.testing.assert_allclose(found["probabilities"], expected.softmax(-1).mean(0), atol=1e-4)


def test_the_onnx_file_says_what_it_expects(graph_files):
    model = onnx.load(graph_files / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    (chips,) = model.graph.input
    shape = [part.dim_param or part.dim_value for part in chips.type.tensor_type.shape.dim]
    assert (chips.name, shape) == ("chips", ["batch", 6, 32, 32])
    assert [output.name for output in model.graph.output] == ["logits", "probabilities"]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["bands"])[0] == "RED"
    assert metadata["unit"] == "dn"


def test_the_onnx_file_agrees_with_the_models(graph_files, reference):
    assert 0 <= check_graph_file(graph_files, "model.onnx", reference) <= 1e-5


def test_the_file_of_torch_export_takes_any_number_of_chips(graph_files, reference):
    model = torch.export.load(graph_files / "model.pt2").module()
    for number in (1, 2, 7):
        logits, _ = model(torch.from_numpy(reference.chips[:number]))
        assert reference.difference(logits.transpose(0, 1).numpy()) <= 1e-5


def test_a_graph_with_other_weights_is_refused(graph_files, reference, tmp_path):
    model = onnx.load(graph_files / "model.onnx")
    (bias, *_) = [value for value in model.graph.initializer if value.dims == [3]]
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.001), bias.name))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(StudyError, match=r"model\.onnx does not predict what the selected models predict"):
        check_graph_file(tmp_path, "model.onnx", reference)


def test_a_file_that_cannot_be_loaded_is_refused(tmp_path, reference):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(StudyError, match="cannot be used in a new process"):
        check_graph_file(tmp_path, "model.onnx", reference)


def test_an_example_runs_without_this_project(tmp_path):
    example = "import importlib.util\nlogits = probabilities = chips * (importlib.util.find_spec('terralucas') is None)"
    results = run_example(example, tmp_path, {"one": np.ones(3)})
    assert results["logits_one"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("kind", ["frozen", "lora"])
def test_weights_build_the_models_here_and_in_terratorch(kind, request, tmp_path):
    models = request.getfixturevalue(kind)
    given = Reference.of(models.ensemble, models.chips, DN.scale)
    write_weights(models.ensemble, models.names, DN, {"unit": "dn"}, tmp_path)
    equal = describe_for_terratorch(models.ensemble.runs[0], 32)
    differences = check_weights(tmp_path, models.names, models.ensemble, equal, given)
    assert differences.keys() == {"model.safetensors", "terratorch.yaml"}
    assert max(differences.values()) <= 1e-5
    one = tmp_path / "models" / "seed-1"
    assert json.loads((one / "config.json").read_text())["unit"] == "dn"
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.safetensors")}
    if kind == "frozen":
        assert files == {"encoder.safetensors", "models/seed-0/model.safetensors", "models/seed-1/model.safetensors"}
        assert not any(name.startswith("encoder.") for name in load_file(one / "model.safetensors"))
    else:
        assert not (tmp_path / "encoder.safetensors").exists()
        adapters = load_file(one / "adapters.safetensors")
        assert all(name.endswith(("lora_A.weight", "lora_B.weight")) for name in adapters)
        assert max(float(value.abs().max()) for name, value in adapters.items() if "lora_B" in name) > 0


def test_the_example_of_terratorch_predicts_with_the_model_that_it_names(frozen, tmp_path, monkeypatch):
    write_weights(frozen.ensemble, ["seed-5", "all-chips"], ChipFormat(1.0, None), {}, tmp_path)
    configuration = describe_for_terratorch(frozen.ensemble.runs[0], 32).configuration
    (tmp_path / "terratorch.yaml").write_text(yaml.safe_dump({"model": configuration}))
    monkeypatch.chdir(tmp_path)
    chips = np.nan_to_num(frozen.chips, nan=0.1)
    expected = frozen.ensemble.predict(chips)[0]
    for member, name in enumerate(["seed-5", "all-chips"]):
        found = {"chips": chips}
        exec(examples.terratorch(f"models/{name}"), found)
        np.testing.assert_allclose(found["logits"].numpy(force=True), expected[member], atol=1e-4)


def test_weights_of_another_model_are_refused(frozen, tmp_path):
    reference = Reference.of(frozen.ensemble, frozen.chips, DN.scale)
    write_weights(frozen.ensemble, frozen.names, DN, {}, tmp_path)
    file = tmp_path / "models" / "seed-1" / "model.safetensors"
    good, none = load_file(file), TerraTorchModel(None, "not tried")

    def refused(words, tensors):
        save_file(tensors, file)
        with pytest.raises(StudyError, match=words):
            check_weights(tmp_path, frozen.names, frozen.ensemble, none, reference)

    refused("does not predict what the selected", good | {"head.head.2.bias": good["head.head.2.bias"] + 0.001})
    refused(
        r"missing head\.head\.2\.bias", {name: value for name, value in good.items() if not name.endswith("2.bias")}
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pooling": "attention"}, "pooling attention"),
        ({"pooling": "center", "window": 2}, "pooling center"),
        ({"layers": [3, 12]}, "several layers"),
        ({"hidden": 7}, "and not 7"),
        ({"pooling": "mean"}, "and not on their mean"),
    ],
)
def test_it_says_which_decoders_terratorch_does_not_have(frozen, monkeypatch, changes, words):
    run = frozen.ensemble.runs[0]
    monkeypatch.setattr(run.model, "setting", run.model.setting | changes)
    described = describe_for_terratorch(run, 32)
    assert described.configuration is None
    assert words in described.reason


def test_chips_that_terratorch_would_enlarge_have_no_equal_model_there(frozen):
    run = frozen.ensemble.runs[0]
    for side in (32, 64, 224):
        assert describe_for_terratorch(run, side).configuration is not None
    for side in (48, 80, 112):
        described = describe_for_terratorch(run, side)
        assert described.configuration is None
        assert f"enlarges chips of {side} px to a multiple of 32 px" in described.reason
