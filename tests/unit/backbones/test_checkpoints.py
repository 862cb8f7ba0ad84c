"""What a checkpoint must contain to fill TerraTorch's encoder, and how others are refused."""

import argparse
import shlex
import subprocess
import sys

import numpy as np
import pytest
import torch

from terralucas.backbones.checkpoints import check_encoder, read_checkpoint
from terralucas.backbones.encoder import MODALITY, build_backbone
from terralucas.backbones.terratorch_parts import terramind_registry
from terralucas.errors import StudyError
from terralucas.files import sha256_of_file

pytestmark = pytest.mark.slow

QKV = "encoder.3.attn.qkv.weight"
OWN, HUB = {"source": "file"}, {"source": "huggingface"}


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(7)
    return terramind_registry().build("terramind_v1_tiny", modalities=[MODALITY], pretrained=False)


@pytest.fixture
def state(encoder):
    return {name: value.detach().clone() for name, value in encoder.named_parameters()}


def refusal(encoder, tmp_path, content, weights=OWN, **options):
    torch.save(content, path := tmp_path / "w.pt", **options)
    with pytest.raises(StudyError) as raised:
        check_encoder(encoder, path, weights)
    text = str(raised.value)
    assert str(path) in text
    assert "weights_only=False" not in text
    for wrong in ("delete", "fetch", "quota"):
        assert wrong not in text
    return raised.value


def run_line(line, folder):
    """Run a line of a message in a folder, as a user would."""
    program, *arguments = shlex.split(line)
    assert program == "python"
    subprocess.run([sys.executable, *arguments], cwd=folder, check=True)


def build(path):
    record = {"source": "file", "path": str(path), "sha256": sha256_of_file(path)}
    return build_backbone("terramind_v1_tiny", ["RED", "NIR_BROAD"], record).encoder


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_new_and_old_files_in_full_and_half_precision_fill_the_encoder(tmp_path, state, old_format, dtype):
    halved = {name: value.to(dtype) for name, value in state.items()}
    torch.save(halved, tmp_path / "w.pt", _use_new_zipfile_serialization=not old_format)
    assert torch.equal(build(tmp_path / "w.pt").encoder[3].attn.qkv.weight, halved[QKV].float())


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (torch.ones(3), "one tensor without a name"),
        ([torch.ones(3)], "a list"),
        (3.5, "one float"),
        ({}, "weights missing"),
        ({1: torch.ones(2)}, "weights missing"),
        ({"epoch": 3, "state_dict": {}}, "weights missing"),
    ],
)
def test_a_checkpoint_without_the_names_of_the_encoder_is_refused(encoder, tmp_path, content, found):
    assert found in refusal(encoder, tmp_path, content).found


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda weight: weight.tolist(), "is a list"),
        (lambda weight: weight.to_sparse(), "is a sparse tensor (sparse_coo)"),
        (lambda weight: weight.to_sparse_csr(), "is a sparse tensor (sparse_csr)"),
        (lambda weight: (weight * 1000).int(), "has the type int32"),
        (lambda weight: weight.to(torch.complex64), "has the type complex64"),
        (lambda weight: weight.to("meta"), "is a tensor without values (on the device meta)"),
        (lambda weight: weight * 0, "has the value 0 everywhere"),
        (lambda weight: torch.full_like(weight, 0.02), "has the value 0.02 everywhere"),
        (lambda weight: weight.log(), "contains NaN or infinity"),
        (
            lambda weight: weight.double() / weight.abs().max() * 1e300,
            "has values that float32 cannot hold (up to 1e+300)",
        ),
        (lambda weight: weight.double() * 1e-300, "has the value 0 everywhere"),
    ],
    ids=["list", "sparse", "csr", "integers", "complex", "meta", "zeros", "constant", "nan", "large", "small"],
)
def test_an_entry_that_is_no_trained_weight_is_refused(encoder, tmp_path, state, spoil, found):
    assert refusal(encoder, tmp_path, state | {QKV: spoil(state[QKV])}).found == f"{QKV} {found}"


def test_a_file_of_zeros_is_refused_with_the_number_of_its_faults(encoder, tmp_path, state):
    error = refusal(encoder, tmp_path, {name: value * 0 for name, value in state.items()}, HUB)
    # Biases, and the embedding of the modality, may be zeros.
    multiplied = [name for name in state if name.endswith("weight")]
    assert f"{len(multiplied) - 1} other weights are unusable too" in error.found
    assert "correct repo, filename and revision" in error.remedy


def test_norms_and_biases_as_before_training_pass(encoder, tmp_path, state):
    even = {name: torch.ones_like(value) if value.ndim == 1 else value for name, value in state.items()}
    torch.save(even, tmp_path / "w.pt")
    check_encoder(encoder, tmp_path / "w.pt", OWN)


def test_weights_that_were_never_trained_are_told(encoder, tmp_path, state):
    """torch.save of an encoder that was built without pre-trained weights."""
    torch.save(state, path := tmp_path / "w.pt")
    assert check_encoder(encoder, path, OWN) is False
    torch.save(state | {"encoder.3.norm1.weight": torch.full((192,), 1.01)}, path)
    assert check_encoder(encoder, path, OWN) is True


def test_norms_of_zeros_are_refused(encoder, tmp_path, state):
    dead = {name: value * 0 if "norm" in name else value for name, value in state.items()}
    assert "encoder.0.norm1.weight has the value 0 everywhere" in refusal(encoder, tmp_path, dead).found


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda value: value[:, :4], "(1, 4, 192) instead of (1, 196, 192)"),
        (lambda value: value / 0, "contains NaN or infinity"),
        (lambda value: value.tolist(), "is a list"),
    ],
    ids=["shape", "nan", "list"],
)
def test_a_buffer_that_would_replace_the_computed_one_must_fit(encoder, tmp_path, state, spoil, found):
    name = f"encoder_embeddings.untok_{MODALITY.replace('S2', 'sen2').lower()}@224.pos_emb"
    buffer = dict(encoder.named_buffers())[name]
    assert refusal(encoder, tmp_path, state | {name: spoil(buffer)}).found == f"{name} {found}"


@pytest.mark.parametrize(
    ("others", "found"), [({7: 1.0}, "7 (one int)"), ({b"w": 1.0, 2: 1.0}, "b'w' (one bytes) and 1")]
)
def test_keys_that_are_no_names_are_left_out_by_the_line_of_the_message(encoder, tmp_path, state, others, found):
    """TerraTorch would end with AttributeError: 'int' object has no attribute 'startswith'."""
    error = refusal(encoder, tmp_path, others | state)
    assert "has keys that are no names" in str(error)
    assert error.found.startswith(found)
    run_line(error.remedy.partition("alone with ")[2].partition(" and use weights")[0], tmp_path)
    assert torch.equal(build(tmp_path / "encoder.pt").encoder[3].attn.qkv.weight, state[QKV])


def test_adapters_are_named(encoder, tmp_path, state):
    weight = state.pop("encoder.3.mlp.fc1.weight")
    adapted = {"encoder.3.mlp.fc1.base_layer.weight": weight, "encoder.3.mlp.fc1.lora_A.default.weight": weight[:8]}
    assert "LoRA adapters, which must be merged" in refusal(encoder, tmp_path, state | adapted).found


@pytest.mark.parametrize(
    "name",
    [
        "encoder.0.attn.qkv.lora_A",
        "encoder.3.attn.qkv.parametrizations.weight.0.lora_B",
        "encoder.0.ls1.gamma",
        "encoder.0.gamma_1",
        "encoder.0.attn.q_norm.weight",
        "encoder.12.attn.proj.weight",
        "encoder.0.mlp.fc3.weight",
        "encoder.0.ssf_scale_1",
        "encoder_norm.lora_A",
        "encoder_embeddings.untok_sen2l2a@224.proj.lora_A",
    ],
)
def test_weights_of_an_encoder_that_is_not_terraminds_are_not_left_out(encoder, tmp_path, state, name):
    """TerraTorch ignores them, so that another encoder than the one in the file would be studied."""
    error = refusal(encoder, tmp_path, state | {name: torch.ones(8)})
    assert "more weights than TerraMind has" in str(error)
    assert error.found == name


def test_surplus_weights_without_readable_values_are_refused_in_words(encoder, tmp_path, state):
    error = refusal(encoder, tmp_path, state | {"encoder.0.attn.qkv.lora_A": torch.ones(4, 4).to_sparse()})
    assert error.found == "encoder.0.attn.qkv.lora_A"


def test_other_parts_of_a_whole_model_are_left_out(encoder, tmp_path, state):
    others = ["decoder.12.attn.q_norm.weight", "encoder_embeddings.tok_dem@224.lora.weight", "mask_token", "encoder_to"]
    # An adapter that was not trained changes nothing.
    zeros = {"encoder.0.attn.qkv.lora_B": torch.zeros(8, 8), "encoder.0.attn.index": torch.arange(4)}
    torch.save(state | {name: torch.ones(8) for name in others} | zeros, path := tmp_path / "w.pt")
    check_encoder(encoder, path, OWN)


@pytest.mark.parametrize(
    ("section", "prefix", "place"),
    [
        ("state_dict", "model.encoder.", "the keys model.encoder.… of the section state_dict"),
        ("model", "", "the section model"),
        ("", "module.encoder.", "the keys module.encoder.…"),
    ],
)
def test_the_encoder_of_a_larger_checkpoint_is_taken_out_by_the_line_of_the_message(
    encoder, tmp_path, state, section, prefix, place
):
    """Lightning saves a task of TerraTorch with the first of these, beside epoch, optimiser and settings."""
    whole = {prefix + name: value for name, value in state.items()} | {"model.head.weight": torch.ones(2)}
    content = {"epoch": 7, "optimizer_states": [{"lr": 0.1}], section: whole} if section else whole
    error = refusal(encoder, tmp_path, content)
    assert error.found == f"the weights of the encoder in {place}"
    assert "only if it was not trained on chips of this study" in error.remedy
    run_line(error.remedy.partition("take out the encoder with ")[2].partition(" and use weights")[0], tmp_path)
    assert torch.equal(build(tmp_path / "encoder.pt").encoder[3].attn.qkv.weight, state[QKV])


@pytest.mark.parametrize("prefix", ["", "net."])
def test_the_encoder_is_found_in_sections_of_sections_beside_keys_of_any_kind(encoder, tmp_path, state, prefix):
    inner = {"model": {3: torch.ones(2)} | {prefix + name: value for name, value in state.items()}, "step": 4}
    error = refusal(encoder, tmp_path, {"optimizer": {"state": {0: {"step": 1}}}, "runs": {0: inner}})
    keys = f"the keys {prefix}… of " if prefix else ""
    assert error.found == f"the weights of the encoder in {keys}the section model of the section 0 of the section runs"
    run_line(error.remedy.partition("take out the encoder with ")[2].partition(" and use weights")[0], tmp_path)
    assert torch.equal(build(tmp_path / "encoder.pt").encoder[3].attn.qkv.weight, state[QKV])


def test_a_fine_tuned_encoder_for_fewer_bands_is_refused_by_its_shape(encoder, tmp_path, state):
    name = next(name for name in state if name.endswith("proj.weight") and name.startswith("encoder_embeddings"))
    whole = {f"model.encoder.{key}": value for key, value in (state | {name: state[name][:, : 6 * 256]}).items()}
    error = refusal(encoder, tmp_path, {"state_dict": whole})
    assert f"{name} (192, 1536) instead of (192, 3072)" in error.found


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_a_file_with_other_objects_is_not_read_and_pytorchs_hint_is_not_passed_on(encoder, tmp_path, state, options):
    content = {"state_dict": state, "hyper_parameters": argparse.Namespace(lr=0.1)}
    error = refusal(encoder, tmp_path, content, **options)
    assert "an object of argparse.Namespace, which is not read because reading it could run code" in error.found
    assert "torch.save(model.state_dict(), …)" in error.remedy


def test_a_script_archive_is_named(encoder, tmp_path):
    path = tmp_path / "w.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(StudyError, match="a TorchScript archive, which contains code") as raised:
        check_encoder(encoder, path, OWN)
    assert "weights_only" not in raised.value.found


@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path, state, kept):
    torch.save(state, path := tmp_path / "w.pt")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(StudyError, match="can't be read") as raised:
        read_checkpoint(path, "do this")
    assert raised.value.remedy == "do this"


def test_an_archive_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "w.npz", w=np.ones(3))
    with pytest.raises(StudyError, match="can't be read") as raised:
        read_checkpoint(tmp_path / "w.npz", "do this")
    assert "weights_only" not in str(raised.value)
