"""Memory does not grow with the scene."""

import subprocess
import sys

import pytest
import rasterio

from helpers.chips import BANDS
from helpers.paths import ROOT, SCRIPTS
from helpers.scenes import LEFT, TOP, noise, write_scene

pytestmark = pytest.mark.slow

SIDE = 20_000
MAPPED = """
import sys
import torch
from pathlib import Path
from helpers.scenes import FakePredictor, make_selected
from terralucas.device import peak_memory_mib
from terralucas.mapping.plan import make_plan
from terralucas.mapping.strip_files import Strip, missing_strips, strip_path
from terralucas.mapping.strips import map_strips
from terralucas.mapping.write import write_map
from terralucas.predict.options import PredictOptions

folder, selected = Path(sys.argv[1]), make_selected()
plan = make_plan([folder / "scene.vrt"], selected, 400.0, PredictOptions(), folder / "plan.json")
strips = missing_strips(plan, folder / "strips")
# Some strips of the whole width; the others are empty.
map_strips(plan, FakePredictor(selected, plan.options), strips[10:13], folder / "strips", progress=False)
for number in missing_strips(plan, folder / "strips"):
    strip = Strip.empty(len(plan.grid.strips[number]), plan.grid.columns, 4, 3)
    strip.write(strip_path(folder / "strips", number), plan.fingerprint)
content = write_map(plan, selected, folder / "strips", folder)
print(content["cells"], content["predicted"], peak_memory_mib(torch.device("cpu"))["cpu"])
"""


def test_a_scene_of_20000_by_20000_pixels_needs_less_than_2_gb(tmp_path):
    """A small scene that GDAL stretches: its 9.6 GB of float32 would not fit."""
    write_scene(tmp_path / "small.tif", noise(200, 200))
    # Without a georeference, an image is where the VRT shows it.
    with rasterio.open(tmp_path / "small.tif") as source:
        values = source.read()
    with rasterio.open(
        tmp_path / "small.tif", "w", driver="GTiff", height=200, width=200, count=len(values), dtype=values.dtype
    ) as target:
        target.write(values)
    band = (
        '<VRTRasterBand dataType="Float32" band="{0}"><SimpleSource resampling="bilinear">'
        '<SourceFilename relativeToVRT="1">small.tif</SourceFilename><SourceBand>{0}</SourceBand>'
        '<SrcRect xOff="0" yOff="0" xSize="200" ySize="200"/><DstRect xOff="0" yOff="0" xSize="{1}" ySize="{1}"/>'
        "</SimpleSource></VRTRasterBand>"
    )
    bands = "".join(band.format(number, SIDE) for number in range(1, len(BANDS) + 1))
    (tmp_path / "scene.vrt").write_text(
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><SRS>EPSG:32632</SRS>'
        f"<GeoTransform>{LEFT}, 10, 0, {TOP}, 0, -10</GeoTransform>{bands}</VRTDataset>"
    )
    done = subprocess.run(
        [sys.executable, "-c", MAPPED, str(tmp_path)],
        env={"PYTHONPATH": f"{SCRIPTS}:{ROOT / 'tests'}", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    cells, predicted, peak_mib = map(float, done.stdout.split())
    assert cells == 500**2
    assert predicted > 4000
    assert peak_mib < 2e9 / 2**20
