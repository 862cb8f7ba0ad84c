"""Whether runs were trained on the features, chips and weights of the study."""

import json

import pytest

from terralucas.errors import StudyError
from terralucas.statistics.run_inputs import inputs_of_run, inputs_of_study, require_inputs

RANDOM, FILE = {"source": "random", "seed": 3, "sha256": None}, {"source": "file", "seed": 0, "sha256": "w"}


@pytest.fixture
def study(tmp_path):
    """Features of two kinds for the frozen backbone a, chips for the tuned b, and its weights."""
    for name, content in {
        "pooled": {"backbone": "a", "sha256": "p", "weights": RANDOM},
        "tokens": {"backbone": "a", "sha256": "t", "weights": RANDOM},
        "packed": {"sha256": "chips"},
        "b": FILE,
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    features = [str(tmp_path / f"{name}.json") for name in ("pooled", "tokens")]
    return inputs_of_study(features, str(tmp_path / "packed.json"), [str(tmp_path / "b.json")])


def run_of(backbone, sha256, weights):
    features = {"sha256": sha256, "weights": weights} if sha256 else {}
    return {
        "run": f"{backbone}/{sha256}", "settings": {"backbone": backbone}, "inputs": inputs_of_run(features),
    }  # fmt: skip


def test_runs_of_the_study_are_taken(study):
    runs = [("a", "p", RANDOM), ("a", "t", RANDOM), ("b", "chips", FILE), ("b", "chips", FILE | {"path": "elsewhere"})]
    require_inputs([run_of(*each) for each in runs], study)
    # A record of an earlier version does not say it.
    require_inputs([run_of("a", "", RANDOM)], study)


@pytest.mark.parametrize(
    "other", [("a", "chips", RANDOM), ("a", "q", RANDOM), ("b", "chips", FILE | {"sha256": "v"}), ("b", "p", FILE)]
)
def test_runs_of_others_are_refused(study, other):
    with pytest.raises(StudyError, match=f"others in 1 run.s.: {other[0]}/{other[1]}"):
        require_inputs([run_of("a", "p", RANDOM), run_of(*other)], study)
