"""Archives are unpacked whole and safely, or refused with nothing left behind."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import shutil
import stat
import struct
import subprocess
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from terralucas.data.retrieval import archives as unpack_module
from terralucas.data.retrieval.archives import LocalError, unpack
from terralucas.errors import StudyError

# Bytes that do not compress, so that cutting an archive in half cuts its data in half.
NOISE = random.Random(0).randbytes(40_000)
TREE = {"Chips/1/45922254.tif": b"one", "Chips/2/44282510.tif": NOISE, "Chips/chips_LC_class.csv": b"Point_ID,STR18\n"}


def tar_member(name: str, content: bytes = b"x", **attributes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for key, value in {"size": len(content), **attributes}.items():
        setattr(info, key, value)
    return info, content


def write_tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


def write_zip(path: Path, members: dict[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def archive_of_tree(folder: Path, kind: str) -> Path:
    path = folder / "chips.archive"
    if kind == "zip":
        return write_zip(path, TREE)
    return write_tar(path, [tar_member(name, content) for name, content in TREE.items()], mode=kind)


def tree_of(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def everything_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.fixture
def place(tmp_path):
    """A folder with an archive's place in it, deep enough that an escape stays within tmp_path."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    return folder


def assert_refused(place: Path, archive: Path, *words: str) -> None:
    root = place.parents[1]
    before = everything_in(root)
    with pytest.raises(StudyError) as raised:
        unpack(archive, place / "chips", progress=False)
    for word in words:
        assert word in str(raised.value)
    assert everything_in(root) == before


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_every_kind_is_told_by_its_content_and_unpacked(tmp_path, kind):
    assert unpack(archive_of_tree(tmp_path, kind), tmp_path / "chips", progress=False) == 3
    assert tree_of(tmp_path / "chips") == TREE


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("/etc/evil", "an absolute path"),
        ("../../evil", "leaves the folder"),
        ("Chips/../../evil", "leaves the folder"),
        ("..\\evil", "leaves the folder"),
        ("C:\\evil", "an absolute path"),
        ("../._evil", "leaves the folder"),
    ],
)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_lead_out_are_refused(place, kind, name, found):
    path = place / "chips.archive"
    if kind == "tar":
        write_tar(path, [tar_member("Chips/1.tif"), tar_member(name)])
    else:
        write_zip(path, {"Chips/1.tif": b"x", name: b"x"})
    assert_refused(place, path, "not safe to unpack", repr(name), found, "what to do")


@pytest.mark.parametrize(
    ("type_", "linkname", "found"),
    [
        (tarfile.SYMTYPE, "../../outside", "a symbolic link to ../../outside"),
        (tarfile.SYMTYPE, "1.tif", "a symbolic link"),
        (tarfile.LNKTYPE, "/etc/passwd", "a hard link to /etc/passwd"),
        (tarfile.CHRTYPE, "", "a device"),
        (tarfile.BLKTYPE, "", "a device"),
        (tarfile.FIFOTYPE, "", "a FIFO"),
        (b"Z", "", "an entry of unknown type"),
    ],
)
def test_members_that_are_no_files_are_refused(place, type_, linkname, found):
    special = tar_member("Chips/special", b"", type=type_, linkname=linkname)
    archive = write_tar(place / "chips.tar.gz", [tar_member("Chips/1.tif"), special])
    assert_refused(place, archive, "'Chips/special'", found)


def test_writing_through_a_symbolic_link_is_refused(place):
    outside = place.parent / "outside"
    outside.mkdir()
    link = tar_member("Chips", b"", type=tarfile.SYMTYPE, linkname=str(outside))
    assert_refused(place, write_tar(place / "x.tar", [link, tar_member("Chips/evil")], "w"), "'Chips'", "symbolic link")


@pytest.mark.parametrize(("mode", "found"), [(stat.S_IFLNK, "a symbolic link"), (stat.S_IFIFO, "a device or FIFO")])
def test_special_members_of_a_zip_are_refused(place, mode, found):
    info = zipfile.ZipInfo("Chips/special")
    info.external_attr = (mode | 0o777) << 16
    assert_refused(place, write_zip(place / "chips.zip", {info: b"/etc/passwd"}), "'Chips/special'", found)


def test_encrypted_zip_is_refused(place):
    path = write_zip(place / "chips.zip", {"Chips/1.tif": b"x"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert_refused(place, path, "encrypted", "Chips/1.tif", "type: directory")


def test_unknown_compression_is_refused(place):
    path = write_zip(place / "chips.zip", {"Chips/1.tif": b"x"})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 10), (b"PK\x03\x04", 8)):
        struct.pack_into("<H", data, data.index(signature) + offset, 97)
    path.write_bytes(data)
    assert_refused(place, path, "compression", "what to do")


def test_litter_of_macos_is_left_out(tmp_path):
    litter = ["Chips/._1.tif", "._Chips", "__MACOSX/Chips/1.tif", "Chips/.DS_Store"]
    members = [tar_member("./"), *(tar_member(name) for name in ["Chips/1.tif", *litter])]
    members[0][0].type, members[0][0].size = tarfile.DIRTYPE, 0
    assert unpack(write_tar(tmp_path / "x.tar.gz", members), tmp_path / "from_tar", progress=False) == 1
    assert everything_in(tmp_path / "from_tar") == {"Chips", "Chips/1.tif"}
    archive = write_zip(tmp_path / "x.zip", dict.fromkeys(["Chips/1.tif", *litter], b"x"))
    assert unpack(archive, tmp_path / "from_zip", progress=False) == 1
    assert everything_in(tmp_path / "from_zip") == {"Chips", "Chips/1.tif"}


def test_modes_are_normalised(tmp_path):
    folder = tar_member("Chips", b"", type=tarfile.DIRTYPE, mode=0o000)
    files = [tar_member("Chips/closed.tif", mode=0o000), tar_member("Chips/setuid.tif", mode=0o6777, uid=0)]
    unpack(write_tar(tmp_path / "x.tar", [folder, *files], "w"), tmp_path / "chips", progress=False)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "chips").rglob("*")}
    assert modes == {"Chips": 0o755, "closed.tif": 0o644, "setuid.tif": 0o644}


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_truncated_archive_is_refused(place, kind):
    archive = archive_of_tree(place, kind)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    assert_refused(place, archive, "truncated or corrupt", f"{archive.stat().st_size} bytes", "a complete archive")


@pytest.mark.parametrize("kind", ["w:gz", "w:bz2", "w:xz", "zip"])
def test_one_flipped_byte_is_noticed(place, kind):
    archive = archive_of_tree(place, kind)
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(data)
    assert_refused(place, archive, "truncated or corrupt")


def test_checksum_behind_the_last_member_is_compared(place):
    archive = archive_of_tree(place, "w:gz")
    data = bytearray(archive.read_bytes())
    data[-8] ^= 0xFF  # the CRC of a gzip stream is in its last eight bytes
    archive.write_bytes(data)
    assert_refused(place, archive, "truncated or corrupt", "incorrect data check")


@pytest.mark.parametrize("at", ["last_epoch", "header"])
def test_tar_that_lost_its_last_members_is_noticed(place, at):
    """tarfile alone takes both for the regular end of the archive."""
    data = bytearray(write_tar(place / "x", [tar_member(f"Chips/{i}.tif") for i in range(3)], "w").read_bytes())
    second = 1024
    if at == "last_epoch":
        data = data[:second]
    else:
        data[second : second + 20] = b"\xff" * 20
    (place / "x").write_bytes(gzip.compress(data))
    assert_refused(place, place / "x", "truncated or corrupt")


def test_gzip_without_a_tar_in_it_is_refused(place):
    (place / "x.gz").write_bytes(gzip.compress(b"just text " * 1000))
    assert_refused(place, place / "x.gz", "not an archive", "compressed with gz that is no tar", "just text")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"II*\0" + bytes(600), "a TIFF file"),
        (b"Point_ID,STR18\n45922254,10\n", "b'Point_ID"),
        (gzip.compress(NOISE), "a gzip file"),
        (b"PK\x03\x04" + NOISE, "a zip archive"),
    ],
    ids=["chip", "table", "gzip", "zip"],
)
def test_compressed_file_that_is_no_tar_is_not_called_damaged(place, content, found):
    (place / "x.gz").write_bytes(gzip.compress(content))
    assert_refused(place, place / "x.gz", "not an archive", "compressed with gz", found)


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("last", [512, 10240])
def test_joined_archives_are_not_read_by_the_first_alone(place, kind, last):
    """tarfile and tar take the zeros between them for the end."""
    parts = []
    for number in range(2):
        path = write_tar(place / "part", [tar_member(f"Chips/{number}.tif", bytes([65] * (last - 1)))], kind)
        parts.append(path.read_bytes())
        path.unlink()
    (place / "joined").write_bytes(b"".join(parts))
    assert_refused(place, place / "joined", "goes on after its end", "more data", "--ignore-zeros")


def test_joined_zip_archives_are_not_read_by_the_last_alone(place):
    parts = [write_zip(place / f"{number}.zip", {f"Chips/{number}.tif": NOISE}).read_bytes() for number in range(2)]
    (place / "joined").write_bytes(b"".join(parts))
    assert_refused(place, place / "joined", "list at its end names", f"{len(parts[0])} bytes", "a complete copy")


@pytest.mark.parametrize("kept", [100, 3_000])
def test_a_cut_zip_behind_another_is_not_left_out(place, kept):
    """zipfile looks for the end of the list in the last 64 kB, whatever follows it."""
    second = write_zip(place / "b.zip", {"Chips/b.tif": NOISE}).read_bytes()
    with write_zip(place / "a.zip", {"Chips/a.tif": b"a"}).open("ab") as file:
        file.write(second[:kept])
    assert_refused(place, place / "a.zip", "list at its end names", f"{kept} bytes from byte")


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_files_that_the_list_of_a_zip_lacks_are_not_left_out(place, lost):
    path = write_zip(place / "x.zip", {f"Chips/{number}.tif": NOISE for number in range(3)})
    with zipfile.ZipFile(path, "a") as file:
        del file.filelist[lost]
        file.comment = b"written again"
    assert_refused(place, path, "list at its end names")


def test_a_zip_of_a_stream_with_a_comment_is_whole(tmp_path):
    """In a stream, sizes and checksum stand after each file."""

    class Stream(io.RawIOBase):
        def __init__(self) -> None:
            self.content = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data) -> int:
            self.content += data
            return len(data)

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in TREE.items():
            with file.open(name, "w", force_zip64=True) as member:
                member.write(content)
        file.comment = b"PK\x03\x04 a comment"
    (tmp_path / "x.zip").write_bytes(stream.content)
    assert unpack(tmp_path / "x.zip", tmp_path / "chips", progress=False) == 3
    assert tree_of(tmp_path / "chips") == TREE


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress], ids=["bz2", "xz"])
def test_a_damaged_stream_behind_the_first_is_not_left_out(place, compress):
    """BZ2File and LZMAFile end there without an error, so that the tar seems to have ended too."""
    first = write_tar(place / "x.tar", [tar_member("Chips/1.tif")], "w").read_bytes()
    (place / "x.tar").write_bytes(compress(first) + b"\xff" + compress(b"second")[1:])
    assert_refused(place, place / "x.tar", "truncated or corrupt")


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress], ids=["bz2", "xz"])
def test_a_tar_in_several_streams_is_whole(tmp_path, compress):
    """As parallel compressors write it; between and after streams of xz there may be zeros."""
    whole = archive_of_tree(tmp_path, "w").read_bytes()
    streams = [compress(whole[start : start + 9000]) for start in range(0, len(whole), 9000)]
    (tmp_path / "x").write_bytes(bytes(8).join(streams) + bytes(4))
    assert unpack(tmp_path / "x", tmp_path / "chips", progress=False) == 3
    assert tree_of(tmp_path / "chips") == TREE


@pytest.mark.parametrize("options", ["--format=gnu", "--format=pax --sparse-version=1.0", "--sparse-version=0.1"])
def test_a_sparse_file_at_the_end_of_a_tar_is_no_damage(tmp_path, options):
    """It takes less room in the tar than it is long."""
    (tmp_path / "tree").mkdir()
    with (tmp_path / "tree/1.tif").open("wb") as file:
        file.write(b"begin")
        file.seek(2**20)
        file.write(b"end")
    make = ["tar", "--sparse", *options.split(), "-cf", str(tmp_path / "x.tar"), "-C", str(tmp_path / "tree"), "1.tif"]
    subprocess.run(make, check=True)
    assert (tmp_path / "x.tar").stat().st_size < 2**18
    assert unpack(tmp_path / "x.tar", tmp_path / "chips", progress=False) == 1
    assert (tmp_path / "chips/1.tif").read_bytes() == (tmp_path / "tree/1.tif").read_bytes()


def test_folders_that_are_too_deep_are_refused(place):
    deep = "d/" * 1500 + "1.tif"
    assert_refused(place, write_tar(place / "x.tar", [tar_member(deep)], "w"), "1501 folders inside each other")


@pytest.mark.parametrize("zeroed", [slice(1024, 1536), slice(1024, 2048), slice(1024, None)])
def test_tar_of_a_copy_that_lacks_blocks_is_refused(place, zeroed):
    """Where a block of a copy is missing there are zeros; tarfile takes those of a header for the end."""
    members = [tar_member(f"Chips/{number}.tif", b"A" * 512) for number in range(40)]
    data = bytearray(write_tar(place / "x.tar", members, "w").read_bytes())
    data[zeroed] = bytes(len(data[zeroed]))
    (place / "x.tar").write_bytes(data)
    assert_refused(
        place, place / "x.tar", "goes on after its end", "ends at byte 1024" if zeroed.stop is None else "1024"
    )


@pytest.mark.parametrize("blocks", [1, 2, 20, 128, 2048, 8192])
def test_padding_of_any_record_is_no_damage(tmp_path, blocks):
    """As `tar --blocking-factor` pads: with zeros to a whole record, after two blocks of zeros."""
    data = write_tar(tmp_path / "x.tar", [tar_member("Chips/1.tif", b"A" * 700)], "w").read_bytes()
    end, record = 3 * 512, blocks * 512
    size = -(-(end + 1024) // record) * record
    (tmp_path / "x.tar").write_bytes(data[:end].ljust(size, b"\0"))
    assert unpack(tmp_path / "x.tar", tmp_path / "chips", progress=False) == 1


def test_folders_with_backslashes_in_a_zip_are_folders(tmp_path):
    members = {"Chips\\": b"", "Chips\\1\\": b"", "Chips\\1\\a.tif": b"x"}
    assert unpack(write_zip(tmp_path / "x.zip", members), tmp_path / "chips", progress=False) == 1
    assert tree_of(tmp_path / "chips") == {"Chips/1/a.tif": b"x"}


def test_zip_that_lacks_or_repeats_bytes_is_refused_or_whole(tmp_path):
    """zipfile raises many kinds of errors for damage: an OSError of the system among them."""
    data = archive_of_tree(tmp_path, "zip").read_bytes()
    random_ = random.Random(0)
    for number in range(300):
        at, count = random_.randrange(4, len(data)), random_.choice([1, 7, 500, 20_000])
        damaged = (
            data[:at] + (data[at - count : at] if number % 3 == 0 else b"") + data[at + count * (number % 3 > 0) :]
        )
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            unpack(tmp_path / "damaged", tmp_path / "chips", progress=False)
        except StudyError as error:
            assert error.remedy
            assert not (tmp_path / "chips").exists()
        else:
            assert tree_of(tmp_path / "chips") == TREE
            shutil.rmtree(tmp_path / "chips")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_archive_without_files_is_refused(place, kind):
    path = place / "empty"
    write_tar(path, [tar_member("._litter")]) if kind == "tar" else write_zip(path, {})
    assert_refused(place, path, "contains no files")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "0 bytes"),
        (b"\x89PNG and so on" * 100, "a PNG picture"),
        (b"<!doctype html><title>Sign&#45;in</title>", 'web page titled "Sign-in"'),
        (b"7z\xbc\xaf\x27\x1c" + NOISE, "a 7z archive"),
        (b"\x28\xb5\x2f\xfd" + NOISE, "zstd"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n", "Git LFS pointer"),
    ],
)
def test_something_else_is_named(place, content, found):
    (place / "x.tar.gz").write_bytes(content)
    assert_refused(place, place / "x.tar.gz", "not an archive", found, "tar.gz")


def test_path_that_is_a_file_and_a_folder_is_refused(place):
    archive = write_tar(place / "x.tar", [tar_member("Chips"), tar_member("Chips/1.tif")], "w")
    assert_refused(place, archive, "a file and a folder at one path", "Chips")


@pytest.mark.parametrize("kind", ["w:gz", "w:bz2", "zip"])
def test_too_small_a_disk_is_said_before_it_is_full(place, monkeypatch, kind):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    assert_refused(place, archive_of_tree(place, kind), "not enough disk space", "0.0 MB free", "free some space")


def test_disk_that_fills_up_while_writing(place, monkeypatch):
    def full(*arguments) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(LocalError, match="not enough disk space"):
        unpack(archive_of_tree(place, "w:gz"), place / "chips", progress=False)
    assert not (place / "chips").exists()


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_bombs_are_refused(place, monkeypatch, kind):
    monkeypatch.setattr(unpack_module, "RATIO_FREE_BYTES", 100_000)
    zeros = bytes(2_000_000)
    if kind == "tar":
        archive = write_tar(place / "bomb", [tar_member("Chips/1.tif", zeros)])
    else:
        archive = write_zip(place / "bomb", {"Chips/1.tif": zeros})
    assert_refused(place, archive, "times its own size", "at most")


def test_too_many_members_are_refused(place, monkeypatch):
    monkeypatch.setattr(unpack_module, "MAX_MEMBERS", 2)
    assert_refused(place, archive_of_tree(place, "w:gz"), "3 members", "at most 2 members")


@pytest.mark.parametrize("second", ["f/a.tif", "./f/a.tif", "f\\a.tif"])
def test_two_files_at_one_path_are_refused(place, second):
    """The second would replace the first, and nothing would say so."""
    members = [tar_member("f/a.tif", b"first"), tar_member(second, b"second")]
    assert_refused(place, write_tar(place / "x.tar.gz", members), "two files at one path", "f/a.tif twice")


def test_files_that_are_there_are_not_overwritten(place):
    (place / "chips").mkdir()
    (place / "chips" / "mine.txt").write_text("mine")
    assert_refused(place, archive_of_tree(place, "w:gz"), "is not empty")


def test_progress_goes_to_stderr_and_ends_at_the_size_of_the_archive(tmp_path, capsys):
    unpack(archive_of_tree(tmp_path, "w:gz"), tmp_path / "chips")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "100%" in captured.err


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("name", ["Chips/" + "x" * 300 + ".tif", "Chips/" + "\u00e8" * 130 + ".tif"])
def test_name_that_no_disk_can_hold_is_refused_with_the_member(place, kind, name):
    path = place / "chips.archive"
    if kind == "tar":
        write_tar(path, [tar_member("Chips/1.tif"), tar_member(name)])
    else:
        write_zip(path, {"Chips/1.tif": b"x", name: b"x"})
    size = len(name.encode()) - len("Chips/")
    assert_refused(place, path, f"a name of {size} bytes in member 'Chips/", "at most 255 bytes", "type: directory")


def test_name_of_255_bytes_is_unpacked(tmp_path):
    name = "x" * 251 + ".tif"
    assert unpack(write_tar(tmp_path / "x.tar", [tar_member(name)]), tmp_path / "chips", progress=False) == 1
    assert everything_in(tmp_path / "chips") == {name}


def test_path_that_the_disk_does_not_allow_is_refused(place):
    deep = "/".join(["d" * 200] * 25) + "/1.tif"
    assert_refused(place, write_tar(place / "x.tar", [tar_member(deep)], "w"), "cannot be written under its name")


def test_name_that_is_not_utf8_is_unpacked_as_it_is(tmp_path):
    """Its chip is then a problem of the index, which names it."""
    archive = write_tar(tmp_path / "x.tar", [tar_member("Chips/caf\udce9.tif")], "w")
    assert unpack(archive, tmp_path / "chips", progress=False) == 1
    assert [os.fsencode(path.name) for path in (tmp_path / "chips/Chips").iterdir()] == [b"caf\xe9.tif"]
