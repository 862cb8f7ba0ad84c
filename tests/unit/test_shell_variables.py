"""Variables of the shell that name GDAL or PROJ of another installation, as QGIS, PostGIS and conda set them."""

import os
import subprocess
import sys

import pytest

from helpers.paths import ROOT

SCRIPTS = ROOT / "workflow" / "scripts"
PLACE = """
import terralucas.predict.new_chips
from terralucas.data.dataset import ClassSpec, DatasetSpec, LayoutSpec
from terralucas.data.places import locate
layout = LayoutSpec("table", "t.csv", "id", "class", x_column="x", y_column="y")
print(*map(round, locate("a", "10.0", "52.0", DatasetSpec("d", layout, (ClassSpec("1", "one"),), ("RED",)))))
"""


def run(code, **variables):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(SCRIPTS)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_data_of_another_installation_are_ignored_and_told_in_one_line(tmp_path):
    variables = dict.fromkeys(("PROJ_DATA", "PROJ_LIB", "GDAL_DATA", "GDAL_DRIVER_PATH"), str(tmp_path))
    done = run(PLACE, **variables)
    # The origin of EPSG:3035 (EPSG registry: 52 N, 10 E; false easting 4,321,000 m, false northing 3,210,000 m).
    assert done.stdout.split() == ["4321000", "3210000"]
    assert done.stderr.splitlines() == [
        "PROJ_DATA, PROJ_LIB, GDAL_DATA, GDAL_DRIVER_PATH of your shell are ignored; they name GDAL or PROJ of another "
        "installation"
    ]


@pytest.mark.parametrize("value", [f"{sys.prefix}/share/proj", None])
def test_variables_of_this_environment_are_kept_without_a_word(value):
    variables = {} if value is None else {"PROJ_DATA": value}
    done = run("import os, terralucas; print(os.environ.get('PROJ_DATA'))", **variables)
    assert (done.stdout.strip(), done.stderr) == (str(value), "")
