"""Walk through a folder of chips. All that looks for chips shares this walk, so that all see the same files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from terralucas.data.rasters.side_files import MASK_SUFFIX, mask_files, targets_of
from terralucas.errors import StudyError, printable

CHIP_SUFFIXES = (".tif", ".tiff")
# Entries of operating systems and of storage devices, with thumbnails, deleted files or old versions; in small letters.
_OF_SYSTEMS = (
    *("__macosx", "$recycle.bin", "system volume information", "lost+found"),
    *("thumbs.db", "desktop.ini"),
    *("@eadir", "#recycle", "#snapshot", "@tmp", "@recycle", "@recently-snapshot", "~snapshot"),
)


def is_of_system(name: str) -> bool:
    """Return whether an entry is hidden, or one that an operating system or a storage device adds."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


@dataclass(frozen=True)
class Tree:
    """What is below a folder; all paths are relative to it.

    Attributes:
        files: regular files and links to them, by increasing depth.
        others: entries that are neither files nor folders, with a description that follows their name.
        closed: folders that cannot be listed, with the reason.
        folders: all other folders, by increasing depth.
    """

    files: tuple[PurePosixPath, ...]
    others: Mapping[PurePosixPath, str]
    closed: Mapping[PurePosixPath, str]
    folders: tuple[PurePosixPath, ...]

    def require_readable(self, root: Path) -> None:
        """Raise a StudyError if chips may be missing, because a folder cannot be read or a link leads nowhere.

        A link without a suffix may be a folder of chips; a link that has one is left to the caller. A mask whose name
        has other capitals than that of its image is an error too: GDAL uses it, and chips are read without it.
        """
        lost = {path: text for path, text in self.others.items() if not path.suffix and "which does not exist" in text}
        lost |= {path: f"cannot be read ({reason})" for path, reason in self.closed.items()}
        if lost:
            shown = [f"{root / path} {text}" for path, text in list(lost.items())[:5]]
            raise StudyError(
                f"{len(lost)} folder(s) or link(s) below {root} cannot be read, so that chips may be missing.",
                found="; ".join(shown) + (f" and {len(lost) - len(shown)} more" if len(lost) > len(shown) else ""),
                expected="folders that your user may read, and links to something that exists",
                remedy="give your user the right to read them (chmod -R u+rX), and correct or remove broken links",
            )
        require_names_of_masks(root / path for path in self.files if path.suffix.lower() in CHIP_SUFFIXES)


def require_names_of_masks(images: Iterable[Path]) -> None:
    """Raise a StudyError if a mask beside one of some images has other capitals than the name of the image.

    GDAL finds it by its own name without regard to capitals; chips are read with `mask_files`. Masks beside the files
    to which links lead count too.
    """
    by_folder: dict[Path, dict[str, list[Path]]] = {}
    for image in images:
        # A link that has its mask beside it needs none beside the file to which it leads.
        targets = [] if any(mask.exists() for mask in mask_files(image)) else targets_of(image)
        for path in (image, *targets):
            by_folder.setdefault(path.parent, {}).setdefault(path.name.lower(), []).append(path)
    masks = []
    for folder, by_name in by_folder.items():
        # A folder that is gone or closed is told with its chips.
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.lower().endswith(MASK_SUFFIX):
                    continue
                images_of = by_name.get(entry.name.lower().removesuffix(MASK_SUFFIX), [])
                expected = [mask_files(image_of) for image_of in images_of]
                # It may be the mask of another image, whose name differs in capitals alone.
                if folder / entry.name not in chain.from_iterable(expected):
                    without = [own for own in expected if not any(mask.exists() for mask in own)]
                    masks += [(folder / entry.name, own[0]) for own in without[:1]]
    if masks:
        found, wanted = masks[0]
        raise StudyError(
            f"{len(masks)} mask(s) of images have names in other capitals than their images.",
            found=printable(str(found)) + (f" and {len(masks) - 1} more" if len(masks) > 1 else ""),
            expected=printable(wanted.name),
            remedy="rename the masks",
        )


def is_named(file: PurePosixPath, name: str) -> bool:
    """Return whether a file has a name, or a path at its end, however letters with accents are written.

    macOS stores letter and accent separately (Unicode NFD), and most other programs as one character (NFC).
    """
    wanted = PurePosixPath(normalize("NFC", name)).parts
    return PurePosixPath(normalize("NFC", str(file))).parts[-len(wanted) :] == wanted


def list_files(root: Path) -> list[PurePosixPath]:
    """Return all files below `root`, as `walk` finds them."""
    return list(walk(root).files)


def walk(root: Path) -> Tree:
    """List what is below a folder, except hidden entries and folders of operating systems, such as `__MACOSX`.

    Links to folders are followed, but never into a folder that contains the link. A folder with several links is listed
    once for each name of a link, because names of folders may be classes.

    Raises:
        StudyError: `root` is no folder.
    """
    if not root.is_dir():
        raise StudyError(f"The data folder {root} does not exist.", remedy="check dataset.sources")
    files: list[PurePosixPath] = []
    folders: list[PurePosixPath] = []
    others: dict[PurePosixPath, str] = {}
    closed: dict[PurePosixPath, str] = {}
    seen: set[tuple[Path, str]] = set()
    queue: list[tuple[Path, frozenset[Path]]] = [(root, frozenset())]
    for folder, above in queue:
        place = folder.resolve()
        if place in above or (place, folder.name) in seen:
            continue
        seen.add((place, folder.name))
        try:
            for entry in sorted(folder.iterdir()):
                if is_of_system(entry.name):
                    continue
                name = PurePosixPath(entry.relative_to(root).as_posix())
                kind = _describe(entry)
                if kind == "folder":
                    queue.append((entry, above | {place}))
                    folders.append(name)
                elif kind == "file":
                    files.append(name)
                else:
                    others[name] = kind
        except OSError as error:
            closed[PurePosixPath(folder.relative_to(root).as_posix())] = error.strerror or str(error)
    return Tree(tuple(files), others, closed, tuple(folder for folder in folders if folder not in closed))


def _describe(entry: Path) -> str:
    """Return "file", "folder" or a description of another entry that follows its name."""
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        if not entry.is_symlink():
            raise
        target = entry.readlink()
        if isinstance(error, PermissionError):
            return f"is a link to {target}, which cannot be read ({error.strerror})"
        return f"is a link to {target}, which does not exist"
    names = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFIFO: "is a FIFO", stat.S_IFSOCK: "is a socket"}
    return names.get(stat.S_IFMT(mode), "is a device")
