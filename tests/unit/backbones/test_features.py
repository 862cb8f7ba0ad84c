"""The backbone and the feature pass, with TerraTorch's real encoder at random weights."""

import hashlib
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from helpers.hub_server import fetch, serving
from terralucas.backbones.encoder import MODALITY, build_backbone
from terralucas.backbones.feature_checks import refuse_infinite
from terralucas.backbones.features import ChipDataset, FeatureOptions, extract
from terralucas.backbones.joined_features import cut_part, join_features
from terralucas.backbones.sizes import DEPTH, WIDTH
from terralucas.backbones.terratorch_parts import terramind_registry, terratorch_module
from terralucas.data.chips.chip_content import read_unchanged
from terralucas.data.normalisation import Normaliser
from terralucas.errors import StudyError
from terralucas.files import sha256_of_file
from terralucas.parts import part_of

pytestmark = pytest.mark.slow

BANDS = ["RED", "GREEN", "BLUE", "NIR_BROAD", "SWIR_1", "SWIR_2"]
RANDOM = {"source": "random", "seed": 5}
UNIT = Normaliser("dataset", np.zeros(6), np.ones(6), np.zeros(6))


@pytest.fixture(scope="module")
def tiny():
    return build_backbone("terramind_v1_tiny", BANDS, RANDOM)


def published(model):
    """A state dict as the TerraMind checkpoints hold it: encoder and decoder of many modalities, pixels and tokens.

    TerraTorch's own full model, built as its generation does, with the encoder's settings of `model`. Left out are
    blocks of the decoder and tokens of some modalities, which only take time.
    """
    encoder = terramind_registry().build(model, modalities=[MODALITY], pretrained=False)
    block, dim = encoder.encoder[0], int(encoder.out_channels[-1])
    generation = terratorch_module("terratorch.models.backbones.terramind.model.terramind")
    infos = terratorch_module("terratorch.models.backbones.terramind.model.modality_info").MODALITY_INFO
    tokens = ["tok_sen2l2a@224", "tok_lulc@224"]
    pixels = ["S2L2A", "S2L1C", "RGB", "S1GRD", "S1RTC", "DEM"]
    sizes = {"img_size": 224, "dim": dim, "patch_size": 16}
    inputs, _ = generation.build_modality_embeddings(infos, [*pixels, *tokens, "coords"], **sizes)
    outputs, _ = generation.build_output_modality_embeddings(infos, [*tokens, "coords"], **sizes)
    torch.manual_seed(11)
    full = generation.TerraMind(
        encoder_embeddings=inputs, decoder_embeddings=outputs, modality_info=infos, dim=dim,
        encoder_depth=len(encoder.encoder), decoder_depth=1, num_heads=block.attn.num_heads,
        qkv_bias=block.attn.qkv.bias is not None, proj_bias=block.attn.proj.bias is not None,
        mlp_bias=block.mlp.fc1.bias is not None, gated_mlp=hasattr(block.mlp, "fc3"),
        norm_layer=partial(type(encoder.encoder_norm), bias=False),
    )  # fmt: skip
    return full.state_dict()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "TerraMind_v1_tiny.pt"
    torch.save(published("terramind_v1_tiny"), path)
    return path


def record_of(path):
    """What `terralucas.backbones.weights.obtain` records of a file."""
    return {"source": "file", "path": str(path), "sha256": sha256_of_file(path)}


def dataset_of(folder, n=5, side=32, seed=0, tamper=None):
    chips = np.random.default_rng(seed).normal(size=(n, 6, side, side)).astype(np.float32)
    files, sums = [], []
    for index, chip in enumerate(chips):
        (folder / f"{index}.bin").write_bytes(chip.tobytes())
        files.append(f"{index}.bin")
        sums.append(hashlib.sha256(chip.tobytes()).hexdigest())

    def read(path, sha256):
        return np.frombuffer(read_unchanged(path, sha256).data, np.float32).reshape(6, side, side)

    return chips, ChipDataset(folder, files, sums, read, UNIT)


def options(batch_size=2, workers=0):
    return FeatureOptions(batch_size=batch_size, workers=workers, threads=1, precision="32", device="cpu")


def test_features_are_the_encoders_last_tokens_and_their_mean(tiny, tmp_path):
    chips, dataset = dataset_of(tmp_path)
    done = extract(tiny, dataset, options(), {kind: tmp_path / f"{kind}.npy" for kind in ("pooled", "tokens")})
    pooled, tokens = (np.load(tmp_path / f"{kind}.npy", mmap_mode="r") for kind in ("pooled", "tokens"))
    assert done["pooled"]["shape"] == [5, 192] == list(pooled.shape)
    assert done["tokens"]["shape"] == [5, 4, 192] == list(tokens.shape)
    assert done["pooled"]["sha256"] == hashlib.sha256((tmp_path / "pooled.npy").read_bytes()).hexdigest()
    with torch.inference_mode():
        expected = tiny.encoder(torch.from_numpy(chips))[-1].numpy()
    np.testing.assert_allclose(tokens, expected, atol=1e-5)
    np.testing.assert_allclose(pooled, expected.mean(axis=1), atol=1e-5)


def test_features_are_stored_in_half_precision_where_that_is_asked_for(tiny, tmp_path):
    _, dataset = dataset_of(tmp_path)
    half = replace(options(), storage="float16")
    for each in (options(), half):
        extract(tiny, dataset, each, {kind: tmp_path / f"{kind}-{each.storage}.npy" for kind in ("pooled", "tokens")})
    for kind in ("pooled", "tokens"):
        single, stored = (np.load(tmp_path / f"{kind}-{storage}.npy") for storage in ("float32", "float16"))
        assert stored.dtype == np.float16
        np.testing.assert_array_equal(stored, single.astype(np.float16))


class Large(torch.nn.Module):
    """An encoder whose features float16 cannot hold."""

    def forward(self, chips):
        return [torch.full((len(chips), 4, 192), 7e4)]


def test_features_beyond_half_precision_are_refused(tiny, tmp_path):
    _, dataset = dataset_of(tmp_path)
    large = replace(tiny, encoder=Large())
    with pytest.raises(
        StudyError, match=r"not finite[\s\S]*7e\+04, which float16 cannot hold[\s\S]*storage to float32"
    ):
        extract(large, dataset, replace(options(), storage="float16"), {"tokens": tmp_path / "tokens.npy"})
    assert not (tmp_path / "tokens.npy").exists()


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_the_joined_parts_have_the_bytes_of_one_pass(tiny, tmp_path, parts):
    """Five chips in batches of two: with five parts, two have none."""
    _, whole = dataset_of(tmp_path)
    extract(tiny, whole, options(), {"tokens": tmp_path / "whole.npy"})
    written = []
    for part in range(parts):
        rows = part_of(5, 2, part, parts)
        chips = ChipDataset(
            tmp_path, whole.files[rows.start : rows.stop], whole.checksums[rows.start : rows.stop], whole.read, UNIT
        )
        array, record = tmp_path / f"{part}.npy", tmp_path / f"{part}.json"
        done = extract(tiny, chips, options(), {"tokens": array})["tokens"]
        record.write_text(json.dumps({"fingerprint": f"of part {part}", "code": "of then", **done}))
        written.append((array, record))
    joined = join_features(written, tmp_path / "tokens.npy")
    assert (tmp_path / "tokens.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert joined["sha256"] == sha256_of_file(tmp_path / "whole.npy")
    assert (joined["shape"], joined["kind"], len(joined["parts"])) == ([5, 4, 192], "tokens", parts)
    (tmp_path / "tokens.json").write_text(json.dumps(joined))
    for part, (array, record) in enumerate(written):
        cut = cut_part(tmp_path / "tokens.npy", part, parts, f"of part {part}", tmp_path / "cut.npy")
        assert (tmp_path / "cut.npy").read_bytes() == array.read_bytes()
        assert {"fingerprint": f"of part {part}", "code": "of then", **cut} == json.loads(record.read_text())


def test_several_layers_lie_side_by_side_as_the_encoder_gives_them(tiny, tmp_path):
    chips, dataset = dataset_of(tmp_path)
    with torch.inference_mode():
        layers = [layer.numpy() for layer in tiny.encoder(torch.from_numpy(chips))]
    assert len(layers) == 12
    expected = np.concatenate([layers[5], layers[11]], axis=-1)
    for kind, values in (("tokens-6-12", expected), ("pooled-6-12", expected.mean(axis=1))):
        path = tmp_path / f"{kind}.npy"
        assert extract(tiny, dataset, options(), {kind: path})[kind]["shape"] == list(values.shape)
        np.testing.assert_allclose(np.load(tmp_path / f"{kind}.npy"), values, atol=1e-4)


def test_the_width_and_depth_of_encoders_are_terratorchs(tiny, monkeypatch):
    terramind_register = terratorch_module("terratorch.models.backbones.terramind.model.terramind_register")
    assert list(tiny.encoder.out_channels) == [WIDTH["tiny"]] * DEPTH["tiny"]
    # The large ones are not built here: it is enough what they would be built with.
    monkeypatch.setattr(terramind_register, "build_terrammind_vit", lambda *args, **given: given)
    for size in WIDTH:
        given = getattr(terramind_register, f"terramind_v1_{size}")(pretrained=False)
        assert (given["dim"], given["encoder_depth"]) == (WIDTH[size], DEPTH[size])


def test_repeats_bit_for_bit_whoever_decodes(tiny, tmp_path):
    _, dataset = dataset_of(tmp_path)
    first = extract(tiny, dataset, options(), {"pooled": tmp_path / "a.npy"})
    again = build_backbone("terramind_v1_tiny", BANDS, RANDOM)
    second = extract(again, dataset, options(workers=1), {"pooled": tmp_path / "b.npy"})
    assert first["pooled"]["sha256"] == second["pooled"]["sha256"]


def test_one_pass_writes_the_bytes_of_a_pass_for_each_kind(tiny, tmp_path):
    _, dataset = dataset_of(tmp_path)
    kinds = ("tokens", "pooled", "pooled-6-12")
    together = extract(tiny, dataset, options(), {kind: tmp_path / f"{kind}.npy" for kind in kinds})
    for kind in kinds:
        alone = extract(tiny, dataset, options(), {kind: tmp_path / "alone.npy"})
        assert alone[kind]["sha256"] == together[kind]["sha256"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_chip_that_changed_since_it_was_indexed_is_refused_and_nothing_is_left(tiny, tmp_path, workers):
    _, dataset = dataset_of(tmp_path)
    (tmp_path / "3.bin").write_bytes((tmp_path / "2.bin").read_bytes())
    with pytest.raises(StudyError, match=r"3\.bin changed since"):
        extract(tiny, dataset, options(workers=workers), {"pooled": tmp_path / "p.npy"})
    (tmp_path / "3.bin").unlink()
    with pytest.raises(StudyError, match=r"3\.bin is gone"):
        extract(tiny, dataset, options(workers=workers), {"pooled": tmp_path / "p.npy"})
    assert not list(tmp_path.glob("*p.npy*"))


def test_features_that_are_not_finite_are_refused(tiny, tmp_path):
    _, dataset = dataset_of(tmp_path)
    dataset.normaliser = Normaliser("dataset", np.full(6, np.inf), np.ones(6), np.zeros(6))
    with pytest.raises(StudyError, match=r"not finite[\s\S]*precision 32[\s\S]*use other weights") as raised:
        extract(tiny, dataset, options(), {"pooled": tmp_path / "p.npy"})
    assert "features.precision" not in str(raised.value)


class Same(torch.nn.Module):
    """An encoder that lets nothing of a chip through, up to rounding."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, chips):
        return [self.size * torch.ones(len(chips), 4, 192) * (1 + 1e-7 * torch.rand(len(chips), 1, 1))]


@pytest.mark.parametrize(
    ("size", "found"), [(0.0, "5 chips with equal features, which are 0"), (2.5, "5 chips with eq")]
)
def test_features_that_are_the_same_for_all_chips_are_refused(tiny, tmp_path, size, found):
    _, dataset = dataset_of(tmp_path)
    for storage in ("float32", "float16"):
        with pytest.raises(StudyError, match="The features are the same for all chips") as raised:
            outputs = {kind: tmp_path / f"{kind}.npy" for kind in ("tokens", "pooled")}
            extract(replace(tiny, encoder=Same(size)), dataset, replace(options(), storage=storage), outputs)
        assert raised.value.found.startswith(found)
    assert not list(tmp_path.glob("*.npy*"))


def test_a_norm_of_zeros_gives_the_same_features_to_all_chips(tmp_path):
    """What a file of such weights would give, if the check of the weights did not refuse it."""
    dead = build_backbone("terramind_v1_tiny", BANDS, RANDOM)
    torch.nn.init.zeros_(dead.encoder.encoder_norm.weight)
    with pytest.raises(StudyError, match="which are 0"):
        extract(dead, dataset_of(tmp_path, n=2)[1], options(), {"pooled": tmp_path / "p.npy"})


def test_one_chip_is_like_no_other(tiny, tmp_path):
    _, dataset = dataset_of(tmp_path, n=1)
    assert extract(replace(tiny, encoder=Same(0.0)), dataset, options(), {"pooled": tmp_path / "p.npy"})


@pytest.mark.parametrize(
    ("precision", "remedy"),
    [("16-mixed", "features.precision to 32 or bf16-mixed"), ("bf16-mixed", "use other"), ("32", "use other")],
)
def test_the_advice_about_infinite_features_fits_the_precision(precision, remedy):
    infinite = torch.tensor([[1.0, torch.inf]])
    with pytest.raises(StudyError, match="chips 8 to 8") as raised:
        refuse_infinite(infinite, infinite, 8, precision)
    assert remedy in raised.value.remedy


def test_float32_is_float32(tiny):
    """Importing TerraTorch makes products of float32 matrices bfloat16, which has three digits."""
    assert torch.get_float32_matmul_precision() == "highest"


def test_another_seed_gives_other_random_weights(tiny):
    other = build_backbone("terramind_v1_tiny", BANDS, RANDOM | {"seed": 6})
    x = torch.randn(1, 6, 32, 32, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(tiny.encoder(x)[-1], other.encoder(x)[-1])


def test_bands_reach_the_model_by_name(checkpoint):
    record = record_of(checkpoint)
    ours = build_backbone("terramind_v1_tiny", BANDS, record)
    swapped = build_backbone("terramind_v1_tiny", [BANDS[2], BANDS[1], BANDS[0], *BANDS[3:]], record)
    x = torch.randn(1, 6, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours.encoder(x)[-1], swapped.encoder(x[:, [2, 1, 0, 3, 4, 5]])[-1])
    assert not torch.allclose(ours.encoder(x)[-1], swapped.encoder(x)[-1])


def test_every_weight_comes_from_the_checkpoint(checkpoint):
    encoder = build_backbone("terramind_v1_tiny", BANDS, record_of(checkpoint)).encoder
    saved = torch.load(checkpoint, weights_only=True)
    for name, value in encoder.named_parameters():
        if name.endswith("proj.weight") and "encoder_embeddings" in name:
            bands = ["COASTAL_AEROSOL", "BLUE", "GREEN", "RED", *["-"] * 3, "NIR_BROAD", *["-"] * 2, "SWIR_1", "SWIR_2"]
            index = [bands.index(band) for band in BANDS]
            assert torch.equal(value.view(192, 256, 6), saved[name].view(192, 256, 12)[..., index])
        else:
            assert torch.equal(value, saved[name]), name


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda state: [state.pop("encoder.3.attn.qkv.weight")], "1 weights missing (encoder.3.attn.qkv.weight"),
        (
            lambda state: state.update({"encoder_norm.weight": torch.ones(3)}),
            "encoder_norm.weight (3,) instead of (192,)",
        ),
    ],
)
def test_a_checkpoint_that_leaves_weights_random_is_an_error(checkpoint, tmp_path, spoil, said):
    state = torch.load(checkpoint, weights_only=True)
    spoil(state)
    torch.save(state, tmp_path / "bad.pt")
    with pytest.raises(StudyError, match="would stay random") as raised:
        build_backbone("terramind_v1_tiny", BANDS, record_of(tmp_path / "bad.pt"))
    assert said in str(raised.value)


def test_the_small_model_takes_its_encoder_from_its_checkpoint(tmp_path):
    state = published("terramind_v1_small")
    torch.save(state, tmp_path / "small.pt")
    backbone = build_backbone("terramind_v1_small", BANDS, record_of(tmp_path / "small.pt"))
    assert backbone.embedding == 384
    assert torch.equal(backbone.encoder.encoder[11].mlp.fc2.weight, state["encoder.11.mlp.fc2.weight"])


def test_a_checkpoint_of_another_size_is_an_error(checkpoint):
    with pytest.raises(StudyError, match="would stay random") as raised:
        build_backbone("terramind_v1_small", BANDS, record_of(checkpoint))
    assert "instead of (384," in str(raised.value)


def test_a_checkpoint_of_the_hub_fills_the_encoder(checkpoint, tmp_path):
    with serving(checkpoint.read_bytes()) as hub:
        record = json.loads(fetch(hub.endpoint, tmp_path)[0].strip().splitlines()[-1])
    encoder = build_backbone("terramind_v1_tiny", BANDS, record).encoder
    saved = torch.load(checkpoint, weights_only=True)
    assert torch.equal(encoder.encoder[0].attn.qkv.weight, saved["encoder.0.attn.qkv.weight"])


@pytest.mark.parametrize("content", [b"", b"<html>sign in</html>", b"PK\x03\x04 broken"])
def test_a_file_that_is_no_checkpoint_is_an_error(tmp_path, content):
    (tmp_path / "bad.pt").write_bytes(content)
    with pytest.raises(StudyError, match=r"can't be read|is no checkpoint"):
        build_backbone("terramind_v1_tiny", BANDS, record_of(tmp_path / "bad.pt"))


def test_a_file_that_changed_since_it_was_recorded_is_refused(checkpoint, tmp_path):
    record = record_of(checkpoint) | {"path": str(tmp_path / "w.pt")}
    with pytest.raises(StudyError, match="no file"):
        build_backbone("terramind_v1_tiny", BANDS, record)
    (tmp_path / "w.pt").write_bytes(checkpoint.read_bytes() + b"x")
    with pytest.raises(StudyError, match="gone or has changed"):
        build_backbone("terramind_v1_tiny", BANDS, record)
