"""Which files of a source decide what the index of the chips is."""

import json
import os
import shutil
from pathlib import Path
from unicodedata import normalize

import pytest

from terralucas import contents
from terralucas.contents import look_at, states_of
from terralucas.contents import write_record as write_contents_record
from terralucas.data.discovery.chips_root import chips_root
from terralucas.errors import StudyError
from terralucas.study import invalid_chips, source_files
from terralucas.study.class_names import classes_token, write_record
from terralucas.study.invalid_chips import tokens_of_keys
from terralucas.study.source_files import (
    digest_of_file,
    files_of_source,
    find_source,
    write_folder_record,
)
from terralucas.study.source_order import states_of_sources, tokens_of_sources, without_places, write_order


def token_of_sources(sources, layout, record):
    """Return the token of what is in the source that is read."""
    return tokens_of_sources(sources, layout, record).contents


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


def test_a_change_in_a_class_folder_that_is_a_link_is_noticed(folder, tmp_path):
    """The index reads the chips behind the link, so that the record has to have them."""
    chip = tmp_path / "elsewhere" / "3.tif"
    chip.parent.mkdir()
    chip.write_text("a chip")
    (folder / "grass").symlink_to(chip.parent)
    source = {"type": "directory", "path": str(folder)}
    files, record = files_of_source(source, FOLDERS), tmp_path / "record.json"
    assert "grass/3.tif" in files
    write_folder_record(record, "token", source, look_at(files, digest_of_file), {}, str(folder.resolve()))
    assert token_of_sources([source], FOLDERS, record) == "token"
    chip.write_text("another chip")
    assert token_of_sources([source], FOLDERS, record) != "token"


@pytest.mark.parametrize(("on_disk", "configured"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_table_whose_accents_are_written_otherwise_is_read(folder, on_disk, configured):
    """macOS writes letter and accent separately."""
    (folder / "labels.csv").rename(folder / normalize(on_disk, "étiquettes.csv"))
    layout = TABLE | {"table": normalize(configured, "étiquettes.csv")}
    assert normalize(on_disk, "étiquettes.csv") in files_of_source({"type": "directory", "path": str(folder)}, layout)


def test_a_table_without_a_suffix_is_read(folder):
    (folder / "labels.csv").rename(folder / "labels")
    source = {"type": "directory", "path": str(folder)}
    assert "labels" in files_of_source(source, TABLE | {"table": "labels"})


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


@pytest.fixture
def read(folder, tmp_path):
    """A function that returns the token of a folder, after the index has read the first one; its retrieval."""
    data = tmp_path / "data"
    data.mkdir()
    source = {"type": "directory", "path": str(folder)}
    retrieval = {"source": "directory", "origin": str(folder.resolve()), "root": str(folder.resolve())}
    (data / "retrieval.json").write_text(json.dumps(retrieval))
    record = data / "source_files.json"
    files = files_of_source(source, TABLE)
    write_folder_record(record, "token", source, look_at(files, digest_of_file), {}, str(folder.resolve()))
    return lambda path: token_of_sources([{"type": "directory", "path": str(path)}], TABLE, record), data


def test_a_folder_that_was_moved_is_the_same_and_is_found_where_it_is(folder, read):
    token, data = read
    assert token(f"{folder}/") == token(folder) == "token"
    moved = folder.rename(folder.with_name("moved"))
    assert token(moved) == "token"
    assert chips_root(data / "retrieval.json") == moved.resolve()
    link = folder.with_name("link")
    link.symlink_to(moved)
    assert token(link) == "token"
    (moved / "forest/1.tif").write_text("another")
    assert token(moved) != "token"


@pytest.mark.parametrize(("source", "advice"), [("directory", "correct its path"), ("archive", "--force -- ")])
def test_chips_that_are_gone_are_brought_back_without_a_new_run(tmp_path, source, advice):
    """Without the folder data/, all features and runs would be made again."""
    record = tmp_path / "retrieval.json"
    record.write_text(json.dumps({"source": source, "root": str(tmp_path / "chips")}))
    with pytest.raises(StudyError, match="chips of the study is gone") as error:
        chips_root(record)
    assert advice in error.value.remedy
    (tmp_path / "chips").mkdir()
    assert chips_root(record) == tmp_path / "chips"


def test_a_path_where_nothing_is_or_another_folder_is_not_the_same(folder, read):
    token, data = read
    other = folder.with_name("other")
    assert token(other) != "token"
    (other / "forest").mkdir(parents=True)
    (other / "forest/1.tif").write_text("another")
    assert token(other) != "token"
    assert chips_root(data / "retrieval.json") == folder.resolve()


def test_chips_of_another_folder_are_those_that_were_retrieved_and_not_those_indexed_before(folder, read):
    """Where the path in the configuration has changed, the index reads the new folder; its record is of the old one."""
    _, data = read
    other = folder.with_name("other")
    other.mkdir()
    retrieval = {"source": "directory", "origin": str(other), "root": str(other)}
    (data / "retrieval.json").write_text(json.dumps(retrieval))
    assert chips_root(data / "retrieval.json") == other


def test_where_local_sources_lie_does_not_count_and_all_else_does(tmp_path):
    folder, archive = {"type": "directory", "path": "/a"}, {"type": "archive", "path": "/a.zip", "sha256": "0" * 64}
    assert without_places([folder]) == without_places([folder | {"path": "/b/"}])
    assert without_places([archive]) != without_places([archive | {"sha256": "1" * 64}])
    assert without_places([folder]) != without_places([archive])
    assert find_source([folder, archive], tmp_path) is None


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("D", "DD", True),
        ("DD", "D", True),
        ("D", "DA", True),
        ("U", "UD", True),
        ("UU", "UUA", True),
        ("D", "DU", False),
        ("U", "DU", False),
        ("DU", "UD", False),
        ("U", "UU", False),
    ],
)
def test_local_sources_that_are_tried_later_do_not_count(first, second, is_same):
    """D: a folder, A: an archive, U: an address."""

    def token(letters):
        kinds = {"D": {"type": "directory"}, "A": {"type": "archive", "sha256": None}, "U": {"type": "url"}}
        return without_places([kinds[letter] | {"U": {"url": f"{n}"}}.get(letter, {"path": f"/{n}"})
                               for n, letter in enumerate(letters)])  # fmt: skip

    assert (token(first) == token(second)) is is_same


def test_a_source_that_is_put_first_counts_where_it_is_there_and_holds_other_chips(folder, tmp_path):
    record = tmp_path / "record.json"
    base, copy, other, nowhere = (
        {"type": "directory", "path": str(path)}
        for path in (folder, tmp_path / "copy", tmp_path / "other", tmp_path / "nowhere")
    )
    files = files_of_source(base, TABLE)
    write_folder_record(record, "token", base, look_at(files, digest_of_file), {}, str(folder))
    kept = record.read_text()
    shutil.copytree(folder, tmp_path / "copy")
    shutil.copytree(folder, tmp_path / "other")
    (tmp_path / "other" / "labels.csv").write_text("other labels")
    for sources in ([base, other], [nowhere, base], [base, nowhere, copy], [copy, base]):
        record.write_text(kept)
        assert token_of_sources(sources, TABLE, record) == "token"
    for sources in ([other, base], [nowhere, other, base], [other, nowhere]):
        record.write_text(kept)
        assert token_of_sources(sources, TABLE, record) != "token"


@pytest.fixture
def finished(folder, tmp_path):
    """The tokens of a study that has tried an archive, which was damaged, and then read a folder; its sources."""
    bad, good = tmp_path / "bad.tar", {"type": "directory", "path": str(folder)}
    bad.write_text("half an archive")
    sources = [{"type": "archive", "path": str(bad), "sha256": None}, good]
    record = tmp_path / "source_files.json"
    before = states_of_sources(sources, TABLE)
    tokens = tokens_of_sources(sources, TABLE, record)
    write_order(record, sources, TABLE, 1, before, tokens.tracked)
    files = files_of_source(good, TABLE)
    write_folder_record(record, tokens.contents, good, look_at(files, digest_of_file), {}, str(folder))
    return (lambda sources: tokens_of_sources(sources, TABLE, record) == tokens), sources


def test_a_source_that_could_not_be_used_counts_again_when_its_content_changes(finished, folder):
    is_same, sources = finished
    bad = Path(sources[0]["path"])
    assert is_same(sources)
    os.utime(bad, (1, 1))
    os.utime(folder / "labels.csv", (1, 1))
    assert is_same(sources)
    away = folder.rename(folder.with_name("away"))
    assert is_same(sources), "the source that was read is away for now"
    away.rename(folder)
    bad.write_text("the whole archive")
    assert not is_same(sources)
    bad.write_text("half an archive")
    assert not is_same([sources[0] | {"sha256": "0" * 64}, sources[1]]), "with another checksum it may be right"
    bad.unlink()
    assert is_same(sources)


def test_a_backup_that_links_files_while_sources_are_tried_changes_nothing(folder, tmp_path):
    bad, record = tmp_path / "bad.tar", tmp_path / "source_files.json"
    bad.write_text("half an archive")
    sources = [
        {"type": "archive", "path": str(bad), "sha256": None},
        {"type": "directory", "path": str(folder)},
    ]
    before = states_of_sources(sources, TABLE)
    tokens = tokens_of_sources(sources, TABLE, record)
    (tmp_path / "backup.tar").hardlink_to(bad)
    write_order(record, sources, TABLE, 1, before, tokens.tracked)
    write_folder_record(
        record,
        tokens.contents,
        sources[1],
        look_at(files_of_source(sources[1], TABLE), digest_of_file),
        {},
        str(folder),
    )
    assert tokens_of_sources(sources, TABLE, record) == tokens


def test_a_source_that_was_not_read_can_be_added_or_removed(finished, tmp_path):
    is_same, (bad, good) = finished
    behind = {"type": "archive", "path": str(tmp_path / "fallback.tar"), "sha256": "0" * 64}
    address = {"type": "url", "url": "https://example.org/chips.tar", "sha256": None}
    (tmp_path / "fallback.tar").write_text("a fallback")
    for sources in ([good], [bad, good, behind], [good, behind], [good, address]):
        assert is_same(sources)
    assert not is_same([behind, bad, good])
    assert not is_same([address, good])


def test_a_study_that_read_an_address_compares_what_stands_in_front_of_it(tmp_path):
    bad, late, fallback = ({"type": "archive", "path": str(tmp_path / f"{n}.tar"), "sha256": None} for n in range(3))
    address, other = ({"type": "url", "url": f"https://example.org/{n}.tar", "sha256": None} for n in range(2))
    sources, record = [bad, other, late, address, fallback], tmp_path / "source_files.json"
    Path(bad["path"]).write_text("damaged")
    before = states_of_sources(sources, TABLE)
    tokens = tokens_of_sources(sources, TABLE, record)
    write_order(record, sources, TABLE, 3, before, tokens.tracked)
    write_contents_record(record, tokens.contents, None, {}, {}, {})

    def is_same(sources):
        return tokens_of_sources(sources, TABLE, record) == tokens

    Path(fallback["path"]).write_text("not needed")
    for same in (sources, [bad, late, address], [other, address, late]):
        assert is_same(same)
    assert not is_same([bad, address | {"url": "https://example.org/2.tar"}])
    assert not is_same([other | {"url": "https://example.org/2.tar"}, address])
    Path(late["path"]).write_text("there now")
    assert not is_same(sources)


def test_a_large_archive_in_front_is_not_read_to_see_that_it_is_another_one(folder, tmp_path, monkeypatch):
    record, base = tmp_path / "record.json", {"type": "archive", "path": str(folder / "notes.txt")}
    files = files_of_source(base, TABLE)
    write_contents_record(record, "token", base["path"], files, states_of(files), {})
    (tmp_path / "new.tar").write_text("of another size")
    monkeypatch.setattr(contents, "sha256_of_file", lambda path: pytest.fail(f"reads {path}"))
    monkeypatch.setattr(source_files, "sha256_of_file", lambda path: pytest.fail(f"reads {path}"))
    new = {"type": "archive", "path": str(tmp_path / "new.tar")}
    assert tokens_of_sources([new, base], TABLE, record).contents != "token"
    assert tokens_of_sources([base, new], TABLE, record).contents == "token"


def dataset_of(on_invalid="drop", chip_size_px=None, pixel_size_m=10.0):
    return {"on_invalid": on_invalid, "chip_size_px": chip_size_px, "pixel_size_m": pixel_size_m}


def write_index_record(record, tokens, dataset, n_dropped, sizes=None, near=False):
    report = {"n_dropped": n_dropped, "chip_size_px": 64, "pixel_sizes": sizes, "has_near_chips": near}
    invalid_chips.write_record(record, tokens, dataset, report)


@pytest.mark.parametrize(("n_dropped", "is_same"), [(0, True), (3, False)])
def test_what_becomes_of_invalid_chips_counts_where_there_are_some(tmp_path, n_dropped, is_same):
    record = tmp_path / "invalid.json"
    tokens = tokens_of_keys(dataset_of("drop"), record)
    assert tokens == dataset_of("drop")
    write_index_record(record, tokens, dataset_of("drop"), n_dropped)
    assert (tokens_of_keys(dataset_of("error"), record) == tokens) is is_same


@pytest.mark.parametrize("first", [None, 64])
def test_the_size_that_all_chips_have_can_be_written_out_or_left_out(tmp_path, first):
    record = tmp_path / "invalid.json"
    tokens = tokens_of_keys(dataset_of(chip_size_px=first), record)
    assert tokens["chip_size_px"] == first
    write_index_record(record, tokens, dataset_of(chip_size_px=first), 0)
    assert all(tokens_of_keys(dataset_of(chip_size_px=size), record) == tokens for size in (None, 64))
    assert tokens_of_keys(dataset_of(chip_size_px=32), record)["chip_size_px"] == 32
    of_64 = dataset_of(chip_size_px=64)
    write_index_record(record, of_64, of_64, 2)
    token = tokens_of_keys(dataset_of(), record)["chip_size_px"]
    assert token is None, "of the chips that were dropped, most may have another"


def test_an_index_with_dropped_chips_is_not_made_again_for_the_settings_it_was_made_with(tmp_path):
    """Both were changed, which decided nothing, before chips came that are dropped."""
    record = tmp_path / "invalid.json"
    before, now = dataset_of("error"), dataset_of("drop", 64)
    write_index_record(record, before, before, 0)
    tokens = tokens_of_keys(now, record)
    assert tokens == before, "the parameter that Snakemake records"
    write_index_record(record, tokens, now, 3)
    assert tokens_of_keys(now, record) == tokens
    assert tokens_of_keys(dataset_of("drop", 32), record)["chip_size_px"] == 32


SIZES = {"smallest_m": 28.0, "median_m": 30.0, "largest_m": 30.0, "nominal_m": 30.0, "largest_elongation": 1.0}


@pytest.mark.parametrize(
    ("first", "second", "n_dropped", "sizes", "is_same"),
    [
        (30, 29, 0, SIZES, True),
        (30, 29, 0, None, True),
        # The start refuses it.
        (30, 999, 0, SIZES, True),
        # Chips of 40 m were dropped; of 28 m would be.
        (30, 33, 8, SIZES, False),
        (30, 36, 0, SIZES, False),
        # Numbers of bands may be Landsat's from 25 m on.
        (30, 10, 0, None, False),
    ],
)
def test_the_size_of_pixels_counts_where_it_decides_which_chips_are_valid(
    tmp_path, first, second, n_dropped, sizes, is_same
):
    record = tmp_path / "invalid.json"
    before, now = dataset_of(pixel_size_m=first), dataset_of(pixel_size_m=second)
    assert tokens_of_keys(before, record) == before
    write_index_record(record, before, before, n_dropped, sizes)
    tokens = tokens_of_keys(now, record)
    assert (tokens == before) is is_same
    assert tokens_of_keys(before, record) == before
    write_index_record(record, tokens, now, n_dropped, sizes)
    assert tokens_of_keys(now, record) == tokens


def test_the_size_of_pixels_counts_where_chips_are_near_each_other(tmp_path):
    """It decides whether two chips that share pixels are copies."""
    record, before = tmp_path / "invalid.json", dataset_of(pixel_size_m=10.0)
    write_index_record(record, before, before, 0, near=True)
    assert tokens_of_keys(dataset_of(pixel_size_m=20.0), record)["pixel_size_m"] == 20.0
    write_index_record(record, before, before, 0)
    assert tokens_of_keys(dataset_of(pixel_size_m=20.0), record) == before


def test_a_mask_beside_the_file_to_which_a_link_leads_counts(tmp_path):
    """A chip is refused that has its mask only there."""
    store, folder = tmp_path / "store", tmp_path / "chips"
    store.mkdir()
    folder.mkdir()
    (store / "a.tif").write_text("a")
    (folder / "a.tif").symlink_to(store / "a.tif")
    source, record = {"type": "directory", "path": str(folder)}, tmp_path / "record.json"
    token = token_of_sources([source], TABLE, record)
    files = source_files.files_of_source(source, TABLE)
    write_contents_record(record, token, str(folder), files, states_of(files), {})
    assert token_of_sources([source], TABLE, record) == token
    (store / "a.tif.msk").write_text("mask")
    assert token_of_sources([source], TABLE, record) != token
    (store / "a.tif.msk").unlink()
    assert token_of_sources([source], TABLE, record) == token


def test_a_source_that_a_broken_link_made_useless_is_tried_again_without_it(tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        (folder / "a.tif").write_text(folder.name)
    (folders[0] / "extra").symlink_to(tmp_path / "nowhere")
    sources, record = [{"type": "directory", "path": str(folder)} for folder in folders], tmp_path / "record.json"
    states, token = states_of_sources(sources, TABLE), token_of_sources(sources, TABLE, record)
    files = source_files.files_of_source(sources[1], TABLE)
    write_contents_record(record, token, str(folders[1]), files, states_of(files), {})
    write_order(record, sources, TABLE, 1, states, "tracked")
    assert token_of_sources(sources, TABLE, record) == token
    (folders[0] / "extra").unlink()
    assert token_of_sources(sources, TABLE, record) != token


def test_a_configuration_whose_token_the_index_has_from_before_counts_after_the_chips_changed_under_another_one(
    tmp_path,
):
    """The index is made again for the chips, with the token that another configuration had for the chips of before."""
    record = tmp_path / "invalid.json"
    before, now = dataset_of("error"), dataset_of("drop", 64)
    first = tokens_of_keys(before, record)
    write_index_record(record, first, before, 0)
    # No chip was dropped, so that the keys decide nothing; but of the new chips, two are dropped.
    tokens = tokens_of_keys(now, record)
    assert tokens == first
    write_index_record(record, tokens, now, 2)
    again = tokens_of_keys(before, record)
    assert {key for key in again if again[key] != first[key]} == {"on_invalid", "chip_size_px"}
    write_index_record(record, again, before, 0)
    assert tokens_of_keys(before, record) == again


def test_corrected_names_of_classes_count_after_the_folders_were_named_by_them(tmp_path):
    record = tmp_path / "labels.json"
    right = [{"code": "r", "name": "River"}, {"code": "s", "name": "Sea"}]
    slip = [{"code": "r", "name": "Sea"}, {"code": "s", "name": "River"}]
    first = classes_token(right, record)
    write_record(record, first, {"r": 0, "s": 1})
    # The folders are named River and Sea from now on, and indexed again for that.
    assert classes_token(slip, record) == first
    write_record(record, first, {"River": 1, "Sea": 0})
    corrected = classes_token(right, record)
    assert corrected != first
    write_record(record, corrected, {"River": 0, "Sea": 1})
    assert classes_token(right, record) == corrected
    assert classes_token(slip, record) != corrected


def test_another_folder_with_the_names_sizes_and_times_of_the_one_that_was_read_counts(tmp_path, monkeypatch):
    """A program wrote both in one loop, on a disk that counts times in steps of a second."""
    exact = contents.states_of
    monkeypatch.setattr(
        contents,
        "states_of",
        lambda files: {name: state._replace(mtime_ns=5, ctime_ns=5) for name, state in exact(files).items()},
    )
    record, folders = tmp_path / "record.json", [tmp_path / "raw", tmp_path / "new"]
    for folder in folders:
        folder.mkdir()
        for name in "ab":
            (folder / name).write_text(f"{folder.name} {name}")
    raw, new = ({name: folder / name for name in "ab"} for folder in folders)
    token = contents.token_of_absent(record, raw)
    assert contents.token_of_absent(record, new) == token, "nothing is read without a record"
    contents.write_record(record, token, "raw", raw, contents.states_of(raw), {})
    assert contents.token_elsewhere(record, "new", new) is None
    assert contents.token_of_absent(record, new) != token
