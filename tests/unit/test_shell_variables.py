"""Variables of the shell that name GDAL or PROJ of another installation, as QGIS, PostGIS and conda set them."""

import os
import subprocess
import sys

import numpy as np
import pytest

from helpers.chips import write_tif
from helpers.paths import ROOT

SCRIPTS = ROOT / "workflow" / "scripts"
PLACE = """
import terralucas.predict.new_chips
from terralucas.data.dataset import ClassSpec, DatasetSpec, LayoutSpec
from terralucas.data.discovery.places import locate
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


READ = """
import sys
from pathlib import Path
from helpers.chips import make_spec
from terralucas.data.chips.chip_files import read_chip
import numpy as np
print(float(np.isnan(read_chip(Path(sys.argv[1]), make_spec(unit="dn", bands=["RED", "GREEN"]))).mean()))
"""


def test_options_of_gdal_in_the_shell_do_not_change_what_is_read(tmp_path):
    """The nodata value of the chip is in the file beside it, which is not read with this option."""
    values = np.full((2, 32, 32), 500, np.uint16)
    values[:, :8] = 7
    write_tif(tmp_path / "a.tif", values)
    band = '<PAMRasterBand band="{}"><NoDataValue>7</NoDataValue></PAMRasterBand>'
    text = f"<PAMDataset>{band.format(1)}{band.format(2)}</PAMDataset>"
    (tmp_path / "a.tif.aux.xml").write_text(text, encoding="utf-8")
    code = READ.replace("sys.argv[1]", repr(str(tmp_path / "a.tif")))
    path = f"{SCRIPTS}{os.pathsep}{ROOT / 'tests'}"
    done = run(code, GDAL_GEOREF_SOURCES="INTERNAL", GDAL_PAM_ENABLED="NO", PYTHONPATH=path)
    assert float(done.stdout) == 0.25
    assert "GDAL_GEOREF_SOURCES, GDAL_PAM_ENABLED of your shell are ignored; they change what GDAL reads" in done.stderr


@pytest.mark.parametrize("value", [f"{sys.prefix}/share/proj", None])
def test_variables_of_this_environment_are_kept_without_a_word(value):
    variables = {} if value is None else {"PROJ_DATA": value}
    done = run("import os, terralucas; print(os.environ.get('PROJ_DATA'))", **variables)
    assert (done.stdout.strip(), done.stderr) == (str(value), "")


def test_options_in_the_configuration_file_of_gdal_do_not_change_what_is_read(tmp_path):
    (tmp_path / ".gdal").mkdir()
    (tmp_path / ".gdal/gdalrc").write_text("[configoptions]\nGTIFF_IGNORE_READ_ERRORS=YES\n")
    asked = "from rasterio.env import Env, get_gdal_config\n" + (
        "with Env() as env:\n    env.drivers()\n    print(get_gdal_config('GTIFF_IGNORE_READ_ERRORS'))"
    )
    # The variable of this process, which has imported the package, would keep GDAL from the file.
    without = "import os\nos.environ.pop('GDAL_CONFIG_FILE', None)\n"
    assert run(without + asked, HOME=str(tmp_path)).stdout.strip() == "YES", "GDAL reads it"
    done = run(f"{without}import terralucas\n{asked}", HOME=str(tmp_path))
    assert done.stdout.strip() == "None"
    assert done.stderr == ""
    assert run("import terralucas", GDAL_CONFIG_FILE=os.devnull).stderr == "", "as a process of this one"
