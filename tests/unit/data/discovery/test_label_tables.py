"""Tables of labels as editors, spreadsheets and other programs write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from terralucas.data.dataset import LayoutSpec
from terralucas.data.discovery.label_tables import Row, read_table
from terralucas.errors import StudyError

LAYOUT = LayoutSpec(labels="table", table="t.csv", id_column="id", label_column="cls")


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "t.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(folder: Path, content: str | bytes, match: str) -> StudyError:
    with pytest.raises(StudyError, match=match) as caught:
        read_table(write(folder, content), LAYOUT)
    assert caught.value.found and caught.value.expected and caught.value.remedy
    return caught.value


def test_rows_have_their_lines_and_empty_rows_are_left_out(tmp_path):
    rows = read_table(write(tmp_path, 'id,note,cls\r\na,"two\r\nlines",1\r\n,,\r\n\r\n b ,x, 2.0 \r\n'), LAYOUT)
    assert rows == [Row("a", "1", line=2), Row("b", "2", line=6)]


@pytest.mark.parametrize("header", ["id,cls,cls ", "id, cls,x,cls\u00a0", "id,cls,cls", "cls,id,cls"])
def test_two_columns_of_one_name_are_refused(tmp_path, header):
    error = refused(tmp_path, f"{header}\na,1,2,3\n", "2 columns of the name cls")
    assert "blanks around a name do not count" in error.found


def test_two_columns_that_nobody_reads_may_have_one_name(tmp_path):
    assert read_table(write(tmp_path, "id,note,note,cls\na,x,y,1\n"), LAYOUT) == [Row("a", "1", line=2)]


@pytest.mark.parametrize("rows", [0, 1000], ids=["near the start", "far from it"])
def test_a_nul_byte_in_a_utf_8_table_is_no_utf_16(tmp_path, rows):
    error = refused(tmp_path, "id,cls\n" + "other,1\n" * rows + "a\0b,1\n", "no comma-separated UTF-8 table")
    assert error.found == f"1 NUL byte(s) in the text, the first in line {rows + 2}"
    assert "UTF-16" not in error.remedy


def test_the_line_that_names_the_separator_for_spreadsheets_is_no_header(tmp_path):
    assert read_table(write(tmp_path, "sep=,\r\nid,cls\r\na,1\r\n"), LAYOUT) == [Row("a", "1", line=3)]
    assert "columns sep=;" in refused(tmp_path, "sep=;\nid;cls\na;1\n", "has no column id").found


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_utf16_is_named(tmp_path, encoding):
    error = refused(tmp_path, "id,cls\na,1\n".encode(encoding), "no comma-separated UTF-8 table")
    assert "UTF-16" in error.found
    assert "iconv -f UTF-16" in error.remedy


def test_latin1_is_named_with_its_line_and_word(tmp_path):
    error = refused(tmp_path, "id,cls\na,1\nb,Forêt dense\n".encode("latin-1"), "no comma-separated UTF-8 table")
    assert "line 3" in error.found
    assert "'Forêt dense'" in error.found
    assert "WINDOWS-1252" in error.remedy


@pytest.mark.parametrize(
    ("content", "found", "remedy"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n", "Git LFS pointer", "git lfs pull"),
        (b"<!DOCTYPE html><title>Sign in</title>", 'a web page titled "Sign in"', "save the file itself"),
        (b"\x1f\x8b\x08\0", "a gzip file", "unpack it"),
    ],
    ids=["lfs", "page", "gzip"],
)
def test_a_file_that_stands_for_the_table_is_named(tmp_path, content, found, remedy):
    error = refused(tmp_path, content, "no comma-separated UTF-8 table")
    assert found in error.found
    assert remedy in error.remedy


@pytest.mark.parametrize("unseen", ["\u200b", "\u00ad", "\ufeff", "\u2060", "\u200f"])
def test_characters_that_nobody_sees_are_no_part_of_names(tmp_path, unseen):
    """Text that is copied from web pages and documents has them; a message could not show the difference."""
    rows = read_table(write(tmp_path, f"{unseen}id,c{unseen}ls\n4592{unseen}2254,1{unseen}\n"), LAYOUT)
    assert rows == [Row("45922254", "1", line=2)]


def test_workbook_with_another_ending_is_named(tmp_path):
    error = refused(tmp_path, b"PK\x03\x04\x14\0\x06\0 and so on", "no comma-separated UTF-8 table")
    assert "an Excel workbook" in error.found
    assert "CSV UTF-8" in error.remedy


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ("a,x,1\nb,oak, old,2\n", "line 3 has 4; the header has 3"),  # a comma without quotes
        ("a,x,1\nb,2\n", "line 3 has 2; the header has 3"),
        ("a\nb\nc\nd\n", "line 2 has 1, line 3 has 1, line 4 has 1, ...; the header has 3"),
    ],
)
def test_lines_with_another_number_of_cells_are_named(tmp_path, rows, found):
    error = refused(tmp_path, f"id,note,cls\n{rows}", "another number of cells than its header")
    assert error.found == found


def test_cells_that_spreadsheets_leave_out_or_add_at_the_end_are_no_matter(tmp_path):
    assert len(read_table(write(tmp_path, "id,cls,note,more\na,1\nb,2,x\nc,1,x,y,,\n"), LAYOUT)) == 3


def test_open_quote_is_named_with_the_line_where_it_begins(tmp_path):
    assert "line 2" in refused(tmp_path, 'id,cls\na,"1\nb,2\n', "no comma-separated UTF-8 table").found


def test_a_cell_that_is_too_long_is_named_as_such(tmp_path):
    error = refused(tmp_path, f"id,cls\na,1\nb,{'x' * 131_073}\n", "no comma-separated")
    assert error.found == "line 3: a cell of more than 131,072 characters; perhaps its quote is not closed"
