"""Whether new chips are those that were planned."""

import os
import shutil
from pathlib import Path

import pytest

from helpers.records import record_new_chips
from terralucas.errors import StudyError
from terralucas.study.new_chip_files import (
    require_recorded_chips,
    token_of_new_chips,
    with_home,
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "chips" / "a").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "chips" / "a" / f"{number}.tif").write_bytes(bytes([number]) * 10)
    (tmp_path / "chips" / "a" / "1.tif.msk").write_bytes(b"mask")
    (tmp_path / "chips" / "a" / "1.tifw").write_text("20")
    (tmp_path / "chips.csv").write_text("path\nchips/a/0.tif\nchips/a/1.tif\n")
    return tmp_path


def of_input(folder, kind):
    """Return an input and the paths of its chips, as a plan has them."""
    source = {"folder": folder / "chips", "table": folder / "chips.csv", "chip": folder / "chips" / "a" / "1.tif"}[kind]
    return source, [str(folder / "chips" / "a" / f"{number}.tif") for number in ([1] if kind == "chip" else [0, 1])]


def replace(file):
    file.write_bytes(b"other chip")


def put_mask_beside(file):
    file.with_name("1.tif.msk").write_bytes(b"other")


def put_world_file_beside(file):
    file.with_name("1.tfw").write_text("30")


def remove_mask(file):
    file.with_name("1.tif.msk").unlink()


def remove_world_file(file):
    file.with_name("1.tifw").unlink()


def remove(file):
    file.unlink()


def touch_all(file):
    for each in file.parent.iterdir():
        os.utime(each, (1, 1))


def add_another(file):
    shutil.copy(file, file.with_name("9.tif"))


def show(file):
    """A program that shows the chip stores its statistics beside it."""
    item = '<MDI key="STATISTICS_MEAN">1</MDI>'
    text = f"<PAMDataset><PAMRasterBand band='1'><Metadata>{item}</Metadata></PAMRasterBand></PAMDataset>"
    file.with_name("1.tif.aux.xml").write_text(text)


@pytest.mark.parametrize("kind", ["folder", "table", "chip"])
@pytest.mark.parametrize(
    "change", [replace, put_mask_beside, put_world_file_beside, remove_mask, remove_world_file, remove]
)
def test_chips_that_were_changed_since_they_were_planned_are_refused(folder, kind, change):
    source, paths = of_input(folder, kind)
    record = folder / "chips_found.json"
    record_new_chips(source, record, "token")
    require_recorded_chips(paths, source, record)
    change(folder / "chips" / "a" / "1.tif")
    with pytest.raises(StudyError, match=r"Chips were changed while they were predicted[\s\S]*found: .*a/1\."):
        require_recorded_chips(paths, source, record)


@pytest.mark.parametrize("kind", ["folder", "table", "chip"])
@pytest.mark.parametrize("change", [touch_all, add_another, show])
def test_what_changes_no_chip_of_a_part_is_fine(folder, kind, change):
    source, paths = of_input(folder, kind)
    record = folder / "chips_found.json"
    record_new_chips(source, record, token_of_new_chips(source, record))
    change(folder / "chips" / "a" / "1.tif")
    replace(folder / "chips" / "a" / "2.tif")
    require_recorded_chips(paths, source, record)


def test_a_chip_that_is_a_link_of_another_name_is_the_one_that_was_planned(folder):
    (folder / "latest.tif").symlink_to(folder / "chips" / "a" / "1.tif")
    paths = [str(folder / "latest.tif")]
    record = folder / "chips_found.json"
    record_new_chips(folder / "latest.tif", record, "token")
    require_recorded_chips(paths, folder / "latest.tif", record)
    replace(folder / "chips" / "a" / "1.tif")
    with pytest.raises(StudyError, match="Chips were changed"):
        require_recorded_chips(paths, folder / "latest.tif", record)


@pytest.mark.parametrize("kind", ["folder", "table", "chip"])
def test_chips_that_are_away_are_refused(folder, kind):
    """As on a disk that is not mounted: each chip would count as one that cannot be read."""
    source, paths = of_input(folder, kind)
    record = folder / "chips_found.json"
    record_new_chips(source, record, "token")
    (folder / "chips").rename(folder / "away")
    with pytest.raises(StudyError, match="Chips were changed"):
        require_recorded_chips(paths, source, record)


def test_a_link_that_leads_to_another_delivery_is_refused(folder):
    shutil.copytree(folder / "chips", folder / "second")
    link = folder / "latest"
    link.symlink_to(folder / "chips")
    _, paths = of_input(folder, "folder")
    record = folder / "chips_found.json"
    record_new_chips(link, record, "token")
    link.unlink()
    link.symlink_to(folder / "second")
    with pytest.raises(StudyError, match="Chips were changed"):
        require_recorded_chips(paths, link, record)


def test_a_file_system_that_takes_capitals_for_small_letters_has_one_world_file(folder, monkeypatch):
    source, paths = of_input(folder, "folder")
    record = folder / "chips_found.json"
    record_new_chips(source, record, "token")
    for name in ("1.TIFW", "1.Tifw"):
        (folder / "chips" / "a" / name).write_text("20")
    seen = [path for path in (folder / "chips" / "a").iterdir() if not path.name.startswith("1.T")]
    monkeypatch.setattr(Path, "iterdir", lambda parent: iter(seen))
    require_recorded_chips(paths, source, record)


def test_what_was_unpacked_of_an_archive_is_not_compared(folder):
    archive = folder / "chips.zip"
    archive.write_bytes(b"zip")
    record = folder / "chips_found.json"
    record_new_chips(archive, record, "token")
    require_recorded_chips([str(folder / "unpacked-1" / "1.tif")], archive, record)


def test_a_folder_that_is_a_link_has_the_same_names(folder):
    (folder / "link").symlink_to(folder / "chips")
    _, paths = of_input(folder, "folder")
    record = folder / "chips_found.json"
    record_new_chips(folder / "link", record, "token")
    require_recorded_chips(paths, folder / "link", record)
    replace(folder / "chips" / "a" / "0.tif")
    with pytest.raises(StudyError, match="Chips were changed"):
        require_recorded_chips(paths, folder / "link", record)


@pytest.mark.parametrize("given", [None, "~/a.tif", ["~/a.tif", "b.tif"]])
def test_the_home_in_an_input_is_written_out(monkeypatch, given):
    """No shell does that in --config 'predict={input: ~/chips}'."""
    monkeypatch.setenv("HOME", "/home/me")
    expected = {None: None, "~/a.tif": "/home/me/a.tif"}.get(str(given), ["/home/me/a.tif", "b.tif"])
    assert with_home({"input": given, "name": "n"}) == {"input": None if given is None else expected, "name": "n"}


def test_without_a_record_nothing_is_compared(folder):
    source, paths = of_input(folder, "folder")
    require_recorded_chips(paths, source, folder / "chips_found.json")
