"""Configuration: defaults, and errors that name the key and what is allowed."""

import copy
import re

import pytest
import yaml

from helpers.paths import ROOT
from terralucas.errors import StudyError
from terralucas.study.manual import with_tables
from terralucas.study.schema import load_schema
from terralucas.study.settings import (
    backbones_with_tuning,
    control_names,
    default_configfile,
    min_chips_per_class,
    recipes,
    training_settings,
    written_options,
)
from terralucas.study.validation import resolve
from terralucas.tables.scores import SCORES

CONFIGS = sorted((ROOT / "config").glob("*.yaml"))


def load(name):
    return yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text(encoding="utf-8"))


def changed(keys, value, base="demo"):
    """A configuration with one key set; `keys` is a dotted path, numbers index lists."""
    config = load(base)
    place = config
    *path, last = [int(key) if key.isdigit() else key for key in keys.split(".")]
    for key in path:
        place = place[key] if isinstance(key, int) else place.setdefault(key, {})
    place[last] = value
    return config


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_valid_and_named_as_their_study(path):
    config = resolve(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert config["study"] == path.stem or path.stem == "config"


@pytest.mark.parametrize(("name", "runs"), [("config", 80), ("demo", 40), ("notebook", 20), ("example", 12)])
def test_number_of_runs(name, runs):
    config = resolve(load(name))
    assert len(recipes(config)) * len(config["grid"]["seeds"]) == runs


@pytest.mark.parametrize(
    ("written", "read"),
    [("Fore\u0302t", "For\u00eat"), ("forest ", "forest"), ("for\u200best", "forest"), ("1.0", "1"), (1, 1)],
    ids=["accent apart", "blank at the end", "character that nobody sees", "number of a spreadsheet", "number"],
)
def test_classes_are_named_as_the_index_names_them(written, read):
    """All runs were trained, and then the tables found other classes in the index."""
    config = load("demo")
    config["dataset"]["sources"] = [{"type": "directory", "path": "/data/chips"}]
    config["dataset"]["classes"][9] = {"code": written, "name": "Other\u00a0"}
    config["report"]["excluded_classes"] = [written]
    config["dataset"]["classes"][0]["code"] = 99
    resolved = resolve(config)
    assert resolved["dataset"]["classes"][9] == {"code": read, "name": "Other"}
    assert resolved["report"]["excluded_classes"] == [read]
    assert resolve(resolved) == resolved


def test_the_study_has_the_originals_hyper_parameters():
    training = resolve(load("config"))["training"]
    assert (training["learning_rate"], training["weight_decay"]) == (1e-4, 0.05)
    assert (training["batch_size"], training["epochs"], training["monitor"]) == (8, 100, "macro_accuracy")


def test_the_faithful_arm_has_the_originals_faults_and_settings():
    """Bands misnamed, checkpoints chosen on the test chips, statistics of all chips, a loss without its weights."""
    config = resolve(load("notebook"))
    assert config["dataset"]["bands"] == ["BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2"]
    split = {key: config["split"][key] for key in ("strategy", "test_share", "validation_is_test", "random_state")}
    assert split == {"strategy": "holdout", "test_share": 0.2, "validation_is_test": True, "random_state": 42}
    assert config["normalisation"] == "dataset"
    assert config["grid"]["losses"] == ["weighted_ce", "terratorch_focal"]
    assert config["losses"]["weighted_ce"]["class_weights"] == "balanced"
    assert config["decoders"]["mlp"]["hidden"] == "embedding"
    training = config["training"]
    assert (training["learning_rate"], training["weight_decay"]) == (1e-4, 0.05)
    assert (training["batch_size"], training["epochs"], training["drop_last"]) == (8, 100, True)
    assert training["monitor"] == "macro_accuracy"


def test_a_temperature_needs_validation_chips():
    with pytest.raises(StudyError, match=r"select\.temperature_scaling needs validation chips"):
        resolve(load("notebook") | {"select": {"temperature_scaling": True}})


def test_resolving_twice_changes_nothing_and_leaves_its_input_alone():
    raw = load("demo")
    before = copy.deepcopy(raw)
    once = resolve(raw)
    assert raw == before
    assert resolve(once) == once


def test_defaults_reach_named_settings_and_sources():
    config = resolve(changed("dataset.sources", [{"type": "simulated"}]))
    assert config["dataset"]["sources"][0] == {"type": "simulated", "chips": 600, "size_px": 64, "seed": 0}
    assert config["decoders"]["identity"] == {"pooling": "mean", "layers": None, "hidden": None, "dropout": 0.1}


@pytest.mark.parametrize(
    ("keys", "text", "meant"),
    [
        ("training.learning_rate", "1e-4", 1e-4),
        ("training.epochs", "7", 7),
        ("training.drop_last", "true", True),
        ("training.precision", 32, "32"),
        ("decoders.mlp.hidden", "512", 512),
        ("decoders.mlp.hidden", "null", None),
        ("split.block_km", "50", 50.0),
        ("grid.seeds", ["0", "3"], [0, 3]),
    ],
)
def test_text_that_stands_for_a_number_is_read_as_one(keys, text, meant):
    """As nested `--config` values arrive from Snakemake, and `1e-4` from YAML."""
    config = resolve(changed(keys, text))
    for key in keys.split("."):
        config = config[key]
    assert config == meant
    assert type(config) is type(meant)


LOSSES = {"factor": "loss", "a": "weighted_focal", "b": "weighted_ce"}
CLAIM = {"name": "C1", "says": "Focal wins.", "contrast": LOSSES, "metric": "micro_accuracy", "relation": "higher"}
# One bad configuration each: path, value, and what the message must say.
BAD = [
    ("training.epoch", 3, ["unknown key training.epoch", "did you mean epochs?"]),
    ("typo", 1, ["unknown key typo", "allowed: study"]),
    ("training.learning_rate", "fast", ['training.learning_rate is "fast"', "no number"]),
    ("training.learning_rate", "nan", ["training.learning_rate", "no number"]),
    ("training.learning_rate", 0, ["training.learning_rate is 0", "above 0"]),
    ("training.batch_size", 0, ["training.batch_size is 0", "at least 1 chips"]),
    ("training.batch_size", 2.5, ["training.batch_size is 2.5", "no integer"]),
    ("training.precision", "fp16", ["training.precision", '"16-mixed"']),
    ("dataset.unit", "percent", ["dataset.unit", '"reflectance"', '"dn"']),
    ("dataset.bands", ["RED", "NIR"], ['dataset.bands[1] is "NIR"', "NIR_BROAD"]),
    ("dataset.bands", ["RED", "RED"], ["dataset.bands", "twice"]),
    ("dataset.sources", [], ["dataset.sources", "at least 1"]),
    ("dataset.sources.0", {"type": "ftp"}, ["dataset.sources[0].type", '"gdrive"']),
    ("dataset.sources.0", {"type": "gdrive"}, ["missing key dataset.sources[0].id"]),
    *(
        ("dataset.sources.0", {"type": "gdrive", "id": wrong}, ["dataset.sources[0].id", "give the id alone", "/d/"])
        for wrong in (
            "https://drive.google.com/file/d/1oaY9U-AnsDpepIuEQy5P9V8lfm_j5q7m/view?usp=sharing",
            "https://drive.google.com/drive/folders/1oaY9U-AnsDpepIuEQy5P9V8lfm_j5q7m",
            "1oaY9U-AnsDpepIuEQy5P9V8lfm_j5q7m ",
            "1oaY9U-AnsDpepIuEQy5P9V8lfm_j5q7m\n",
            "1oaY9U",
        )
    ),
    *(
        ("backbones.tiny.weights", {"source": "huggingface", "filename": "w.pt", **wrong}, said)
        for wrong, said in (
            ({"repo": "https://huggingface.co/a/b"}, ["weights.repo", "without https://huggingface.co/"]),
            ({"repo": "a/b "}, ["weights.repo", "give owner/name"]),
            ({"repo": "a/b/tree/main"}, ["weights.repo", "give owner/name"]),
            ({"repo": "a/b", "filename": "w.pt "}, ["weights.filename", "without blanks around it"]),
            ({"repo": "a/b", "filename": "../w.pt"}, ["weights.filename", "the path inside the repository"]),
            ({"repo": "a/b", "revision": "main "}, ["weights.revision", "must match"]),
        )
    ),
    ("training.device", "mps", ["training.device", '"cpu"', "the GPU of a Mac (mps) is not used", "cpu works"]),
    ("features.device", "mps", ["features.device", "the GPU of a Mac (mps) is not used"]),
    ("dataset.sources.0", {"type": "url", "url": "file:///x"}, ["dataset.sources[0].url", "must match"]),
    ("dataset.sources.0.chips", 5, ["dataset.sources[0].chips is 5", "at least 100 chips"]),
    ("dataset.sources.0.size_px", 60, ["size_px is 60", "multiple of 16 px"]),
    ("dataset.classes.1.code", 1, ["code '1' is given twice"]),
    ("grid.losses", ["weighted_ce", "hinge"], ["grid.losses names 'hinge'", "losses defines: weighted_ce"]),
    ("grid.seeds", [0, 0], ["grid.seeds", "twice"]),
    ("grid.seeds", [-1], ["grid.seeds[0] is -1", "at least 0"]),
    ("losses.bad name", {"type": "ce"}, ["losses", "bad name"]),
    ("losses.weighted_ce.gamma", 2.0, ["unknown key losses.weighted_ce.gamma"]),
    ("losses.weighted_focal.gamma", 0, ["gamma is 0", "above 0"]),
    ("losses.weighted_ce.beta", 0.9, ["unknown key losses.weighted_ce.beta"]),
    ("losses.weighted_ce", {"type": "ce", "class_weights": "effective_number", "beta": 1}, ["beta is 1", "below 1"]),
    ("losses.weighted_ce.label_smoothing", 1, ["label_smoothing is 1", "below 1"]),
    ("decoders.mlp.window", 2, ["unknown key decoders.mlp.window", "allowed: pooling"]),
    ("decoders.mlp.layers", [6, 13], ["decoders.mlp.layers names layer 13", "tiny has 12"]),
    ("decoders.mlp.layers", [12, 6], ["decoders.mlp.layers is [12, 6]", "ascending order"]),
    ("decoders.mlp.layers", [], ["decoders.mlp.layers", "at least 1"]),
    ("decoders.mlp.hidden", "wide", ["decoders.mlp.hidden", "integer", "embedding"]),
    ("decoders.mlp.hidden", 0, ["decoders.mlp.hidden"]),
    ("training.epochs", True, ["training.epochs is true", "no integer"]),
    ("decoders.identity.dropout", 1, ["decoders.identity.dropout is 1", "below 1"]),
    ("split.folds", 1, ["split.folds is 1", "at least 2"]),
    ("split.validation_share", 1.5, ["split.validation_share is 1.5", "below 1"]),
    ("split.validation_is_test", True, ["validation_is_test needs split.strategy holdout"]),
    ("study", "a/b", ["study", "must match"]),
    *(("study", name, ["study is", "begins with no dot or hyphen"]) for name in ("-n", "--help", ".x", "..")),
    *(("report.beside", [name], ["report.beside[0] is", "no dot or hyphen"]) for name in ("-n", "../x", "a/b")),
    *(("dataset.name", name, ["dataset.name is", "no dot or hyphen"]) for name in ("-n", ".x")),
    ("losses.-n", {"type": "ce"}, ["losses", "-n"]),
    ("training.epochs", 1e9, ["training.epochs is 1000000000", "at most 100000 epochs"]),
    ("split.folds", 1001, ["split.folds is 1001", "at most 1000"]),
    ("grid.seeds", list(range(1001)), ["grid.seeds has 1001 items; it must have at most 1000"]),
    ("backbones.tiny.weights", {"source": "random", "repo": "a/b"}, ["unknown key backbones.tiny.weights.repo"]),
    ("backbones.tiny.tuning", "partial", ["backbones.tiny.tuning", '"lora"']),
    ("training.end_to_end", {"clip": 1}, ["unknown key training.end_to_end.clip"]),
    ("training.end_to_end.lora", {"target_modules": ["qkv"]}, ["target_modules[0]", '"qkv.q_linear"']),
    ("training.end_to_end", {"ema_decay": 1}, ["training.end_to_end.ema_decay is 1", "below 1"]),
    ("backbones.tiny.model", "resnet50", ["backbones.tiny.model", "terramind_v1_tiny"]),
    ("report.contrasts.0.a", "hinge", ["report.contrasts names the loss 'hinge'"]),
    ("dataset.layout", {"x_column": "lon"}, ["x_column and y_column must both be given"]),
    ("dataset.layout", {"x_column": "GPS_LAT", "y_column": "GPS_LONG"}, ["x_column is 'GPS_LAT'", "exchange them"]),
    ("report.beside", ["demo"], ["report.beside must not contain this study itself"]),
    (
        "report.claims",
        [CLAIM | {"margin": 0.01}],
        ["'C1' has a margin, which is only allowed with the relation `equivalent`"],
    ),
    ("report.claims", [CLAIM, CLAIM], ["the name 'C1' is given twice"]),
    (
        "report.claims",
        [CLAIM | {"metric": "nll", "relation": "equivalent"}],
        ["'C1' needs a margin; report.margins has none for nll"],
    ),
    (
        "report.claims",
        [CLAIM | {"relation": "equivalent", "margin": 2}],
        ["'C1' has the margin 2; expected at most 1", "two points are 0.02"],
    ),
    ("report.claims", [CLAIM | {"relation": "better"}], ["report.claims[0].relation", '"equivalent"']),
    ("report.claims", [CLAIM | {"contrast": {**LOSSES, "a": "hinge"}}], ["report.claims names the loss 'hinge'"]),
]


@pytest.mark.parametrize(
    "weights",
    [
        {"repo": "ibm-esa-geospatial/TerraMind-1.0-tiny", "filename": "TerraMind_v1_tiny.pt"},
        {"repo": "a_b/c", "filename": "sub folder/..w.pt", "revision": "refs/pr/3"},
    ],
)
def test_names_of_the_hub_pass(weights):
    resolve(changed("backbones.tiny.weights", {"source": "huggingface", **weights}))


def numbers_of(schema, path=""):
    """Every part of the schema that is about a whole number, with its path."""
    if isinstance(schema, list):
        return [found for n, part in enumerate(schema) for found in numbers_of(part, f"{path}[{n}]")]
    if not isinstance(schema, dict):
        return []
    kinds = schema.get("type")
    own = [(path, schema)] if "integer" in (kinds if isinstance(kinds, list) else [kinds]) else []
    return own + [found for key, part in schema.items() for found in numbers_of(part, f"{path}.{key}")]


def test_every_count_has_a_maximum():
    """So that a typo such as 1e9 is refused and not tried; codes of classes are names and no counts."""
    counts = [(path, schema) for path, schema in numbers_of(load_schema()) if "string" not in schema["type"]]
    assert len(counts) >= 25
    assert [path for path, schema in counts if "maximum" not in schema] == []


def test_claims_are_about_scores_of_which_differences_are_tested():
    """A claim about another one would be inconclusive whatever the runs are."""
    claim = load_schema()["properties"]["report"]["properties"]["claims"]["items"]
    tested = {name for name, score in SCORES.items() if score.contrast_interval not in ("none", "seeds")}
    assert set(claim["properties"]["metric"]["enum"]) == tested


@pytest.mark.parametrize(("keys", "value", "said"), BAD, ids=[f"{keys}={value}"[:60] for keys, value, _ in BAD])
def test_bad_values_are_named_with_what_is_allowed(keys, value, said):
    with pytest.raises(StudyError) as raised:
        resolve(changed(keys, value))
    for words in said:
        assert words in str(raised.value)


def test_every_problem_is_listed_at_once():
    config = changed("training.epoch", 3)
    config["dataset"]["unit"] = "percent"
    with pytest.raises(StudyError) as raised:
        resolve(config)
    assert "training.epoch" in str(raised.value)
    assert "dataset.unit" in str(raised.value)


def test_two_names_of_one_setting_are_refused():
    config = changed("losses.again", {"type": "ce", "class_weights": "balanced"})
    config["grid"]["losses"].append("again")
    with pytest.raises(StudyError, match="'weighted_ce' and 'again' are the same setting"):
        resolve(config)


def test_a_key_that_belongs_to_another_choice_is_unknown_and_one_that_belongs_has_its_default():
    losses = resolve(changed("losses.ce", {"type": "ce", "class_weights": "effective_number"}))["losses"]
    assert losses["ce"]["beta"] == 0.999
    assert "beta" not in losses["weighted_ce"]
    decoders = resolve(changed("decoders.point", {"pooling": "center"}))["decoders"]
    assert decoders["point"]["window"] == 2
    assert "window" not in decoders["mlp"]


def tuned(**training):
    """The demo with a second and third name of its tiny backbone."""
    config = load("demo")
    tiny = config["backbones"]["tiny"]
    config["backbones"] = {"tiny": tiny, "tiny_lora": tiny | {"tuning": "lora"}, "tiny_full": tiny | {"tuning": "full"}}
    config["grid"]["backbones"] = list(config["backbones"])
    config["report"]["contrasts"] = [{"factor": "backbone", "a": "tiny_lora", "b": "tiny"}]
    config["training"] |= training
    return config


def test_tuning_is_a_level_of_the_backbone_and_has_a_default():
    config = resolve(tuned())
    assert {name: entry["tuning"] for name, entry in config["backbones"].items()} == {
        "tiny": "frozen", "tiny_lora": "lora", "tiny_full": "full",
    }  # fmt: skip
    assert backbones_with_tuning(config, "full", "lora") == ["tiny_lora", "tiny_full"]
    assert [name for name in control_names(config) if "/" in name] == ["knn/tiny", "logistic/tiny"]
    with pytest.raises(StudyError, match="'tiny' and 'tiny_lora' are the same setting"):
        resolve(tuned(tuning="lora"))


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ({"test_share": 0.3}, "split.test_share is 0.3, and with split.strategy kfold it has no effect"),
        ({"strategy": "holdout", "folds": 4}, "split.folds is 4, and with split.strategy holdout it has no effect"),
        (
            {"strategy": "holdout", "validation_is_test": True, "validation_share": 0.3},
            "split.validation_share is 0.3, and with split.validation_is_test it has no effect",
        ),
    ],
)
def test_an_option_that_has_no_effect_with_this_split_is_refused(split, said):
    with pytest.raises(StudyError, match=re.escape(said)) as error:
        resolve(changed("split", split))
    (option,) = [name for name in split if name in ("test_share", "folds", "validation_share")]
    default = {"test_share": 0.2, "folds": 5, "validation_share": 0.15}[option]
    assert f"give it its default, {default}" in str(error.value), "--config cannot remove what a file says"
    assert resolve(changed("split", split | {option: default}))["split"][option] == default


def test_all_options_without_effect_are_named():
    config = changed("split", {"strategy": "holdout", "folds": 4})
    config["training"]["end_to_end"] = {"clip_norm": 1.0}
    with pytest.raises(StudyError, match=r"split\.folds is 4.*\n.*training\.end_to_end is written"):
        resolve(config)


def test_options_of_a_tuning_that_no_backbone_has_are_refused():
    frozen = "training.end_to_end is written (clip_norm), but no backbone of the grid has the `tuning` `lora` or `full`"
    with pytest.raises(StudyError, match=re.escape(frozen)):
        resolve(changed("training.end_to_end", {"clip_norm": 1.0}))
    config = tuned(end_to_end={"lora": {"rank": 4}})
    assert resolve(config)["training"]["end_to_end"]["lora"]["rank"] == 4
    config["grid"]["backbones"] = ["tiny", "tiny_full"]
    with pytest.raises(
        StudyError, match=r"training\.end_to_end\.lora is written \(rank\), but no backbone .* `tuning` `lora`;"
    ):
        resolve(config)
    del config["training"]["end_to_end"]["lora"]
    assert resolve(resolve(config)) == resolve(config), "defaults that were filled in are not written"


def test_runs_are_given_the_keys_of_training_that_decide_their_numbers():
    config = resolve(tuned(end_to_end={"clip_norm": 1.0}))
    names = {tuning: training_settings(config, tuning) for tuning in ("frozen", "lora", "full")}
    frozen = names["frozen"]
    assert "tuning" not in frozen
    assert "end_to_end" not in frozen, "the record of a frozen run stays as it was"
    assert names["lora"] | {"tuning": 0, "end_to_end": 0} == frozen | {"tuning": 0, "end_to_end": 0}
    assert set(names["lora"]["end_to_end"]) - set(names["full"]["end_to_end"]) == {"lora"}
    for name in ("lora", "full"):
        assert names[name]["end_to_end"]["clip_norm"] == 1.0
        assert {"workers", "lower_batch_on_oom", "checkpoint_interval_s"}.isdisjoint(
            {*names[name], *names[name]["end_to_end"]}
        )


def test_the_options_a_configuration_writes_itself():
    written = {
        "lora": {"rank": 4},
        "clip_norm": None,
        "augmentation": {"flips_and_rotations": False},
        "workers": 2,
        "compile": True,
    }
    config = tuned(end_to_end=written)
    assert written_options(config, "full") == ["end_to_end.clip_norm", "end_to_end.augmentation.flips_and_rotations"]
    assert written_options(config, "lora") == ["end_to_end.lora.rank", *written_options(config, "full")]
    assert written_options(load("demo"), "full") == []


@pytest.mark.parametrize(
    ("option", "largest", "said"),
    [
        ("warmup_epochs", 9, "warmup_epochs is {}; it must be below training.epochs, 10"),
        ("early_stopping_patience", 8, "early_stopping_patience is {}; with 10 epochs, no run would stop early"),
    ],
)
def test_options_that_no_run_is_long_enough_for_are_refused(option, largest, said):
    resolve(tuned(epochs=10, end_to_end={option: largest}))
    with pytest.raises(StudyError, match=re.escape(said.format(largest + 1))):
        resolve(tuned(epochs=10, end_to_end={option: largest + 1}))


def test_the_studies_weights_are_pinned_and_the_manual_says_to_what():
    manual = (ROOT / "config" / "README.md").read_text(encoding="utf-8")
    for study in ("config", "notebook"):
        for name, backbone in load(study)["backbones"].items():
            weights = backbone["weights"]
            assert re.fullmatch("[0-9a-f]{40}", weights["revision"])
            assert re.fullmatch("[0-9a-f]{64}", weights["sha256"])
            assert f"| {name} | `{weights['revision']}` | `{weights['sha256']}` |" in manual


@pytest.mark.parametrize(
    ("keys", "written", "value"),
    [
        ("training.epochs", 3.0, 3),
        ("training.epochs", "3.0", 3),
        ("training.epochs", "1e1", 10),
        ("split.folds", 5.0, 5),
        ("grid.seeds", [0.0, 1.0], [0, 1]),
        ("decoders.mlp.hidden", 64.0, 64),
        ("dataset.classes.0.code", 1.0, 1),
    ],
)
def test_whole_floats_are_integers(keys, written, value):
    """JSON Schema says that 3.0 is an integer; a job would end with "'float' object cannot be interpreted"."""
    found = resolve(changed(keys, written))
    for key in keys.split("."):
        found = found[int(key) if key.isdigit() else key]
    assert found == value
    assert all(type(each) is int for each in (found if isinstance(found, list) else [found]))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "keys",
    ["training.learning_rate", "training.epochs", "split.test_share", "losses.weighted_focal.gamma", "dataset.nodata"],
)
def test_no_range_contains_nan_or_infinity(keys, number):
    with pytest.raises(StudyError, match=f"{keys} is {number}; it must be a finite number"):
        resolve(changed(keys, number))


@pytest.mark.parametrize("keys", ["study", "dataset.name", "dataset.classes.0.name", "dataset.classes.0.code"])
def test_names_are_shorter_than_file_names_may_be(keys):
    with pytest.raises(StudyError, match=r"120 characters; it must have at most (60|100)"):
        resolve(changed(keys, "é" * 120))


def test_setting_names_are_shorter_than_file_names_may_be():
    config = load("demo")
    config["losses"]["x" * 61] = config["losses"]["weighted_ce"]
    with pytest.raises(StudyError, match=r"61 characters; it must have at most 60"):
        resolve(config)


def test_a_class_is_excluded_once():
    with pytest.raises(StudyError, match="names the class '10' twice"):
        resolve(changed("report.excluded_classes", [10, "10"]))


def test_columns_of_coordinates_need_a_table():
    config = changed("dataset.layout", {"labels": "folders", "x_column": "lon", "y_column": "lat"})
    with pytest.raises(StudyError, match="columns of a table, which `labels: folders` does not read"):
        resolve(config)


def test_blocks_may_have_their_places_from_the_files():
    config = changed("split.block_km", 50)
    config["dataset"]["point_ids"] = "none"
    resolve(config)


def test_a_target_names_its_study(tmp_path):
    (tmp_path / "demo.yaml").touch()
    assert default_configfile(["results/demo/report.html"], tmp_path) == tmp_path / "demo.yaml"
    assert default_configfile(["results/other/report.html"], tmp_path) == tmp_path / "config.yaml"
    assert default_configfile([], tmp_path) == tmp_path / "config.yaml"
    (tmp_path / "mine.yml").touch()
    assert default_configfile(["-n", "results/mine/report.html"], tmp_path) == tmp_path / "mine.yml"


@pytest.mark.parametrize(("folds", "least"), [(2, 4), (3, 3), (5, 5)])
def test_fewest_chips_of_a_class(folds, least):
    assert min_chips_per_class({"strategy": "kfold", "folds": folds}) == least


def keys_without_description(schema, path=""):
    for name, child in schema.get("properties", {}).items():
        if isinstance(child, dict) and "description" not in child and "$ref" not in child:
            yield f"{path}.{name}"
        if isinstance(child, dict):
            yield from keys_without_description(child, f"{path}.{name}")
            yield from keys_without_description(child.get("items", {}), f"{path}.{name}[]")


def test_every_key_has_a_description():
    schema = load_schema()
    assert list(keys_without_description(schema)) == []
    for name, definition in schema["$defs"].items():
        assert list(keys_without_description(definition, name)) == []


def test_the_manual_is_generated_from_the_schema():
    manual = (ROOT / "config" / "README.md").read_text(encoding="utf-8")
    assert with_tables(manual) == manual, "run `make manual`"


ARCHIVE = {"type": "archive", "path": "chips.zip"}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ("study", "mine\n"),
        ("losses", {"ce\n": {"type": "ce"}}),
        ("dataset.sources", [ARCHIVE | {"sha256": f"{'0' * 64}\n"}]),
    ],
)
def test_a_line_break_at_the_end_of_a_name_is_refused(keys, value):
    """In Python, `$` also matches before a line break at the end."""
    with pytest.raises(StudyError, match=r"\\n"):
        resolve(changed(keys, value))


@pytest.mark.parametrize("text", ["", "  "])
@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ("predict.input", None),
        ("map.input", None),
        ("map.input", ["B02.tif", ...]),
        ("dataset.layout.table", None),
        ("dataset.sources", [{"type": "archive", "path": ...}]),
        ("dataset.sources", [{"type": "directory", "path": ...}]),
        ("backbones.tiny.weights", {"source": "file", "path": ...}),
    ],
)
def test_an_empty_path_is_refused(keys, value, text):
    """An empty path would be the folder of the project."""

    def fill(part):
        if isinstance(part, dict):
            return {key: fill(item) for key, item in part.items()}
        return [fill(item) for item in part] if isinstance(part, list) else text if part in (None, ...) else part

    config = changed(keys, fill(value))
    with pytest.raises(StudyError, match=r"the path is empty, as after a variable of the shell"):
        resolve(config)


@pytest.mark.parametrize(
    ("keys", "value"),
    [("predict.input", "a b"), ("predict.input", None), ("map.input", "a.tif"), ("map.input", ["B02.tif", "B03.tif"])],
)
def test_paths_pass(keys, value):
    section, key = keys.split(".")
    assert resolve(changed(keys, value))[section][key] == value


@pytest.mark.parametrize("value", [" ", " a", "a "])
def test_a_study_has_no_blanks_around_its_name(value):
    with pytest.raises(StudyError, match="has no blanks around it"):
        resolve(changed("study", value))


@pytest.mark.parametrize("code", ["a;b", "all"])
def test_a_code_has_no_semicolon_and_is_not_the_name_of_all_classes(code):
    with pytest.raises(StudyError, match="codes have no semicolon"):
        resolve(changed("dataset.classes.0.code", code))


def test_two_factors_have_no_contrast_of_one_name():
    """Tables know a contrast by its two names."""
    config = changed("losses.mlp", {"type": "ce"})
    config["losses"]["identity"] = {"type": "ce", "class_weights": "balanced"}
    config["grid"]["losses"] = ["mlp", "identity"]
    of_loss = {"factor": "loss", "a": "identity", "b": "mlp"}
    config["report"] = config.get("report", {}) | {"contrasts": [of_loss], "claims": []}
    resolve(config)
    config["report"]["contrasts"].append({"factor": "decoder", "a": "mlp", "b": "identity"})
    with pytest.raises(StudyError, match="compares 'identity' and 'mlp' as decoder and as loss"):
        resolve(config)


def test_a_contrast_in_both_directions_is_refused():
    forth = {"factor": "loss", "a": "weighted_focal", "b": "weighted_ce"}
    back = {"factor": "loss", "a": "weighted_ce", "b": "weighted_focal"}
    with pytest.raises(StudyError, match="which are one test"):
        resolve(changed("report.contrasts", [forth, back]))


FOREST = {"code": "forest", "name": "Forest"}


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        ("dataset.sources.0.path", "~nobody_x/a", "dataset.sources[0].path is '~nobody_x/a'; this machine has no user"),
        ("dataset.sources.0.path", "/a\0b", r"dataset.sources[0].path is '/a\x00b'; it must not contain"),
        ("title", "\ud83c\udf3e", r"title is '\ud83c\udf3e', with halves of a character"),
        ("backbones.tiny.weights", {"source": "file", "path": "~nobody_x/a.pt"}, "backbones.tiny.weights.path is"),
        (
            "dataset.sources",
            [{"type": "url", "url": "http://[::1/x.zip"}],
            "dataset.sources[0].url is no valid address",
        ),
        ("dataset.sources", [{"type": "url", "url": "http://host:99999/x.zip"}], "url is no valid address"),
        ("dataset.layout.crs", "foo", "dataset.layout.crs is 'foo', which is unknown; it must be"),
        # A vertical one, and one of positions from the centre of the Earth.
        ("dataset.layout.crs", "EPSG:5703", "which has no longitude and latitude"),
        ("dataset.layout.crs", "EPSG:4978", "which has no longitude and latitude"),
        ("dataset.layout.y_column", "lon", "x_column and y_column are the same column, 'lon'"),
        ("dataset.chip_size_px", 17, "dataset.chip_size_px is 17; it must be a multiple of 16 px"),
        (
            "dataset.classes",
            [FOREST, {"code": "1", "name": "A"}, {"code": "1.0", "name": "B"}],
            "the code '1' is given twice ('1' and '1.0' are read as one)",
        ),
        (
            "dataset.classes",
            [FOREST, {"code": "é", "name": "A"}, {"code": "e\u0301", "name": "B"}],
            r"the code 'é' is given twice ('\xe9' and 'e\u0301' are read as one)",
        ),
        (
            "dataset.classes",
            [FOREST, {"code": "a ", "name": "A"}, {"code": "b", "name": "a"}],
            "dataset.classes: 'a' is the code of one class and the name of another ('a ' and 'a' are read as one)",
        ),
        ("dataset.classes", [FOREST, {"code": " ", "name": "A"}], "dataset.classes[1].code is blank"),
        ("study", "a\u00a0b", r'study is "a\u00a0b"; it must match'),
        ("study", "a\u200bb", r'study is "a\u200bb"; it must match'),
        ("predict.name", "a/b", 'predict.name is "a/b"; allowed: null or string (at most 60 characters, regular'),
        ("map.input", [], "map.input is []; it must have at least 1 item(s)"),
        ("decoders.mlp.hidden", 0, 'is 0; allowed: integer (at least 1, at most 65536) or "embedding" or null'),
    ],
)
def test_values_that_no_job_could_use_are_told_at_the_start(keys, value, words):
    with pytest.raises(StudyError) as error:
        resolve(changed(keys, value, base="example"))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ("dataset.classes", [FOREST, {"code": "water", "name": "Water"}]),
        ("dataset.bands", ["BLUE", "GREEN", "RED", "NIR_BROAD", "SWIR_1", "SWIR_2"]),
        ("dataset.unit", "dn"),
        ("dataset.chip_size_px", 32),
    ],
)
def test_simulated_chips_are_described_as_they_are(keys, value):
    with pytest.raises(StudyError, match=rf"{keys} does not fit dataset\.sources\[0\]: simulated chips have "):
        resolve(changed(keys, value))


def test_common_values_of_the_dataset_are_allowed():
    for keys, value in (
        ("dataset.layout.crs", "EPSG:32632"),
        ("dataset.layout.crs", "EPSG:4258"),
        ("dataset.sources.0.path", "~/chips"),
        ("dataset.sources", [{"type": "url", "url": "https://user:pass@[::1]:8080/x.zip?y=1"}]),
        ("study", "my study ä"),
    ):
        resolve(changed(keys, value, base="example"))
