"""A finished export, as far as its record tells."""

import json

import pytest

from terralucas.files import sha256_of_file


@pytest.fixture
def exported(tmp_path):
    folder = tmp_path / "exported"
    (folder / "models/seed-0").mkdir(parents=True)
    names = ["README.md", "model.onnx", "models/seed-0/config.json"]
    for name in names:
        (folder / name).write_text(name)
    record = {name: {"sha256": sha256_of_file(folder / name), "bytes": 1} for name in names}
    (folder / "export.json").write_text(json.dumps({"files": record}))
    (folder / ".snakemake_timestamp").touch()
    return folder
