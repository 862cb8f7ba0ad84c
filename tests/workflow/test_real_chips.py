"""A study over real Sentinel-2 chips, where a folder of them is given."""

import pandas as pd
import pytest

from helpers.real_chips import FOLDER, needs_real_chips

pytestmark = pytest.mark.workflow


@needs_real_chips
def test_other_peoples_chips_run_to_the_report(project):
    classes = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
    config = {
        "study": "real",
        "dataset": {
            "name": "real chips",
            "sources": [{"type": "directory", "path": str(FOLDER)}],
            "layout": {
                "labels": "table", "table": "labels.csv", "id_column": "file", "file_column": "file",
                "label_column": "class", "x_column": "lon", "y_column": "lat",
            },
            "classes": [{"code": name, "name": name} for name in classes],
            "bands": ["BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2"],
            "unit": "dn",
            "point_ids": "none",
        },
        "normalisation": "pretraining",
        "backbones": {"tiny": {"model": "terramind_v1_tiny", "weights": {"source": "random"}}},
        "losses": {"ce": {"type": "ce"}},
        "decoders": {"identity": {"pooling": "mean"}},
        "grid": {"backbones": ["tiny"], "losses": ["ce"], "decoders": ["identity"], "seeds": [0, 1]},
        "training": {"epochs": 30, "learning_rate": 0.01},
    }  # fmt: skip
    project.write_config(config, "real")
    project.snakemake("--cores", 2, "--configfile", "config/real.yaml")
    folder = project.folder / "results" / "real"
    runs = pd.read_csv(folder / "tables" / "runs.csv")
    assert runs["n_test"].tolist() == [20, 20]
    assert runs["macro_accuracy"].mean() > 0.2, "ten classes, guessing gives 0.1"
    index = pd.read_parquet(folder / "data" / "chips.parquet")
    assert index["easting_m"].notna().all()
    assert "real chips" in (folder / "report.html").read_text(encoding="utf-8")
