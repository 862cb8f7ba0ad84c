"""The model card: what it says of intervals, and that names are shown as they are."""

import pandas as pd
import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from terralucas.export.model_card import StudyTables, make_card
from terralucas.export.terratorch_model import TerraTorchModel

RECIPE = {"backbone": "tiny", "loss": "ce", "decoder": "mlp"}


def record(**changes):
    return {
        "study": "demo", "recipe": RECIPE, "method": "ensemble", "models": ["models/seed-0", "models/seed-1"],
        "weights": {"source": "random", "seed": 0}, "chips": {"simulated": True, "number": 60},
        "dataset": {"name": "my chips", "point_ids": "lucas"}, "scores": {"meaning": "Of single models."},
        "reason": ["The study has one recipe."],
    } | changes  # fmt: skip


def tables(names=("Water", "Grass"), method="crossed_percentile"):
    interval = {"pooled": 0.6, "crossed_low": 0.5, "crossed_high": 0.7, "crossed_interval": method, "level": 0.95}
    interval |= {"mean": 0.6, "seeds_low": 0.4, "seeds_high": 0.8, "wilson_low": 0.5, "wilson_high": 0.7, "n": 30}
    row = RECIPE | {"classes": "all"} | interval
    classes = pd.DataFrame([{"class_code": str(code), "class_name": name, "n": 30} for code, name in enumerate(names)])
    scores = ("recall", "precision", "f1")
    per_class = [row | dict(each) | {"metric": score} for _, each in classes.iterrows() for score in scores]
    summary = [row | {"metric": metric} for metric in ("macro_accuracy", "ece")]
    return StudyTables(pd.DataFrame(summary), pd.DataFrame(per_class), classes)


def card(names=("Water", "Grass"), method="crossed_percentile", **changes):
    content = record(**changes)
    description = {
        "study": content["study"], "recipe": RECIPE, "backbone": "tiny", "bands": ["RED", "NIR"], "unit": "dn",
        "unit_in_words": "DN", "missing_pixels": "A missing pixel is replaced.", "side_px": 64, "pixel_size_m": 10,
        "classes": [{"code": str(code), "name": name} for code, name in enumerate(names)],
    }  # fmt: skip
    return make_card(content, description, "frozen", tables(names, method), TerraTorchModel({}))


@pytest.mark.parametrize(
    ("method", "meaning"),
    [("crossed_percentile", "new seeds and new chips"), ("chips_percentile", "new chips alone")],
)
def test_it_says_what_an_interval_is_for(method, meaning):
    """With one seed, an interval is not for new seeds: statistics.crossed_interval names it `chips`."""
    text = card(method=method)
    assert f"| Macro accuracy | 60.0\u00a0% | [50.0, 70.0] ({meaning}) |" in text
    assert f"intervals for {meaning} of precision and F1" in text
    assert ("new seeds and new chips" in text) == (meaning == "new seeds and new chips")
    assert "[0.400, 0.800] (new seeds) |" in text, "of a score that pooling changes"


def test_with_temperatures_it_gives_the_scores_after_scaling():
    values = {"ece": {"value": 0.1, "low": 0.05, "high": 0.15}, "macro_accuracy": {"value": 0.6}}
    scaled = card(temperatures=[1.2, 1.5], scores={"meaning": "Of single models.", "values": values})
    assert "| 0.100 | [0.050, 0.150] (new seeds) |" in scaled
    assert "[0.400, 0.800] (new seeds) |" not in scaled, "that of before"
    assert "| Macro accuracy | 60.0\u00a0% | [50.0, 70.0]" in scaled
    assert "(1.20, 1.50; 1.00 where all of them are right). The mean over the models may" in scaled
    assert [each["value"] for each in yaml.safe_load(scaled.split("---")[1])["model-index"][0]["results"][0]["metrics"]]
    single = card(temperatures=[1.2], models=["models/all-chips"], scores={"meaning": "Of it.", "values": values})
    assert "The mean over the models may" not in single


@pytest.mark.parametrize("model", ["models/seed-5", "models/all-chips"])
def test_its_example_reads_a_model_that_is_there(model):
    assert f'Path("{model}/config.json")' in card(models=[model])
    assert "seed-0" not in card(models=[model])


NAMES = [
    "a\\|b", "a|b", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "**bold**", "_so_", "[x](http://y.org)",
    "![x](y)", "`code`", "&lt;", "~~gone~~", "$x$", "Test #", "1. one", "# one", "> one", "it's \"so\": yes", "a\\",
    "null", "a\n---\nb", "Äcker & Wiesen",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is(name):
    """Read by another implementation of CommonMark, which takes HTML in Markdown for HTML."""
    text = card(
        names=(name, "Grass"), study=name, dataset={"name": name, "point_ids": "lucas"},
        weights={"source": "huggingface", "repo": "a_/_b", "commit": "0", "sha256": "0"},
    )  # fmt: skip
    parsed = ModelCard(text)
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(parsed.text)
    shown = [token for token in tokens if token.type == "inline"]
    assert "html_block" not in {token.type for token in tokens}
    kinds = {child.type for token in shown for child in token.children}
    assert kinds <= {"text", "text_special", "softbreak", "code_inline", "strong_open", "strong_close"}
    texts = ["".join(child.content or " " for child in token.children) for token in shown]
    flat = " ".join(name.splitlines())
    assert texts[0] == f"Land cover of the study {flat}"
    assert texts.count(flat) == 2, "in the tables of classes and scores"
    assert any(each.startswith(f"Dataset {flat}: 60 simulated chips.") for each in texts)
    assert any("weights of a_/_b, commit 0" in each for each in texts)
    front = yaml.safe_load(text.split("\n---\n")[0])["model-index"][0]
    assert (front["name"], front["results"][0]["dataset"]["name"]) == (name, name)
