"""The files that decide the pixels of an image, also those that a VRT names."""

import tarfile
import zipfile

import pytest
import rasterio
from rasterio.shutil import copy

from helpers.chips import pixels, write_tif
from terralucas.data.rasters.image_files import files_of_raster


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("/vsizip/{folder}/a.zip/in/a.tif", "a.zip"),
        ("/vsizip/{{{folder}/a.zip}}/in/a.tif", "a.zip"),
        ("/vsizip/{folder}/{{a}}.zip/in/a.tif", "{a}.zip"),
        ("/vsizip/{{{folder}/{{a}}.zip}}/in/a.tif", "{a}.zip"),
        ("/vsitar/{folder}/a.tar/in/a.tif", "a.tar"),
    ],
)
def test_the_archive_that_a_vrt_reads_is_one_of_its_files(tmp_path, name, archive):
    image = write_tif(tmp_path / "a.tif", pixels(1))
    for zipped in ("a.zip", "{a}.zip"):
        with zipfile.ZipFile(tmp_path / zipped, "w") as written:
            written.write(image, "in/a.tif")
    with tarfile.open(tmp_path / "a.tar", "w") as written:
        written.add(image, "in/a.tif")
    source = name.format(folder=tmp_path)
    copy(str(image), tmp_path / "a.vrt", driver="VRT")
    text = (tmp_path / "a.vrt").read_text()
    text = text.replace('relativeToVRT="1">a.tif<', f'relativeToVRT="0">{source}<')
    assert source in text
    (tmp_path / "a.vrt").write_text(text)
    with rasterio.open(tmp_path / "a.vrt") as opened:
        assert (opened.read(1) == pixels(1)[0]).all()
    assert tmp_path / archive in files_of_raster(tmp_path / "a.vrt")
