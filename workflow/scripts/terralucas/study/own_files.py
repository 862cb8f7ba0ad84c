"""Keep what a user wrote into the folder of an export when the export is made again."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from terralucas.files import sha256_of_file
from terralucas.study.lost_files import CARD, EXPORT_RECORD, read_files_of_export

# Beside the folder of an export; each time, its files are kept in a folder with the next number.
KEPT = "exported-kept"
# Of Snakemake, and of viewers of folders.
_OF_PROGRAMS = (".snakemake_timestamp", ".DS_Store", "Thumbs.db")


def find_own_files(folder: Path) -> list[str]:
    """Return the files of an export that a user has added, and the model card if a user has changed it.

    Without a record that says which files the export had, only the card may be a user's.
    """
    files = read_files_of_export(folder)
    if files is None:
        return [CARD] if (folder / CARD).is_file() else []
    paths = (path for path in folder.rglob("*") if _is_entry(path) and path.name not in _OF_PROGRAMS)
    names = sorted(path.relative_to(folder).as_posix() for path in paths)
    added = [name for name in names if name not in files and name != EXPORT_RECORD]
    card = folder / CARD
    is_changed = CARD in files and card.is_file() and sha256_of_file(card) != files[CARD].get("sha256")
    return [*([CARD] if is_changed else []), *added]


def _is_entry(path: Path) -> bool:
    """Return whether a path is a file, or a link to whatever, also to a folder."""
    return path.is_symlink() or path.is_file()


def keep_own_files(folder: Path) -> Path | None:
    """Move what a user changed or added in an export to a folder beside it; return this folder, None without such."""
    names = find_own_files(folder)
    if not names:
        return None
    kept = next(path for number in count(1) if not (path := folder.with_name(KEPT) / str(number)).exists())
    for name in names:
        target = kept / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (folder / name).is_symlink():
            # A relative one leads from the folder of the link.
            target.symlink_to((folder / name).parent.absolute() / (folder / name).readlink())
            (folder / name).unlink()
        else:
            (folder / name).rename(target)
    return kept
