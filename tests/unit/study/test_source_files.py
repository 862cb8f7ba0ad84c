"""Which files of a source decide what the index of the chips is."""

import pytest

from terralucas.study.class_names import classes_token, write_record
from terralucas.study.source_files import digest_of_file, files_of_source, token_of_sources

TABLE = {"labels": "table", "table": "labels.csv"}
FOLDERS = {"labels": "folders", "table": "labels.csv"}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "chips"
    for name in ("forest/1.tif", "forest/1.tif.msk", "forest/1.tif.aux.xml", "water/2.TIFF", "labels.csv"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    for name in (".DS_Store", "notes.txt", "forest/.hidden.tif", "forest/._1.tif", "forest/Thumbs.db", "a.xml"):
        (folder / name).write_text("nobody reads this")
    return folder


def test_chips_what_lies_beside_them_and_the_table_are_read(folder):
    source = {"type": "directory", "path": str(folder)}
    chips = {"forest/1.tif", "forest/1.tif.msk", "forest/1.tif.aux.xml", "water/2.TIFF"}
    assert set(files_of_source(source, FOLDERS)) == chips
    assert set(files_of_source(source, TABLE)) == {*chips, "labels.csv"}


def test_sources_that_are_away_or_remote_have_no_files(tmp_path):
    for source in ({"type": "directory", "path": str(tmp_path / "none")}, {"type": "url", "url": "https://a.b/c.zip"}):
        assert files_of_source(source, TABLE) == {}


def test_statistics_that_a_viewer_stores_beside_a_chip_are_not_read(tmp_path):
    """QGIS writes such a file when it shows a chip (GDAL's PAM format)."""
    path = tmp_path / "1.tif.aux.xml"
    statistics = '<Metadata><MDI key="STATISTICS_MEAN">{}</MDI></Metadata><Histograms><HistItem/></Histograms>'
    band = '<PAMDataset><PAMRasterBand band="1">{}</PAMRasterBand></PAMDataset>'
    path.write_text(band.format(statistics.format(3)))
    assert digest_of_file(path) == ""
    path.write_text(band.format(statistics.format(3) + "<NoDataValue>0</NoDataValue>"))
    with_nodata = digest_of_file(path)
    assert with_nodata
    path.write_text(band.format(statistics.format(4) + "<NoDataValue>0</NoDataValue>"))
    assert digest_of_file(path) == with_nodata
    path.write_text(band.format("<NoDataValue>1</NoDataValue>"))
    assert digest_of_file(path) not in ("", with_nodata)


def test_before_anything_was_read_the_token_stays_the_same(folder, tmp_path):
    sources = [{"type": "directory", "path": str(folder)}, {"type": "gdrive", "id": "x"}]
    record = tmp_path / "record.json"
    token = token_of_sources(sources, TABLE, record)
    (folder / "notes.txt").write_text("other notes")
    assert token_of_sources(sources, TABLE, record) == token
    assert not record.exists()


@pytest.mark.parametrize(
    ("names", "is_same"),
    [
        (("Forest", "Water"), True),
        (("Forest", "Waters"), True),  # only shown
        (("Forests", "Water"), False),  # a label is Forest
        (("Forest", "Unknown"), False),  # this label was no class, and now is one
        (("Water", "Forest"), False),
    ],
)
def test_a_name_counts_only_where_a_label_or_folder_has_it(tmp_path, names, is_same):
    record = tmp_path / "labels.json"

    def classes(first, second):
        return [{"code": 1, "name": first}, {"code": 2, "name": second}]

    token = classes_token(classes("Forest", "Water"), record)
    write_record(record, token, {"Forest": 0, "1": 0, "2": 1, "Unknown": None})
    assert (classes_token(classes(*names), record) == token) is is_same
