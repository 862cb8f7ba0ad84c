"""Finding chips and labels on disk. Chips are never opened here, so any bytes will do."""

from __future__ import annotations

import json
import logging
import math
import os
import unicodedata
from pathlib import Path, PurePosixPath

import pytest
import rasterio

from terralucas.data.dataset import DatasetSpec
from terralucas.data.discovery import discover as discovery
from terralucas.data.discovery.discover import count_left_out, find_chips, join_first
from terralucas.data.discovery.folders import walk
from terralucas.errors import StudyError

TABLE = "chips_LC_class.csv"
IDS = {"45922254": "1", "45942254": "2", "45922256": "1", "45962258": "10"}


def make_spec(layout: dict | None = None, **changes) -> DatasetSpec:
    return DatasetSpec.from_config(
        {
            "name": "lucas-italy",
            "layout": layout or {"labels": "table", "table": TABLE, "id_column": "Point_ID", "label_column": "STR18"},
            "classes": [
                {"code": 1, "name": "Arable lands"},
                {"code": 2, "name": "Permanent crops"},
                {"code": 10, "name": "Impossible to photo-interpret"},
            ],
            "bands": ["RED"],
            "point_ids": "lucas",
            "nodata": None,
        }
        | changes
    )


FOLDERS = {"labels": "folders", "table": None}
LISTED = {"labels": "table", "table": "labels.csv", "label_column": "class", "file_column": "file"}


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lucas_tree(folder: Path, ids: dict[str, str] = IDS) -> None:
    put(folder / TABLE, "Point_ID,STR18\n" + "".join(f"{name},{code}\n" for name, code in ids.items()))
    for name, code in ids.items():
        put(folder / code / f"{name}.tif", f"chip {name}")


def files_of(root: Path, spec: DatasetSpec) -> list[str]:
    listing = find_chips(root, spec)
    assert listing.problems == ()
    return [chip.file for chip in listing.chips]


def only_problem(root: Path, spec: DatasetSpec):
    (problem,) = find_chips(root, spec).problems
    return problem


@pytest.mark.parametrize("depth", ["", "Lucas_Chips_Geo_Italy", "a/b c/d'e"])
def test_lucas_layout_is_found_at_any_depth_in_table_order(tmp_path, depth):
    lucas_tree(tmp_path / depth)
    listing = find_chips(tmp_path, make_spec())
    assert [(chip.point_id, chip.label) for chip in listing.chips] == [
        ("45922254", 0),
        ("45942254", 1),
        ("45922256", 0),
        ("45962258", 2),
    ]
    assert listing.chips[0].file == (Path(depth) / "1/45922254.tif").as_posix()
    assert (listing.chips[0].easting_m, listing.chips[0].northing_m) == (4592000.0, 2254000.0)
    assert listing.table == (Path(depth) / TABLE).as_posix()
    assert listing.problems == ()


def test_macos_litter_hidden_files_and_archives_are_ignored(tmp_path):
    lucas_tree(tmp_path / "chips")
    put(tmp_path / "chips/__MACOSX/1/45922254.tif", "litter")
    put(tmp_path / "chips/1/._45922254.tif", "litter")
    put(tmp_path / f"chips/._{TABLE}", "litter")
    put(tmp_path / ".cache/1/45922254.tif", "litter")
    put(tmp_path / "chips/chips.tar.gz", "litter")
    put(tmp_path / "chips/1/.DS_Store", "litter")
    assert len(files_of(tmp_path, make_spec())) == 4


def test_nested_copy_of_the_whole_tree_is_ignored(tmp_path):
    lucas_tree(tmp_path / "chips")
    lucas_tree(tmp_path / "chips/chips")
    put(tmp_path / "chips/chips/1/45922254.tif", "the same chip, packed in another way")
    assert all(file.startswith(("chips/1", "chips/2")) for file in files_of(tmp_path, make_spec()))


def test_nested_copy_is_ignored_where_the_table_names_the_files(tmp_path):
    for folder, packing in ((tmp_path, "first"), (tmp_path / "copy", "second")):
        put(folder / "labels.csv", "file,class\na/x.tif,1\n")
        put(folder / "a/x.tif", packing)
    assert files_of(tmp_path, make_spec(LISTED, point_ids="none")) == ["a/x.tif"]


def test_nested_copy_without_its_own_table_is_ignored(tmp_path):
    lucas_tree(tmp_path)
    for name, code in IDS.items():
        put(tmp_path / "copy" / code / f"{name}.tif", f"chip {name}")
    assert "1/45922254.tif" in files_of(tmp_path, make_spec())


def test_table_may_lie_beside_the_chips(tmp_path):
    lucas_tree(tmp_path / "chips")
    (tmp_path / "labels").mkdir()
    (tmp_path / "chips" / TABLE).rename(tmp_path / "labels" / TABLE)
    assert len(files_of(tmp_path, make_spec())) == 4


def test_copy_of_the_table_beside_the_chips_does_not_hide_them(tmp_path):
    lucas_tree(tmp_path / "data/chips")
    put(tmp_path / TABLE, (tmp_path / "data/chips" / TABLE).read_bytes())
    assert len(files_of(tmp_path, make_spec())) == 4


def test_linked_folders_are_followed_once(tmp_path):
    lucas_tree(tmp_path / "elsewhere")
    root = tmp_path / "root"
    root.mkdir()
    (root / "chips").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "loop").symlink_to(root, target_is_directory=True)
    assert len(files_of(root, make_spec())) == 4


def test_a_deeper_table_that_differs_is_refused_because_its_labels_may_be_the_right_ones(tmp_path):
    lucas_tree(tmp_path)
    put(tmp_path / "old" / TABLE, "Point_ID,STR18\n45922254,2\n")
    with pytest.raises(StudyError, match="two different labels tables") as caught:
        find_chips(tmp_path, make_spec())
    assert f"{TABLE} and old/{TABLE}" in caught.value.found
    layout = {"labels": "table", "table": f"./{TABLE}", "id_column": "Point_ID", "label_column": "STR18"}
    assert len(files_of(tmp_path, make_spec(layout))) == 4
    (tmp_path / "old" / TABLE).rename(tmp_path / "old" / "other.csv")
    assert len(files_of(tmp_path, make_spec())) == 4


def test_different_tables_at_one_depth_are_refused_and_named(tmp_path):
    lucas_tree(tmp_path / "first")
    put(tmp_path / "second" / TABLE, "Point_ID,STR18\n45922254,2\n")
    with pytest.raises(StudyError, match="two different labels tables") as caught:
        find_chips(tmp_path, make_spec())
    assert f"first/{TABLE} and second/{TABLE}" in caught.value.found


def test_table_can_be_told_apart_by_its_folder(tmp_path):
    lucas_tree(tmp_path / "first")
    put(tmp_path / "second" / TABLE, "Point_ID,STR18\n45922254,2\n")
    layout = {"labels": "table", "table": f"first/{TABLE}", "id_column": "Point_ID", "label_column": "STR18"}
    assert len(files_of(tmp_path, make_spec(layout))) == 4


def test_spreadsheet_habits_in_the_table_are_understood(tmp_path):
    lucas_tree(tmp_path)
    put(
        tmp_path / TABLE,
        "\ufeffPoint_ID , STR18,note\r\n45922254.0, 1.0,x\r\n 45942254 ,2.0\r\n45922256,1,\r\n45962258,10,\r\n",
    )
    assert len(files_of(tmp_path, make_spec())) == 4


def test_labels_may_be_class_names(tmp_path):
    lucas_tree(tmp_path, {"45922254": "Arable lands", "45942254": "Permanent crops"})
    assert [chip.label for chip in find_chips(tmp_path, make_spec()).chips] == [0, 1]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_folders_as_labels_with_accents_spaces_and_quotes(tmp_path, form):
    for name in ("Città d'arte", 'Öde "Flächen"'):
        put(tmp_path / "x" / unicodedata.normalize(form, name) / f"chip of {name[0]}.TIFF", name)
    classes = [{"code": "city", "name": "Città d'arte"}, {"code": 'Öde "Flächen"', "name": "barren"}]
    listing = find_chips(tmp_path, make_spec(FOLDERS, classes=classes, point_ids="none"))
    assert [(chip.point_id, chip.label) for chip in listing.chips] == [("chip of C", 0), ("chip of Ö", 1)]
    assert (tmp_path / listing.chips[0].file).is_file()
    assert math.isnan(listing.chips[0].easting_m)
    assert listing.table is None


def test_table_with_file_column_and_coordinates(tmp_path):
    put(tmp_path / "in/labels.csv", "file,class,lat,lon\ntiles/è 1.tif,10,52,10\n../out/b.tif,1,42,12.5\n")
    put(tmp_path / "in/tiles" / unicodedata.normalize("NFD", "è 1.tif"), "a")
    put(tmp_path / "out/b.tif", "b")
    listing = find_chips(tmp_path, make_spec(LISTED | {"x_column": "lon", "y_column": "lat"}, point_ids="none"))
    assert listing.problems == ()
    first, second = listing.chips
    assert (first.point_id, first.label, second.point_id, second.file) == ("è 1", 2, "b", "out/b.tif")
    # 52 N 10 E is the origin of EPSG:3035, with false easting 4,321,000 m and false northing 3,210,000 m.
    assert (first.easting_m, first.northing_m) == pytest.approx((4321000.0, 3210000.0), abs=0.01)


def test_projected_coordinates_keep_their_place(tmp_path):
    put(tmp_path / "labels.csv", "file,class,x,y\na.tif,1,4592000,2254000\n")
    put(tmp_path / "a.tif", "a")
    layout = LISTED | {"x_column": "x", "y_column": "y", "crs": "EPSG:3035"}
    (chip,) = find_chips(tmp_path, make_spec(layout, point_ids="none")).chips
    assert (chip.easting_m, chip.northing_m) == pytest.approx((4592000.0, 2254000.0), abs=0.01)


def test_numbered_folders_are_no_classes_where_the_table_names_the_files(tmp_path):
    put(tmp_path / "labels.csv", "file,class\n1/a.tif,2\n2/a2.tif,1\n")
    put(tmp_path / "1/a.tif", "a")
    put(tmp_path / "2/a2.tif", "b")
    assert files_of(tmp_path, make_spec(LISTED, point_ids="none")) == ["1/a.tif", "2/a2.tif"]


# Problems of single chips.


PATHS = {
    "backslashes": lambda path, root: path.replace("/", "\\"),
    "no suffix": lambda path, root: path.removesuffix(".tif"),
    "another case": lambda path, root: path.replace(".tif", ".TIF"),
    "a folder before": lambda path, root: f"data/{path}",
    "a folder elsewhere": lambda path, root: f"/home/somebody/{path}",
    "an address": lambda path, root: f"file://{root}/{path}",
    "the name alone": lambda path, root: path.rpartition("/")[2],
}


def tabled(root, write):
    """Chips of two classes with equal numbers, and a table that names them as `write` does."""
    paths = ["a/1.tif", "a/22.tif", "b/1.tif"]
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
    rows = [f"{write(path, root)},{path[0]}" for path in paths]
    (root / "labels.csv").write_text("file,class\n" + "\n".join(rows) + "\n")
    classes = [{"code": "a", "name": "A"}, {"code": "b", "name": "B"}]
    return find_chips(root, make_spec(layout=LISTED | {"id_column": "file"}, classes=classes, point_ids="none"))


@pytest.mark.parametrize("way", PATHS)
def test_a_path_that_is_not_relative_to_the_table_is_explained_with_the_chip_that_is_meant(tmp_path, way):
    found = tabled(tmp_path, PATHS[way])
    messages = " ".join(p.message for p in found.problems if p.kind == "label_without_file")
    named = PATHS[way]("a/22.tif", tmp_path)
    assert f"no file {named} in the folder of the chips; expected a path relative to the table, with /" in messages
    meant = ["a/22.tif"] if way == "the name alone" else ["a/1.tif", "a/22.tif", "b/1.tif"]
    assert [path for path in ("a/1.tif", "a/22.tif", "b/1.tif") if f": is {path} meant?" in messages] == meant


def test_absolute_paths_that_lead_to_chips_are_accepted(tmp_path):
    chips, link = tmp_path / "chips", tmp_path / "link"
    chips.mkdir()
    link.symlink_to(chips)
    for root, named in ((chips, chips), (chips, link), (link, chips)):
        found = tabled(root, lambda path, _, named=named: f"{named}/{path}")
        assert [chip.file for chip in found.chips] == ["a/1.tif", "a/22.tif", "b/1.tif"]
        assert found.problems == ()


def test_label_without_file(tmp_path):
    lucas_tree(tmp_path)
    (tmp_path / "2/45942254.tif").unlink()
    problem = only_problem(tmp_path, make_spec())
    assert (problem.point_id, problem.file, problem.kind) == ("45942254", None, "label_without_file")
    assert "45942254.tif" in problem.message


def test_file_without_label(tmp_path):
    lucas_tree(tmp_path)
    put(tmp_path / "1/45982254.tif", "chip")
    problem = only_problem(tmp_path, make_spec())
    assert (problem.point_id, problem.file, problem.kind) == ("45982254", "1/45982254.tif", "file_without_label")


def test_empty_label(tmp_path):
    lucas_tree(tmp_path)
    put(tmp_path / TABLE, (tmp_path / TABLE).read_text().replace("45942254,2", "45942254,"))
    assert (only_problem(tmp_path, make_spec()).kind, len(find_chips(tmp_path, make_spec()).chips)) == (
        "file_without_label",
        3,
    )


def test_row_without_id(tmp_path):
    lucas_tree(tmp_path)
    with (tmp_path / TABLE).open("a") as table:
        table.write(",1\n,2\n")
    problem = only_problem(tmp_path, make_spec())
    assert problem.kind == "missing_id"
    assert problem.message.startswith("2 row(s)")


def test_id_twice_in_the_table_drops_the_chip_and_shows_its_labels(tmp_path):
    lucas_tree(tmp_path)
    with (tmp_path / TABLE).open("a") as table:
        table.write("45922254,2\n")
    problem = only_problem(tmp_path, make_spec())
    assert (problem.kind, problem.point_id) == ("duplicate_label", "45922254")
    assert "2 rows" in problem.message
    assert "label 1, 2" in problem.message


def test_label_outside_the_classes(tmp_path):
    lucas_tree(tmp_path, IDS | {"45982254": "7"})
    problem = only_problem(tmp_path, make_spec())
    assert (problem.kind, problem.point_id) == ("unknown_label", "45982254")
    assert "'7'" in problem.message
    assert "1, 2, 10" in problem.message


def test_folder_outside_the_classes(tmp_path):
    put(tmp_path / "1/a.tif", "a")
    put(tmp_path / "misc/b.tif", "b")
    problem = only_problem(tmp_path, make_spec(FOLDERS, point_ids="none"))
    assert (problem.kind, problem.file) == ("unknown_label", "misc/b.tif")
    assert "folder 'misc'" in problem.message


def test_numbers_of_parts_in_class_folders_are_no_classes(tmp_path):
    """Such as folds or years: with codes of as many classes, all labels would be those of the parts."""
    for part, name in enumerate(["Arable lands", "Permanent crops"], 1):
        put(tmp_path / name / str(part) / f"{part}a.tif", name)
        put(tmp_path / name / str(3 - part) / f"{part}b.tif", f"{name} again")
    listing = find_chips(tmp_path, make_spec(FOLDERS, point_ids="none"))
    assert {(problem.kind, problem.point_id) for problem in listing.problems} == {
        ("folder_disagrees", "1b"),
        ("folder_disagrees", "2b"),
    }
    assert "is in folder '2', a class, in folder 'Arable lands', another class" in listing.problems[0].message


def test_a_label_in_other_capitals_is_said_to_be_one(tmp_path):
    spec = make_spec()
    name = spec.classes[0].name
    lucas_tree(tmp_path, IDS | {"45982254": name.upper()})
    problem = only_problem(tmp_path, spec)
    assert problem.kind == "unknown_label"
    assert f"did you mean {name!r}?" in problem.message


def test_folder_that_disagrees_with_the_table(tmp_path):
    lucas_tree(tmp_path)
    (tmp_path / "2/45942254.tif").rename(tmp_path / "1/45942254.tif")
    problem = only_problem(tmp_path, make_spec())
    assert (problem.kind, problem.file) == ("folder_disagrees", "1/45942254.tif")
    assert "'1'" in problem.message
    assert "'2'" in problem.message


def test_two_different_files_of_one_id(tmp_path):
    lucas_tree(tmp_path)
    put(tmp_path / "more/1/45922254.tif", "another chip")
    problem = only_problem(tmp_path, make_spec())
    assert problem.kind == "duplicate_file"
    assert "1/45922254.tif, more/1/45922254.tif" in problem.message


def test_two_files_whose_names_look_equal_are_told_apart(tmp_path):
    """An accent as a character of its own (U+0301), and as a part of its letter (U+00E9)."""
    for form in ("NFC", "NFD"):
        put(tmp_path / "1" / unicodedata.normalize(form, "é.tif"), form)
    put(tmp_path / "2/b.tif", "b")
    problem = only_problem(tmp_path, make_spec(FOLDERS, point_ids="none"))
    assert "1/e\\u0301.tif" in problem.message and "1/\\u00e9.tif" in problem.message
    assert join_first(["é", "è", "ö"]) == "é, è, ö", "names that do not look equal are shown as they are"


@pytest.mark.parametrize("layout", [None, FOLDERS])
def test_one_chip_in_two_class_folders_is_no_harmless_copy(tmp_path, layout):
    lucas_tree(tmp_path)
    put(tmp_path / "2/45922254.tif", (tmp_path / "1/45922254.tif").read_bytes())
    problem = only_problem(tmp_path, make_spec(layout))
    assert (problem.kind, problem.point_id) == ("duplicate_file", "45922254")


def test_two_chips_of_one_file(tmp_path):
    put(tmp_path / "labels.csv", "file,class,id\na.tif,1,first\na.tif,2,second\nb.tif,1,third\n")
    put(tmp_path / "a.tif", "a")
    put(tmp_path / "b.tif", "b")
    listing = find_chips(tmp_path, make_spec(LISTED | {"id_column": "id"}, point_ids="none"))
    assert [(p.point_id, p.kind) for p in listing.problems] == [
        ("first", "duplicate_file"),
        ("second", "duplicate_file"),
    ]


def test_file_the_table_does_not_name(tmp_path):
    put(tmp_path / "labels.csv", "file,class\na/x.tif,1\n")
    put(tmp_path / "a/x.tif", "x")
    put(tmp_path / "b/x.tif", "another x")
    put(tmp_path / "copy/x.tif", "x")
    problem = only_problem(tmp_path, make_spec(LISTED, point_ids="none"))
    assert (problem.kind, problem.file) == ("file_without_label", "b/x.tif")


def test_file_outside_the_dataset_is_not_taken(tmp_path):
    put(tmp_path / "root/labels.csv", "file,class\n../secret.tif,1\na.tif,1\n")
    put(tmp_path / "root/a.tif", "a")
    put(tmp_path / "secret.tif", "s")
    problem = only_problem(tmp_path / "root", make_spec(LISTED, point_ids="none"))
    assert (problem.kind, problem.point_id) == ("label_without_file", "secret")


def test_id_that_is_no_lucas_id(tmp_path):
    lucas_tree(tmp_path, IDS | {"chip-7": "1"})
    problem = only_problem(tmp_path, make_spec())
    assert (problem.kind, problem.point_id) == ("not_a_lucas_id", "chip-7")
    assert len(find_chips(tmp_path, make_spec(point_ids="none")).chips) == 5


@pytest.mark.parametrize(("lat", "lon"), [("", "12"), ("42 N", "12"), ("95", "200"), ("nan", "12"), ("inf", "12")])
def test_coordinates_that_are_no_place(tmp_path, lat, lon):
    put(tmp_path / "labels.csv", f"file,class,lat,lon\na.tif,1,42,12\nb.tif,1,{lat},{lon}\n")
    put(tmp_path / "a.tif", "a")
    put(tmp_path / "b.tif", "b")
    spec = make_spec(LISTED | {"x_column": "lon", "y_column": "lat"}, point_ids="none")
    problem = only_problem(tmp_path, spec)
    assert (problem.kind, problem.point_id) == ("bad_coordinates", "b")
    assert repr(lat) in problem.message


# Problems of the whole dataset.


def test_missing_folder(tmp_path):
    with pytest.raises(StudyError, match="does not exist"):
        find_chips(tmp_path / "nowhere", make_spec())


@pytest.mark.parametrize(("layout", "expected"), [(None, TABLE), (FOLDERS, "<class code or name>/<chip>.tif")])
def test_no_chips_says_where_it_looked_what_was_there_and_what_it_wanted(tmp_path, layout, expected):
    put(tmp_path / "Lucas.tar.gz", "packed")
    put(tmp_path / "readme/notes.txt", "text")
    with pytest.raises(StudyError) as caught:
        find_chips(tmp_path, make_spec(layout))
    assert str(tmp_path) in caught.value.problem
    assert caught.value.found == "Lucas.tar.gz, readme (1 x .gz, 1 x .txt)"
    assert "type: archive" in caught.value.remedy
    assert expected in caught.value.expected


@pytest.mark.parametrize("suffix", [".png", ".jp2", ".npy"])
def test_pictures_and_arrays_are_named_with_the_way_to_geotiff(tmp_path, suffix):
    for number in range(3):
        put(tmp_path / "1" / f"{number}{suffix}", "no chip")
    with pytest.raises(StudyError, match="No chips") as caught:
        find_chips(tmp_path, make_spec(FOLDERS))
    assert f"3 x {suffix}" in caught.value.found
    assert f"convert the chips from {suffix} to GeoTIFF" in caught.value.remedy


def test_missing_table_names_the_tables_there_are(tmp_path):
    lucas_tree(tmp_path)
    (tmp_path / TABLE).rename(tmp_path / "classes.csv")
    with pytest.raises(StudyError, match=f"{TABLE} is nowhere") as caught:
        find_chips(tmp_path, make_spec())
    assert "classes.csv" in caught.value.found


@pytest.mark.parametrize("kind", ["a link to nowhere.csv, which does not exist", "a FIFO", "a folder"])
def test_an_entry_in_the_place_of_the_table_is_named(tmp_path, kind):
    lucas_tree(tmp_path)
    place = tmp_path / TABLE
    place.unlink()
    if "link" in kind:
        place.symlink_to("nowhere.csv")
    else:
        os.mkfifo(place) if "FIFO" in kind else place.mkdir()
    with pytest.raises(StudyError, match="is no file") as caught:
        find_chips(tmp_path, make_spec())
    assert f"{TABLE} is {kind}" in caught.value.found
    assert caught.value.remedy


def test_missing_column_names_the_columns_there_are(tmp_path):
    lucas_tree(tmp_path)
    put(tmp_path / TABLE, "POINT_ID;STR18\n45922254;1\n")
    with pytest.raises(StudyError, match="has no column Point_ID, STR18") as caught:
        find_chips(tmp_path, make_spec())
    assert "POINT_ID;STR18" in caught.value.found
    assert "semicolons" in caught.value.expected


@pytest.mark.parametrize("content", [b"", b"Point_ID,STR18\n1,\xff\xfe\n", b'a,b\n1,"2\n'])
def test_file_that_is_no_table(tmp_path, content):
    lucas_tree(tmp_path)
    put(tmp_path / TABLE, content)
    with pytest.raises(StudyError, match="no comma-separated UTF-8 table"):
        find_chips(tmp_path, make_spec())


def test_unknown_coordinate_system(tmp_path):
    put(tmp_path / "labels.csv", "file,class,lat,lon\na.tif,1,42,12\n")
    put(tmp_path / "a.tif", "a")
    layout = LISTED | {"x_column": "lon", "y_column": "lat", "crs": "EPSG:4326000"}
    with pytest.raises(StudyError, match="EPSG:4326000"):
        find_chips(tmp_path, make_spec(layout, point_ids="none"))


@pytest.mark.parametrize("second", [{"code": "1", "name": "Grass"}, {"code": 3, "name": "Arable lands"}])
def test_classes_that_cannot_be_told_apart(second):
    with pytest.raises(StudyError, match="two classes"):
        make_spec(classes=[{"code": 1, "name": "Arable lands"}, second])


# Folders, links and names.


def test_linked_class_folders_are_classes_even_if_both_lead_to_one_folder(tmp_path):
    put(tmp_path / "elsewhere/a.tif", "a")
    put(tmp_path / "other/b.tif", "b")
    root = tmp_path / "root"
    root.mkdir()
    (root / "1").symlink_to(tmp_path / "elsewhere")
    (root / "2").symlink_to(tmp_path / "other")
    spec = make_spec(FOLDERS, point_ids="none")
    assert [(chip.file, chip.label) for chip in find_chips(root, spec).chips] == [("1/a.tif", 0), ("2/b.tif", 1)]
    (root / "2").unlink()
    (root / "2").symlink_to(tmp_path / "elsewhere")
    problem = only_problem(root, spec)
    assert (problem.kind, problem.message[:30]) == ("duplicate_file", "is in 2 files (1/a.tif, 2/a.ti")


@pytest.mark.parametrize("layout", [None, FOLDERS])
@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_chip_that_is_no_file_is_a_problem_and_does_not_vanish(tmp_path, layout, kind):
    lucas_tree(tmp_path)
    chip = tmp_path / "2/45942254.tif"
    chip.unlink()
    if kind == "link":
        chip.symlink_to("/nowhere/45942254.tif")
    elif kind == "fifo":
        os.mkfifo(chip)
    else:
        put(chip / "notes.txt", "no chip")
    problem = only_problem(tmp_path, make_spec(layout))
    assert (problem.point_id, problem.file, problem.kind) == ("45942254", "2/45942254.tif", "not_a_file")
    said = {"link": "/nowhere/45942254.tif, which does not exist", "fifo": "is a FIFO", "folder": "is a folder;"}
    assert said[kind] in problem.message


def test_a_folder_named_like_a_chip_may_contain_it(tmp_path):
    put(tmp_path / "1/45922254.tif/45922254.tif", "chip")
    put(tmp_path / TABLE, "Point_ID,STR18\n45922254,1\n")
    assert files_of(tmp_path, make_spec()) == ["1/45922254.tif/45922254.tif"]


@pytest.mark.parametrize("layout", [None, FOLDERS])
def test_images_of_other_formats_are_counted(tmp_path, layout, caplog):
    lucas_tree(tmp_path)
    for name in ("1/a.jp2", "1/b.JP2", "2/c.npy", "2/d.zarr/0.0", "1/notes.txt", "1/45922254.tif.aux.xml"):
        put(tmp_path / name, "x")
    with caplog.at_level(logging.WARNING):
        listing = find_chips(tmp_path, make_spec(layout))
    assert listing.left_out == {".jp2": 2, ".npy": 1, ".zarr": 1}
    assert "left out 2 x .jp2, 1 x .npy, 1 x .zarr: only .tif and .tiff are read as chips" in caplog.text


def test_dangling_chip_that_the_table_names_is_one_problem(tmp_path):
    put(tmp_path / "labels.csv", "file,class,id\na.tif,1,first\nb.tif,1,second\n")
    put(tmp_path / "b.tif", "b")
    (tmp_path / "a.tif").symlink_to("gone.tif")
    problem = only_problem(tmp_path, make_spec(LISTED | {"id_column": "id"}, point_ids="none"))
    assert (problem.point_id, problem.file, problem.kind) == ("first", "a.tif", "not_a_file")


def test_class_folder_that_is_a_dangling_link_stops_the_study(tmp_path):
    put(tmp_path / "1/a.tif", "a")
    (tmp_path / "2").symlink_to("/nowhere/grass")
    with pytest.raises(StudyError, match="chips may be missing") as caught:
        find_chips(tmp_path, make_spec(FOLDERS, point_ids="none", on_invalid="drop"))
    assert f"{tmp_path}/2 is a link to /nowhere/grass, which does not exist" in caught.value.found


def test_name_that_is_not_utf8_is_a_problem_with_the_name(tmp_path):
    put(tmp_path / "1/a.tif", "a")
    put(Path(os.fsdecode(os.fsencode(tmp_path / "1") + b"/caf\xe9.tif")), "b")
    listing = find_chips(tmp_path, make_spec(FOLDERS, point_ids="none"))
    assert [chip.file for chip in listing.chips] == ["1/a.tif"]
    (problem,) = listing.problems
    assert (problem.kind, problem.file, problem.has_row) == ("bad_name", r"1/caf\xe9.tif", False)
    json.dumps([problem.point_id, problem.file, problem.message], ensure_ascii=False).encode("utf-8")


def test_other_name_that_is_not_utf8_is_no_problem_but_can_be_shown(tmp_path):
    put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/notes \xff.txt")), "b")
    with pytest.raises(StudyError) as caught:
        find_chips(tmp_path, make_spec(FOLDERS))
    assert r"notes \xff.txt" in str(caught.value)
    str(caught.value).encode("utf-8")
    put(tmp_path / "1/a.tif", "a")
    assert files_of(tmp_path, make_spec(FOLDERS, point_ids="none")) == ["1/a.tif"]


def test_chips_counted_in_each_class_have_their_class_in_the_id(tmp_path):
    for name in ("1/1.tif", "1/2.tif", "1/extra.tif", "2/1.tif", "2/img_007.tif", "10/img_007.tif"):
        put(tmp_path / name, name)
    listing = find_chips(tmp_path, make_spec(FOLDERS, point_ids="none"))
    assert listing.problems == ()
    assert [(chip.point_id, chip.label) for chip in listing.chips] == [
        ("1/1", 0), ("1/2", 0), ("extra", 0), ("10/img_007", 2), ("2/1", 1), ("2/img_007", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1/tile_12_3456.tif", "2/tile_12_3456.tif"),  # no counter: the same chip in another export
        ("a/1/3.tif", "b/1/3.tif"),  # in one class, which one is meant is not known
        ("1/3.tif", "1/3.tiff"),
        ("1/3.tif", "Arable lands/3.tif"),
    ],
)
def test_other_names_that_occur_twice_stay_one_chip_with_two_files(tmp_path, first, second):
    put(tmp_path / first, "first")
    put(tmp_path / second, "second")
    put(tmp_path / "2/4.tif", "another")
    assert only_problem(tmp_path, make_spec(FOLDERS, point_ids="none")).kind == "duplicate_file"


def test_counted_chip_that_was_copied_into_another_class_is_no_new_chip(tmp_path):
    for name in ("1/1.tif", "2/1.tif", "1/2.tif"):
        put(tmp_path / name, name)
    put(tmp_path / "2/2.tif", "1/2.tif")
    problem = only_problem(tmp_path, make_spec(FOLDERS, point_ids="none"))
    assert (problem.kind, problem.point_id) == ("duplicate_file", "2")


# Tables as spreadsheets leave them.


@pytest.mark.parametrize(
    ("written", "why"),
    [("4.59E+07", "digits are lost"), ('"45,922,254"', "separators"), ("45.922.254", "separators")],
)
def test_ids_that_a_spreadsheet_changed_are_shown_with_their_line(tmp_path, written, why):
    lucas_tree(tmp_path)
    put(tmp_path / TABLE, (tmp_path / TABLE).read_text().replace("45922254", written, 1))
    with pytest.raises(StudyError, match="A spreadsheet has changed 1 id") as caught:
        find_chips(tmp_path, make_spec())
    assert written.strip('"') in caught.value.found
    assert "line 2" in caught.value.found
    assert why in caught.value.found
    assert "format Text" in caught.value.remedy


def test_ids_that_lost_their_leading_zeros_are_shown_with_the_file(tmp_path):
    put(tmp_path / TABLE, "Point_ID,STR18\n12,1\n")
    put(tmp_path / "0012.tif", "a")
    with pytest.raises(StudyError, match="A spreadsheet has changed 1 id") as caught:
        find_chips(tmp_path, make_spec(point_ids="none"))
    assert "the file is 0012" in caught.value.found
    assert caught.value.expected == "ids as in the names of the chips, such as 0012"


def test_ids_of_any_form_are_accepted_where_the_table_names_the_files(tmp_path):
    """Such as strata and plots, or cells of a grid. One that is there twice may have lost its digits."""
    put(tmp_path / "labels.csv", "plot,file,class\n001.002,a.tif,1\n12 003,b.tif,2\n4E5,c.tif,10\n")
    for name in "abc":
        put(tmp_path / f"{name}.tif", name)
    spec = make_spec(LISTED | {"id_column": "plot"}, point_ids="none")
    assert files_of(tmp_path, spec) == ["a.tif", "b.tif", "c.tif"]
    put(tmp_path / "labels.csv", "plot,file,class\n4.59E+07,a.tif,1\n4.59E+07,b.tif,2\n4E5,c.tif,10\n")
    with pytest.raises(StudyError, match="A spreadsheet has changed 2 id"):
        find_chips(tmp_path, spec)


def test_id_that_only_looks_like_a_number_of_a_spreadsheet_is_an_id(tmp_path):
    put(tmp_path / TABLE, 'Point_ID,STR18\n1E5,1\n"1,234",2\n')
    put(tmp_path / "1E5.tif", "a")
    put(tmp_path / "1,234.tif", "b")
    assert len(files_of(tmp_path, make_spec(point_ids="none"))) == 2


def test_table_in_a_folder_that_is_not_utf8_is_read_and_can_be_reported(tmp_path):
    put(tmp_path / "1/45922254.tif", "a")
    put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")) / TABLE, "Point_ID,STR18\n45922254,1\n")
    listing = find_chips(tmp_path, make_spec())
    assert (listing.table, len(listing.chips), listing.problems) == (rf"caf\xe9/{TABLE}", 1, ())


def test_archives_beside_the_chips_are_counted_but_not_those_they_were_unpacked_from(tmp_path):
    for name in ("chips/1/a.tif", "chips/chips.tar.gz", "chips/1.zip", "chips/more.zip", "chips/b.gtiff"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert count_left_out(tmp_path, walk(tmp_path)) == {".gtiff": 1, ".zip": 1}


def test_tiff_files_that_are_not_named_as_such_are_counted_but_neither_masks_nor_texts(tmp_path):
    for name in ("a.tif", "b", "c.tif1", "d.tif.msk", "a.tif.ovr"):
        with rasterio.open(tmp_path / name, "w", driver="GTiff", width=1, height=1, count=1, dtype="uint8"):
            pass
    put(tmp_path / "README", "how the chips were cut")
    put(tmp_path / "empty", "")
    assert count_left_out(tmp_path, walk(tmp_path)) == {".tif1": 1, "no suffix": 1}


@pytest.mark.parametrize("beside", [".msk", ".aux.xml"])
def test_files_that_differ_in_what_lies_beside_them_are_no_copies(tmp_path, beside):
    """The copy that comes first in the alphabet would count, with or without the mask of the other."""
    names = [PurePosixPath(folder, "1.tif") for folder in ("backup", "chips")]
    for name in names:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"pixels")
    assert discovery._drop_copies(tmp_path, names, make_spec()) == names[:1]
    (tmp_path / f"chips/1.tif{beside}").write_bytes(b"mask")
    assert discovery._drop_copies(tmp_path, names, make_spec()) == names
    (tmp_path / f"backup/1.tif{beside}").write_bytes(b"mask")
    assert discovery._drop_copies(tmp_path, names, make_spec()) == names[:1]


def test_statistics_that_a_viewer_adds_beside_a_copy_do_not_make_it_another_chip(tmp_path):
    names = [PurePosixPath(folder, "1.tif") for folder in ("backup", "chips")]
    for name in names:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"pixels")
    band = '<PAMRasterBand band="1"><Metadata><MDI key="STATISTICS_MEAN">5</MDI></Metadata>{}</PAMRasterBand>'
    beside = tmp_path / "chips/1.tif.aux.xml"
    beside.write_text(f"<PAMDataset>{band.format('')}</PAMDataset>")
    assert discovery._drop_copies(tmp_path, names, make_spec()) == names[:1]
    beside.write_text(f"<PAMDataset>{band.format('<NoDataValue>7</NoDataValue>')}</PAMDataset>")
    assert discovery._drop_copies(tmp_path, names, make_spec()) == names


def test_files_of_one_name_are_read_once_and_copies_are_found(tmp_path, monkeypatch):
    """One folder for each chip: comparing each with all others takes days for a hundred thousand."""
    names = [PurePosixPath(f"{number}/image.tif") for number in range(40)]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir()
        # Two thirds differ at the end alone; the last two are copies of others.
        content = bytes([number % 3 and number]) * 70_000 + b"end" + bytes([number])
        (tmp_path / name).write_bytes(content)
    (tmp_path / names[38]).write_bytes((tmp_path / names[3]).read_bytes())
    (tmp_path / names[39]).write_bytes((tmp_path / names[4]).read_bytes())
    opened, plain_open = [], Path.open
    monkeypatch.setattr(Path, "open", lambda path, *given: opened.append(path) or plain_open(path, *given))
    assert discovery._drop_copies(tmp_path, names, make_spec()) == names[:38]
    assert len(opened) <= 2 * len(names)
