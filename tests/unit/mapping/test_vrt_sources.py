"""What a VRT has lost of its images is told: GDAL reads their pixels without their masks, tags and nodata values."""

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy
from rasterio.vrt import WarpedVRT

from helpers.chips import BANDS, make_spec
from helpers.scenes import LEFT, TOP, noise, write_scene
from terralucas.data.rewrite.__main__ import main as rewrite_image
from terralucas.errors import StudyError
from terralucas.mapping.scene import SceneReader, find_scene

SIDE = 64


def write_image(path, values=None, tags=None, mask=None, nodata=None):
    values = np.rint(noise(SIDE, SIDE) * 10_000).astype(np.uint16) if values is None else values
    write_scene(path, values, nodata=nodata)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as target:
        if tags is not None:
            target.scales, target.offsets = [tags[0]] * 6, [tags[1]] * 6
        if mask is not None:
            target.write_mask(mask)
    return path


def write_vrt(path, images, of_band="", kind="SimpleSource", of_source="", is_relative=True):
    """Write a VRT of six bands by hand, with a part of each of its images."""
    width = SIDE // len(images)
    bands = [
        f'<VRTRasterBand dataType="UInt16" band="{band}">{of_band}'
        + "".join(
            f'<{kind}><SourceFilename relativeToVRT="{int(is_relative)}">{image.name if is_relative else image}'
            f"</SourceFilename><SourceBand>{band}</SourceBand>"
            f'<SrcRect xOff="{place * width}" yOff="0" xSize="{width}" ySize="{SIDE}"/>'
            f'<DstRect xOff="{place * width}" yOff="0" xSize="{width}" ySize="{SIDE}"/>{of_source}</{kind}>'
            for place, image in enumerate(images)
        )
        + "</VRTRasterBand>"
        for band in range(1, 7)
    ]
    path.write_text(
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><SRS>EPSG:32632</SRS>'
        f"<GeoTransform>{LEFT},10,0,{TOP},0,-10</GeoTransform>{''.join(bands)}</VRTDataset>"
    )
    return path


def find(path, **changes):
    return find_scene([path], make_spec(unit="dn", point_ids="none", bands=BANDS, **changes), 10)


OFFSET, TAGS = (1e-4, -0.1), "<Offset>-0.1</Offset><Scale>0.0001</Scale>"
UNTAGGED, SCALED = None, (1e-4, 0.0)


@pytest.mark.parametrize(
    ("tags", "of_band", "is_lost"),
    [
        ([OFFSET, OFFSET], TAGS, False),
        # GDAL takes those of the first image for all.
        ([OFFSET, UNTAGGED], TAGS, True),
        ([UNTAGGED, OFFSET], "", True),
        ([OFFSET], "", True),
        # A VRT is the way to give an image tags without writing it again.
        ([UNTAGGED], TAGS, False),
        ([SCALED], TAGS, False),
        # In DN, this scale changes nothing.
        ([SCALED], "", False),
        ([SCALED, UNTAGGED], "", False),
        ([OFFSET], "<Scale>0.0001</Scale>", True),
        ([OFFSET], "<Offset>-0.05</Offset><Scale>0.0001</Scale>", True),
    ],
)
@pytest.mark.parametrize("is_relative", [True, False])
def test_tags_of_images_that_a_vrt_has_lost_or_mixes_are_refused(tmp_path, tags, of_band, is_lost, is_relative):
    images = [write_image(tmp_path / f"{number}.tif", tags=own) for number, own in enumerate(tags)]
    path = write_vrt(tmp_path / "a.vrt", images, of_band, is_relative=is_relative)
    if is_lost:
        with pytest.raises(StudyError, match="has other tags of scale and offset than its images"):
            find(path)
    else:
        find(path)


def test_a_vrt_that_applies_the_tags_of_its_images_is_right(tmp_path):
    image = write_image(tmp_path / "a.tif", tags=OFFSET)
    applied = "<ScaleOffset>-1000</ScaleOffset><ScaleRatio>1</ScaleRatio>"
    find(write_vrt(tmp_path / "a.vrt", [image], kind="ComplexSource", of_source=applied))
    nothing = "<ScaleOffset>0</ScaleOffset><ScaleRatio>1</ScaleRatio>"
    with pytest.raises(StudyError, match="has other tags of scale and offset than its images"):
        find(write_vrt(tmp_path / "b.vrt", [image], kind="ComplexSource", of_source=nothing))


def test_bands_that_the_study_does_not_use_are_not_compared(tmp_path):
    values = np.rint(noise(SIDE, SIDE) * 10_000).astype(np.uint16)
    image = write_scene(tmp_path / "a.tif", np.concatenate([values, values[:1]]), [*BANDS, "AOT"])
    with rasterio.open(image, "r+") as target:
        target.scales = [1.0] * 6 + [0.001]
    copy(image, tmp_path / "a.vrt", driver="VRT")
    path = tmp_path / "a.vrt"
    path.write_text(path.read_text().replace("<Scale>0.001</Scale>", ""))
    find(path)


def test_a_nodata_value_with_few_digits_is_the_same(tmp_path):
    """As programs write the least of 32 bits."""
    values = noise(SIDE, SIDE) * 10_000
    values[:, :9] = np.finfo(np.float32).min
    image = write_image(tmp_path / "a.tif", values, nodata=float(np.finfo(np.float32).min))
    path = write_vrt(tmp_path / "a.vrt", [image], "<NoDataValue>-3.40282e+38</NoDataValue>")
    path.write_text(path.read_text().replace("UInt16", "Float32"))
    find(path)
    find(path, nodata=-3.40282e38)


HOLES = np.full((SIDE, SIDE), 255, np.uint8)
HOLES[:9] = 0


@pytest.mark.parametrize(("mask", "is_lost"), [(HOLES, True), (np.full_like(HOLES, 255), False)])
def test_masks_of_images_that_a_vrt_has_lost_are_refused(tmp_path, mask, is_lost):
    image = write_image(tmp_path / "a.tif", mask=mask)
    copy(image, tmp_path / "kept.vrt", driver="VRT")
    find(tmp_path / "kept.vrt")
    path = write_vrt(tmp_path / "a.vrt", [image])
    # Also behind another VRT.
    (tmp_path / "inner.xml").write_text(path.read_text())
    outer = write_vrt(tmp_path / "outer.vrt", [tmp_path / "inner.xml"])
    for each in (path, outer):
        if is_lost:
            with pytest.raises(StudyError, match="reads missing pixels of its images") as error:
                find(each)
            assert error.value.found == f"a mask of {image}; band 1 of the VRT does not mark these pixels as missing"
        else:
            find(each)


def test_a_vrt_behind_a_link_is_compared_with_its_images(tmp_path):
    (tmp_path / "other").mkdir()
    write_vrt(tmp_path / "a.vrt", [write_image(tmp_path / "a.tif", mask=HOLES)])
    (tmp_path / "other" / "link.vrt").symlink_to(tmp_path / "a.vrt")
    with pytest.raises(StudyError, match="reads missing pixels of its images"):
        find(tmp_path / "other" / "link.vrt")


@pytest.mark.parametrize("element", ["<NODATA>1234</NODATA>", "<UseMaskBand>true</UseMaskBand>"])
def test_missing_pixels_that_become_0_in_a_vrt_are_refused(tmp_path, element):
    """As `gdalbuildvrt -vrtnodata None` and `-hidenodata` write it."""
    values = np.rint(noise(SIDE, SIDE) * 10_000).astype(np.uint16)
    values[:, :9] = 1234
    of_image = {"nodata": 1234} if "NODATA" in element else {"mask": HOLES}
    image = write_image(tmp_path / "a.tif", values, **of_image)
    path = write_vrt(tmp_path / "a.vrt", [image], kind="ComplexSource", of_source=element)
    with pytest.raises(StudyError, match="reads missing pixels of its images"):
        find(path, nodata=1234)


def test_a_warped_vrt_without_the_mask_of_its_image_is_refused(tmp_path):
    image = write_image(tmp_path / "a.tif", mask=HOLES)
    with rasterio.open(image) as source, WarpedVRT(source, nodata=None) as warped:
        copy(warped, tmp_path / "a.vrt", driver="VRT")
    with pytest.raises(StudyError, match="reads missing pixels of its images"):
        find(tmp_path / "a.vrt")


def test_a_nodata_value_that_a_vrt_has_lost_is_refused(tmp_path):
    values = np.rint(noise(SIDE, SIDE) * 10_000).astype(np.uint16)
    values[:, 3:9] = 1234
    image = write_image(tmp_path / "a.tif", values, nodata=1234)
    path = write_vrt(tmp_path / "lost.vrt", [image])
    with pytest.raises(StudyError, match="reads missing pixels") as error:
        find(path)
    assert "the nodata value 1234 of" in error.value.found
    find(path, nodata=1234)
    find(write_vrt(tmp_path / "kept.vrt", [image], "<NoDataValue>1234</NoDataValue>"))
    of_source = "<NODATA>1234</NODATA>"
    find(write_vrt(tmp_path / "b.vrt", [image], "<NoDataValue>0</NoDataValue>", "ComplexSource", of_source))
    # A value that no pixel has is no loss.
    find(write_vrt(tmp_path / "c.vrt", [write_image(tmp_path / "b.tif", nodata=65535)]))


def test_images_whose_bands_have_another_order_than_the_vrt_are_refused(tmp_path):
    """A mosaic has the descriptions of its first image."""
    for name, order in (("a.tif", BANDS), ("b.tif", BANDS[::-1])):
        with rasterio.open(write_image(tmp_path / name), "r+") as target:
            target.descriptions = order
    find(write_vrt(tmp_path / "right.vrt", [tmp_path / "a.tif", tmp_path / "a.tif"]))
    with pytest.raises(StudyError, match="has the bands of an image in another order than the image") as error:
        find(write_vrt(tmp_path / "mixed.vrt", [tmp_path / "a.tif", tmp_path / "b.tif"]))
    assert f"{tmp_path / 'b.tif'} describes its bands as" in error.value.found
    find(tmp_path / "mixed.vrt", checks={"band_descriptions": False})


def test_layers_that_are_only_counted_say_nothing(tmp_path):
    """As R names them by the file."""
    image = write_image(tmp_path / "a.tif")
    with rasterio.open(image, "r+") as target:
        target.descriptions = [f"blue_area_{number}" for number in range(1, 7)]
    find(image)
    find(write_vrt(tmp_path / "a.vrt", [image]))


@pytest.mark.parametrize("text", ["é", "a & b", "<?xml version='1.0'?>"])
def test_a_vrt_that_only_gdal_can_parse_is_compared_too(tmp_path, text):
    path = write_vrt(tmp_path / "a.vrt", [write_image(tmp_path / "a.tif", tags=OFFSET)])
    content = path.read_text()
    if text.startswith("<"):
        content = text + content.replace("<SRS>", "<Metadata><MDI key='a'>é</MDI></Metadata><SRS>")
    else:
        content = content.replace("<SRS>", f"<Metadata><MDI key='a'>{text}</MDI></Metadata><SRS>")
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(StudyError, match="has other tags of scale and offset than its images"):
        find(path)


def test_vrts_that_name_each_other_are_looked_at_once(tmp_path):
    for name, other in (("a.vrt", "b.vrt"), ("b.vrt", "a.vrt")):
        write_vrt(tmp_path / name, [tmp_path / other])
    find(tmp_path / "a.vrt")


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def image_with_nodata(path, nodata):
    values = np.rint(noise(SIDE, SIDE) * 10_000).astype(np.uint16)
    values[:, :9] = nodata
    return write_image(path, values, nodata=nodata)


@pytest.mark.parametrize(
    ("old", "new"),
    [("relativeToVRT", "relativetoVRT"), ("SourceFilename", "SourceFileName"), (">a.tif<", ">\n  a.tif<")],
)
def test_a_vrt_is_read_as_gdal_reads_it(tmp_path, old, new):
    path = write_vrt(tmp_path / "a.vrt", [write_image(tmp_path / "a.tif", tags=OFFSET)])
    with pytest.raises(StudyError, match="has other tags"):
        find(rewrite(path, old, new))


def test_metadata_in_latin_1_change_no_name(tmp_path):
    folder = tmp_path / "Fläche"
    folder.mkdir()
    path = write_vrt(folder / "a.vrt", [write_image(folder / "a.tif", tags=OFFSET)], is_relative=False)
    path.write_bytes(path.read_bytes().replace(b"<SRS>", b"<Metadata><MDI key='a'>\xe9</MDI></Metadata><SRS>"))
    with pytest.raises(StudyError, match="has other tags"):
        find(path)


@pytest.mark.parametrize(
    ("kind", "of_source"),
    [("SimpleSource", "<NODATA>777</NODATA>"), ("SimpleSource", "<UseMaskBand>true</UseMaskBand>"),
     ("ComplexSource", "<UseMaskBand>false</UseMaskBand>"), ("ComplexSource", "<NODATA>nan</NODATA>")],
)  # fmt: skip
def test_a_nodata_value_that_gdal_does_not_replace_is_read_as_data(tmp_path, kind, of_source):
    image = image_with_nodata(tmp_path / "a.tif", 777)
    path = write_vrt(tmp_path / "a.vrt", [image], "<NoDataValue>0</NoDataValue>", kind, of_source)
    with rasterio.open(path) as source:
        assert (source.read(1)[:9] == 777).all()
    with pytest.raises(StudyError, match="reads missing pixels of its images"):
        find(path)


def test_a_warped_vrt_that_replaces_no_nodata_value_is_refused(tmp_path):
    with rasterio.open(image_with_nodata(tmp_path / "a.tif", 777)) as source:
        with WarpedVRT(source, src_nodata=None, nodata=0) as warped:
            copy(warped, tmp_path / "lost.vrt", driver="VRT")
        with WarpedVRT(source) as warped:
            copy(warped, tmp_path / "kept.vrt", driver="VRT")
    with pytest.raises(StudyError, match="reads missing pixels of its images"):
        find(tmp_path / "lost.vrt")
    find(tmp_path / "kept.vrt")


@pytest.mark.parametrize("of_source", ["<NODATA>777</NODATA>", "<UseMaskBand>true</UseMaskBand>"])
def test_missing_pixels_that_become_0_are_missing_where_the_study_says_so(tmp_path, of_source):
    path = write_vrt(tmp_path / "a.vrt", [image_with_nodata(tmp_path / "a.tif", 777)], "", "ComplexSource", of_source)
    with rasterio.open(path) as source:
        assert (source.read(1)[:9] == 0).all()
    find(path, nodata=0)


def test_each_band_of_a_large_image_is_looked_at_where_only_the_first_keeps_the_nodata_value(tmp_path):
    side = 2100
    values = np.rint(noise(side, side) * 10_000).astype(np.uint16)
    values[:, :600] = 777
    write_scene(tmp_path / "a.tif", values, nodata=777)
    path = rewrite(write_vrt(tmp_path / "a.vrt", [tmp_path / "a.tif"]), f'"{SIDE}"', f'"{side}"')
    with pytest.raises(StudyError, match="reads missing pixels of its images"):
        find(rewrite(path, 'band="1">', 'band="1"><NoDataValue>777</NoDataValue>'))


def test_images_behind_names_of_gdal_are_compared(tmp_path):
    image = write_image(tmp_path / "a.tif")
    tagged = write_image(tmp_path / "tagged.tif", tags=OFFSET)
    path = write_vrt(tmp_path / "a.vrt", [image], is_relative=False)
    find(rewrite(path, f">{image}<", f">vrt://{image}?bands=1,2,3,4,5,6<"))
    with pytest.raises(StudyError, match="has other tags"):
        find(rewrite(path, f"vrt://{image}?", f"vrt://{tagged}?"))


def test_a_name_that_cannot_be_opened_from_here_is_refused(tmp_path):
    write_image(tmp_path / "a.tif", tags=OFFSET)
    path = write_vrt(tmp_path / "a.vrt", [tmp_path / "a.tif"])
    with pytest.raises(StudyError, match="cannot be compared with its images"):
        find(rewrite(path, ">a.tif<", ">GTIFF_DIR:1:a.tif<"))


def test_a_band_that_an_inner_vrt_does_not_have_is_told(tmp_path):
    inner = write_vrt(tmp_path / "inner.vrt", [write_image(tmp_path / "a.tif")])
    path = rewrite(write_vrt(tmp_path / "a.vrt", [inner]), "<SourceBand>6<", "<SourceBand>9<")
    spec = make_spec(unit="dn", point_ids="none", bands=BANDS)
    with SceneReader(find_scene([path], spec, 10), spec) as reader, pytest.raises(StudyError, match="cannot be read"):
        reader.read(0, 0, SIDE, SIDE)


def test_a_mask_is_compared_beside_a_nodata_value_and_the_other_way_round(tmp_path):
    values = np.rint(noise(SIDE, SIDE) * 10_000).astype(np.uint16)
    image = write_image(tmp_path / "both.tif", values, mask=HOLES, nodata=0)
    for text in ("", "<NoDataValue>0</NoDataValue>"):
        with pytest.raises(StudyError, match="reads missing pixels of its images"):
            find(write_vrt(tmp_path / "a.vrt", [image], text), nodata=0)
    mask = "<MaskBand><VRTRasterBand dataType='Byte'><SimpleSource><SourceFilename relativeToVRT='1'>both.tif"
    mask += "</SourceFilename><SourceBand>mask,1</SourceBand></SimpleSource></VRTRasterBand></MaskBand></VRTDataset>"
    find(rewrite(write_vrt(tmp_path / "a.vrt", [image]), "</VRTDataset>", mask))
    values[:, -9:] = 1234
    write_image(image, values, mask=HOLES, nodata=1234)
    with pytest.raises(StudyError, match="reads missing pixels of its images"):
        find(rewrite(write_vrt(tmp_path / "a.vrt", [image]), "</VRTDataset>", mask))


def test_a_hidden_nodata_value_is_missing_where_the_study_says_so(tmp_path):
    image = image_with_nodata(tmp_path / "a.tif", 777)
    hidden = "<NoDataValue>777</NoDataValue><HideNoDataValue>1</HideNoDataValue>"
    path = write_vrt(tmp_path / "a.vrt", [image], hidden, "ComplexSource", "<NODATA>777</NODATA>")
    find(path, nodata=777)
    with pytest.raises(StudyError, match="reads missing pixels of its images"):
        find(path)


def test_nodata_values_of_several_bands_that_are_lost_are_told(tmp_path):
    values = np.rint(noise(SIDE, SIDE) * 10_000).astype(np.uint16)
    values[:, :9] = 777
    image = write_image(tmp_path / "a.tif", values)
    with rasterio.open(image, "r+") as target:
        target.update_tags(NODATA_VALUES=" ".join(["777"] * 6))
    with pytest.raises(StudyError, match="reads missing pixels of its images"):
        find(write_vrt(tmp_path / "a.vrt", [image]))


def test_a_part_of_an_image_without_its_hole_is_right(tmp_path):
    side = SIDE + 20
    values = np.rint(noise(side, side) * 10_000).astype(np.uint16)
    values[values == 777] = 778
    values[:, :9] = 777
    write_scene(tmp_path / "a.tif", values, nodata=777)
    path = write_vrt(tmp_path / "a.vrt", [tmp_path / "a.tif"])
    with pytest.raises(StudyError, match="reads missing pixels of its images"):
        find(path)
    rewrite(path, '<SrcRect xOff="0" yOff="0"', '<SrcRect xOff="0" yOff="10"')
    find(rewrite(path, f"{LEFT},10,0,{TOP},0,-10", f"{LEFT},10,0,{TOP - 100},0,-10"))


def write_vrt_of_files(path, files):
    """Write a VRT with a band of each file, without descriptions, as `gdalbuildvrt -separate` does."""
    bands = [
        f'<VRTRasterBand dataType="UInt16" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">{file.name}'
        "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for band, file in enumerate(files, 1)
    ]
    path.write_text(
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><SRS>EPSG:32632</SRS>'
        f"<GeoTransform>{LEFT},10,0,{TOP},0,-10</GeoTransform>{''.join(bands)}</VRTDataset>"
    )
    return path


def write_band_files(folder, names, **places):
    values = np.rint(noise(SIDE, SIDE) * 10_000).astype(np.uint16)
    files = []
    for number, name in enumerate(names):
        files.append(write_scene(folder / f"{name}.tif", values[number : number + 1]))
        if name in places:
            with rasterio.open(files[-1], "r+") as target:
                target.crs, target.transform = places[name]
    return files


def test_names_of_band_files_count_behind_a_vrt_as_in_a_list(tmp_path):
    numbers = {"BLUE": "B02", "GREEN": "B03", "RED": "B04", "NIR_BROAD": "B08", "SWIR_1": "B11", "SWIR_2": "B12"}
    order = ["RED", "GREEN", "BLUE", "NIR_BROAD", "SWIR_2", "SWIR_1"]
    files = write_band_files(tmp_path, [f"T32_{numbers[band]}_10m" for band in order])
    path = write_vrt_of_files(tmp_path / "a.vrt", files)
    places = {band: number for band, (_, number) in zip(BANDS, find(path).bands, strict=True)}
    assert places == {band: order.index(band) + 1 for band in BANDS}
    # Also behind other VRTs, and after the project's own rewriting.
    copy(path, tmp_path / "b.vrt", driver="VRT", strict=False)
    with rasterio.open(path) as opened, WarpedVRT(opened, crs="EPSG:32632") as warped:
        copy(warped, tmp_path / "c.vrt", driver="VRT")
    outer = write_vrt(tmp_path / "d.vrt", [path])
    rewrite_image([str(path), str(tmp_path / "e.tif")])
    for other in (tmp_path / "b.vrt", tmp_path / "c.vrt", outer, tmp_path / "e.tif"):
        found = {band: number for band, (_, number) in zip(BANDS, find(other).bands, strict=True)}
        assert found == places, other


@pytest.mark.parametrize("stem", ["band", "gee_B", "red_lake_"])
def test_names_of_band_files_do_not_count_beside_descriptions_or_if_they_do_not_tell_all_bands(tmp_path, stem):
    files = write_band_files(tmp_path, [f"{stem}{number}" for number in range(1, 7)])
    path = write_vrt_of_files(tmp_path / "a.vrt", files)
    in_order = [(str(path), number) for number in range(1, 7)]
    assert list(find(path).bands) == in_order
    with rasterio.open(path, "r+") as target:
        target.descriptions = [name.lower() for name in BANDS]
    assert (find(path).is_named, list(find(path).bands)) == (True, in_order)


HERE = rasterio.Affine(10, 0, LEFT, 0, -10, TOP)


@pytest.mark.parametrize(
    ("place", "match"),
    [
        (("EPSG:32632", HERE), None),
        # A part of a pixel, as programs round.
        (("EPSG:32632", HERE @ rasterio.Affine.translation(0.5, 0)), None),
        (("EPSG:32632", HERE @ rasterio.Affine.translation(50, 0)), "lies 50 and 0 pixels from there"),
        (("EPSG:32632", HERE @ rasterio.Affine.scale(2)), "lies 64 and -64 pixels from there"),
        (("EPSG:32633", HERE), "EPSG:32633"),
    ],
)
def test_an_image_that_lies_elsewhere_than_the_others_is_refused(tmp_path, place, match):
    """It was made again with another extent or zone after the VRT was built."""
    path = write_vrt_of_files(tmp_path / "a.vrt", write_band_files(tmp_path, BANDS, SWIR_1=place))
    if match is None:
        find(path)
        return
    with pytest.raises(StudyError, match="shows an image elsewhere than it lies") as error:
        find(path)
    assert match in error.value.found


@pytest.mark.parametrize("place", [("EPSG:32633", HERE), ("EPSG:32632", HERE @ rasterio.Affine.translation(50, 0))])
def test_a_vrt_whose_images_have_all_moved_is_refused(tmp_path, place):
    path = write_vrt_of_files(tmp_path / "a.vrt", write_band_files(tmp_path, BANDS, **dict.fromkeys(BANDS, place)))
    with pytest.raises(StudyError, match="shows an image elsewhere than it lies"):
        find(path)


TURNED = rasterio.Affine(0, 10, LEFT, 10, 0, TOP)


@pytest.mark.parametrize(
    ("place", "match"),
    [
        (TURNED, "are no squares with north up"),
        (TURNED @ rasterio.Affine.translation(0, 50), "shows an image elsewhere than it lies"),
        (rasterio.Affine(10, 0, LEFT, 0, 10, TOP), "shows an image elsewhere than it lies"),
    ],
    ids=["there", "elsewhere", "not turned"],
)
def test_images_that_are_turned_by_90_degrees_are_compared_with_the_vrt(tmp_path, place, match):
    files = write_band_files(tmp_path, BANDS, **dict.fromkeys(BANDS, ("EPSG:32632", place)))
    path = write_vrt_of_files(tmp_path / "a.vrt", files)
    path.write_text(path.read_text().replace(f"{LEFT},10,0,{TOP},0,-10", f"{LEFT},0,10,{TOP},10,0"))
    with pytest.raises(StudyError, match=match):
        find(path)


def test_images_without_a_georeference_lie_where_the_vrt_shows_them(tmp_path):
    files = write_band_files(tmp_path, BANDS)
    for file in files:
        with rasterio.open(file) as source:
            values = source.read()
        with rasterio.open(file, "w", driver="GTiff", height=SIDE, width=SIDE, count=1, dtype=values.dtype) as target:
            target.write(values)
    find(write_vrt_of_files(tmp_path / "a.vrt", files))
