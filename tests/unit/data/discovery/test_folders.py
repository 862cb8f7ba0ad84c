"""The walk through a folder of chips: links, loops, entries that are no files, folders that cannot be read."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest
import rasterio
from rasterio.enums import MaskFlags

from helpers.chips import pixels, write_tif
from terralucas.data.discovery.folders import list_files, require_names_of_masks, walk
from terralucas.data.rasters.side_files import mask_files
from terralucas.errors import StudyError


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")


def test_files_behind_links_are_listed_under_the_name_of_the_link(tmp_path):
    put(tmp_path / "elsewhere/a.tif")
    put(tmp_path / "file.tif")
    root = tmp_path / "root"
    root.mkdir()
    (root / "forest").symlink_to(tmp_path / "elsewhere")
    (root / "water").symlink_to("forest")
    (root / "b.tif").symlink_to(tmp_path / "file.tif")
    assert list(map(str, list_files(root))) == ["b.tif", "forest/a.tif", "water/a.tif"]


def test_loops_end(tmp_path):
    put(tmp_path / "x/a.tif")
    for name in ("x/up", "x/again", "y"):
        (tmp_path / name).symlink_to(tmp_path)
    (tmp_path / "x/self").symlink_to("self")
    tree = walk(tmp_path)
    assert list(map(str, tree.files)) == ["x/a.tif"]
    assert list(map(str, tree.others)) == ["x/self"]


def test_hidden_entries_are_left_out(tmp_path):
    for name in (".git/a.tif", "__MACOSX/a.tif", ".DS_Store", "x/.a.tif", "#snapshot/old/a.tif", "lost+found/a.tif"):
        put(tmp_path / name)
    # A Synology has such a folder for each file.
    (tmp_path / "x" / "@eaDir" / "b.tif").mkdir(parents=True)
    tree = walk(tmp_path)
    assert (tree.files, tree.others) == ((), {})


def test_entries_that_are_no_files_are_described(tmp_path):
    os.mkfifo(tmp_path / "pipe.tif")
    (tmp_path / "link.tif").symlink_to("gone.tif")
    assert walk(tmp_path).others == {
        PurePosixPath("link.tif"): "is a link to gone.tif, which does not exist",
        PurePosixPath("pipe.tif"): "is a FIFO",
    }


@pytest.mark.parametrize("method", ["iterdir", "stat"])
def test_folder_that_cannot_be_read_is_an_error_of_reading(tmp_path, monkeypatch, method):
    """Permissions do not bind root, who may run the tests: the error of the kernel is raised here."""
    put(tmp_path / "closed/a.tif")
    put(tmp_path / "open/a.tif")
    original = getattr(Path, method)

    def deny(path, *args, **options):
        if path.name == "closed" if method == "iterdir" else path.parent.name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *args, **options)

    monkeypatch.setattr(Path, method, deny)
    tree = walk(tmp_path)
    assert tree.closed == {PurePosixPath("closed"): "Permission denied"}
    assert list(map(str, tree.files)) == ["open/a.tif"]
    with pytest.raises(StudyError, match="chips may be missing") as caught:
        tree.require_readable(tmp_path)
    assert f"{tmp_path}/closed cannot be read (Permission denied)" in caught.value.found
    assert "written" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "mask", "is_refused"),
    [
        ("a.tif", "a.tif.msk", False),
        ("a.tif", "a.tif.MSK", False),
        ("Chip.tif", "chip.tif.msk", True),
        ("a.TIF", "a.tif.msk", True),
        ("a.tif", "A.TIF.MSK", True),
        ("a.tif", "a.tif.Msk", True),
        ("a.tif", "b.tif.Msk", False),
    ],
)
def test_a_mask_that_gdal_finds_by_other_capitals_is_refused(tmp_path, image, mask, is_refused):
    write_tif(tmp_path / image, pixels(1))
    with rasterio.open(tmp_path / mask, "w", "GTiff", *pixels(1).shape[1:], 1, dtype="uint8") as written:
        written.update_tags(INTERNAL_MASK_FLAGS_1="2")
    with rasterio.open(tmp_path / image) as opened:
        by_gdal = MaskFlags.all_valid not in opened.mask_flag_enums[0]
    is_found = any(path.exists() for path in mask_files(tmp_path / image))
    assert (by_gdal and not is_found) == is_refused, "what GDAL does"
    if is_refused:
        with pytest.raises(StudyError, match="have names in other capitals than their images"):
            walk(tmp_path).require_readable(tmp_path)
    else:
        walk(tmp_path).require_readable(tmp_path)


def test_a_mask_in_other_capitals_is_that_of_the_image_with_its_name(tmp_path):
    """Two images whose names differ in capitals alone, as two cameras or two programs write them."""
    for name in ("A.tif", "a.tif"):
        write_tif(tmp_path / name, pixels(1))
    (tmp_path / "A.tif.msk").touch()
    require_names_of_masks([tmp_path / "A.tif", tmp_path / "a.tif"])
    (tmp_path / "A.tif.msk").rename(tmp_path / "A.TIF.msk")
    with pytest.raises(StudyError, match="in other capitals"):
        require_names_of_masks([tmp_path / "A.tif", tmp_path / "a.tif"])


def test_a_mask_in_other_capitals_beside_the_target_of_a_link_is_refused(tmp_path):
    (tmp_path / "x").mkdir()
    write_tif(tmp_path / "x/A.TIF", pixels(1))
    (tmp_path / "x/A.tif.msk").touch()
    (tmp_path / "chip.tif").symlink_to("x/A.TIF")
    with pytest.raises(StudyError, match="in other capitals") as caught:
        require_names_of_masks([tmp_path / "chip.tif"])
    assert (caught.value.found, caught.value.expected) == (str(tmp_path / "x/A.tif.msk"), "A.TIF.msk")


def test_names_in_a_store_do_not_count_where_links_have_theirs(tmp_path):
    (tmp_path / "store").mkdir()
    write_tif(tmp_path / "store/X.tif", pixels(1))
    (tmp_path / "store/x.tif.msk").touch()
    for name, target in (("x.tif", "X.tif"), ("x.tif.msk", "x.tif.msk")):
        (tmp_path / name).symlink_to(f"store/{target}")
    require_names_of_masks([tmp_path / "x.tif"])


def test_a_mask_of_no_image_beside_two_that_differ_in_capitals_is_refused(tmp_path):
    for name in ("A.tif", "a.tif"):
        write_tif(tmp_path / name, pixels(1))
    for name in ("a.tif.msk", "A.tif.Msk"):
        (tmp_path / name).touch()
    with pytest.raises(StudyError, match="in other capitals") as caught:
        require_names_of_masks([tmp_path / "A.tif", tmp_path / "a.tif"])
    assert caught.value.expected == "A.tif.msk"
