"""Find new chips, and read them as the models of a study expect them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from rasterio import Env
from rasterio.crs import CRS
from rasterio.warp import transform

from terralucas.data.chip_problems import ChipError
from terralucas.data.chips.chip_checks import check_chip, find_equal_bands, find_other_level
from terralucas.data.chips.chip_content import read_content
from terralucas.data.chips.chip_files import decode_chip
from terralucas.data.chips.decoded_chip import Chip
from terralucas.data.dataset import DatasetSpec
from terralucas.data.discovery.chip_tables import CHIP_TABLE_SUFFIXES, find_chips_of_table, why_impossible
from terralucas.data.discovery.discover import count_left_out, describe_no_chips, select_chips
from terralucas.data.discovery.folders import CHIP_SUFFIXES, require_names_of_masks, walk
from terralucas.data.discovery.lucas import parse_point_id
from terralucas.data.discovery.places import is_local, not_on_earth
from terralucas.data.indexing.pixel_sizes import PIXEL_TOLERANCE, is_pixel_size
from terralucas.data.rasters.band_names import BandNames
from terralucas.data.rasters.georeference import Centre
from terralucas.data.retrieval.archive_kinds import require_archive
from terralucas.data.retrieval.archives import LocalError, unpack
from terralucas.errors import StudyError, printable
from terralucas.files import sha256_of_file
from terralucas.geography import EPSG
from terralucas.predict.bands import describe_unknown_names, find_bands, require_same_order
from terralucas.predict.likeness import TrainingPixels, describe_cut_off, require_likeness
from terralucas.predict.options import PredictOptions
from terralucas.predict.pixel_size import Ground, measure_ground
from terralucas.predict.remedies import for_new_files, for_pixels_of

# Parsed once, because the look-up of a code takes longer than the transformation of a point.
WGS84, _OF_IDS = CRS.from_epsg(4326), CRS.from_epsg(EPSG)
# The name of a folder with the content of an archive: with a part of its checksum, and an end until it is complete.
_UNPACKED, _UNFINISHED = "unpacked-{}", ".unfinished"
_UNPACKED_NAME = re.compile(_UNPACKED.format("[0-9a-f]{16}") + f"({re.escape(_UNFINISHED)})?")
# Chips that are read before the first prediction, evenly spaced, to see whether bands, unit and size can be right.
_SAMPLE = 64
_DEFAULT = PredictOptions()


@dataclass(frozen=True)
class NewChip:
    """A chip to predict.

    Attributes:
        id: its id.
        path: the path of its file; characters that are not UTF-8 are written as `\\xe9`.
        problem: kind and text of the reason why it is no chip, for an entry that has the name of one; None for a chip.
    """

    id: str
    path: str
    problem: tuple[str, str] | None = None


@dataclass(frozen=True)
class ReadChip:
    """A chip that was read.

    Attributes:
        values: (bands, side, side) reflectance in the order of the study's bands; None if the chip cannot be used.
        place: longitude and latitude of its centre, WGS 84; None if unknown.
        problem: why it cannot be used; None if it can.
        is_cropped: whether its margins were cut off.
        pixel_m: side of its pixels on the ground in metres; None if unknown.
        is_named: whether its file names the bands.
        names: what its file says of the bands, if that does not name them.
        wrong_colours: what a file that does not name its bands says of their colours, if that contradicts the study.
        refused: the values of a chip that cannot be used because a band seems to have another unit or scale.
    """

    values: np.ndarray | None
    place: tuple[float, float] | None = None
    problem: ChipError | None = None
    is_cropped: bool = False
    pixel_m: float | None = None
    is_named: bool = False
    names: BandNames | None = None
    refused: np.ndarray | None = None
    wrong_colours: str | None = None


def find_new_chips(source: Path, unpacked: Path) -> list[NewChip]:
    """Find the chips to predict.

    Args:
        source: a folder of GeoTIFF chips (also in folders inside it), a CSV or Parquet table with a column `path`
            (relative to the table) and optionally `id`, an archive of chips, or one chip.
        unpacked: folder in which the content of an archive gets a folder.

    Returns:
        The chips, sorted by path for a folder or archive, in the order of a table otherwise. Without a column `id`, the
        id is the path without suffix, relative to the folder or table.

    Raises:
        StudyError: nothing is there, or there is no chip.
    """
    if printable(str(source.absolute())) != str(source.absolute()):
        raise StudyError(
            f"The path {source.absolute()} of the chips to predict is not UTF-8.",
            found="the bytes that are shown with a backslash",
            expected="names of folders and files in UTF-8",
            remedy="rename them, with letters in UTF-8",
        )
    if source.is_dir():
        return _chips_in_folder(source, source)
    if not source.is_file():
        raise StudyError(
            f"There are no chips to predict at {source}.",
            found="nothing" if not source.exists() else "neither a file nor a folder",
            expected="a folder of GeoTIFF chips, a CSV or Parquet table with a column path, an archive, or one GeoTIFF",
            remedy="correct the path",
        )
    suffix = source.suffix.lower()
    if suffix in CHIP_SUFFIXES:
        # GDAL looks for masks and metadata beside a link, and not beside the file to which it leads.
        require_names_of_masks([source])
        return [NewChip(source.stem, str(source.absolute()))]
    if suffix in CHIP_TABLE_SUFFIXES:
        chips = [_chip_of_table(name, path) for name, path in find_chips_of_table(source)]
        require_names_of_masks(Path(chip.path) for chip in chips if chip.problem is None)
        return chips
    require_archive(source, "name a folder, a table (.csv, .parquet), an archive or a GeoTIFF (.tif, .tiff)")
    return _chips_in_folder(_unpack_once(source, unpacked), source)


def is_unpacked(name: str) -> bool:
    """Return whether a folder has the name of one with the content of an archive."""
    return _UNPACKED_NAME.fullmatch(name) is not None


def _chip_of_table(name: str, path: Path) -> NewChip:
    """Return a chip of a table; it has a problem if no file can have its path, so that the others are predicted."""
    reason = why_impossible(path)
    if reason is None:
        return NewChip(name, str(path))
    message = f"has a path that no file can have: {reason}; expected the path of a chip"
    return NewChip(printable(name), printable(str(path)), ("bad_name", message))


def _unpack_once(archive: Path, folder: Path) -> Path:
    """Return the folder with the content of an archive, which is unpacked if it is not there yet.

    The folder is named by the checksum of the archive, so that another archive of the same name is unpacked again.
    """
    target = folder / _UNPACKED.format(sha256_of_file(archive)[:16])
    if not target.is_dir():
        # What is left of other archives, and of an unpacking that was killed.
        for other in folder.glob(_UNPACKED.format("*")):
            if is_unpacked(other.name):
                shutil.rmtree(other)
        unfinished = target.with_suffix(_UNFINISHED)
        try:
            unpack(archive, unfinished)
        except LocalError:
            raise
        except StudyError as error:
            raise StudyError(
                error.problem,
                found=error.found,
                expected=error.expected,
                remedy="predict from a complete archive of a source you trust, or unpack it yourself and predict from "
                "the folder",
            ) from error
        unfinished.rename(target)
    return target


def _chips_in_folder(folder: Path, source: Path) -> list[NewChip]:
    """Return the chips in a folder, which is what the user named (`source`) or its content."""
    tree = walk(folder)
    tree.require_readable(folder)
    files, unusable = select_chips(tree)
    if not files and not unusable:
        unpacked = "unpack the archive, and name the folder or archive inside that has the chips"
        named = "name the archive itself, or unpack it"
        found, remedy = describe_no_chips(tree, named if source == folder else unpacked)
        raise StudyError(
            f"There are no chips in {source}.",
            found=found,
            expected=f"files that end in {' or '.join(CHIP_SUFFIXES)}",
            remedy=remedy or "name another folder, or write the chips as GeoTIFF",
        )
    base = folder.resolve()
    chips = [NewChip(_name(file), str(base / file)) for file in files]
    _require_different_ids(chips, source)
    count_left_out(folder, tree)
    # An entry that is no chip may have the id of one, such as a link a.TIF beside a.tif.
    chips += [
        NewChip(_name(file), printable(str(base / file)), (reason.kind, reason.message))
        for file, reason in unusable.items()
    ]
    return sorted(chips, key=lambda chip: PurePath(chip.path))


def _name(file: PurePath) -> str:
    return printable(str(file.with_suffix("")))


def _require_different_ids(chips: Sequence[NewChip], folder: Path) -> None:
    """Raise a StudyError if two chips of a folder have one id, such as a.tif and a.TIF."""
    by_id: dict[str, NewChip] = {}
    for chip in chips:
        other = by_id.setdefault(chip.id, chip)
        if other is not chip:
            raise StudyError(
                f"Two chips in {folder} have the id {chip.id}.",
                found=f"{other.path} and {chip.path}",
                expected="names that differ in more than their suffix",
                remedy="rename or remove one of them; or name the chips in a table with the columns id and path",
            )


@dataclass(frozen=True)
class ChipReader:
    """Read new chips in the bands, unit and size on which models were trained.

    Attributes:
        spec: description of the study's dataset; its unit and nodata value hold for the new chips too.
        side_px: side of the chips in pixels. Larger chips are cropped to their centre, where the labelled point is.
        pixel_size_m: side of a pixel of the training chips on the ground in metres.
    """

    spec: DatasetSpec
    side_px: int
    pixel_size_m: float

    def __call__(self, chip: NewChip) -> ReadChip:
        """Read a chip; a chip that cannot be used is returned with its problem."""
        if chip.problem is not None:
            return ReadChip(None, problem=for_new_files(ChipError(*chip.problem)))
        try:
            # Without an environment of GDAL around them, decoding and transformation of coordinates each make one.
            with Env():
                return self._read(chip)
        except ChipError as error:
            return ReadChip(None, problem=for_new_files(error))
        except FileNotFoundError:
            return ReadChip(None, problem=for_new_files(ChipError("not_a_file", "does not exist; expected a GeoTIFF")))
        except OSError as error:
            return ReadChip(None, problem=for_new_files(ChipError("unreadable", f"cannot be read ({error.strerror})")))

    def _read(self, chip: NewChip) -> ReadChip:
        content = read_content(Path(chip.path))
        decoded = decode_chip(content, self._any_size, self._find_bands, side_px=self.side_px)
        values = decoded.values
        require_usable(decoded, self.spec)
        ground, pixel_m = None if decoded.centre is None else measure_ground(decoded.centre), None
        place = None if ground is None else (ground.longitude, ground.latitude)
        if ground is None or decoded.centre is None:
            if decoded.centre is not None and not is_local(decoded.centre):
                raise not_on_earth(decoded.centre)
            place = _place_of_id(chip.id, self.spec)
        else:
            self._require_size(ground, decoded.centre)
            pixel_m = ground.side_m
        names = BandNames(decoded.all_descriptions, self.spec.may_be_landsat)
        is_named = self.spec.checks.band_descriptions and names.name_each(self.spec.bands)
        level = find_other_level(values, self.spec)
        if level is not None:
            problem = for_new_files(ChipError("band_levels", level))
            return ReadChip(None, place, problem, pixel_m=pixel_m, is_named=is_named, refused=values)
        read = ReadChip(values, place, None, decoded.is_cropped, pixel_m, is_named)
        if is_named or not self.spec.checks.band_descriptions:
            return read
        return replace(read, names=names, wrong_colours=decoded.wrong_colours)

    def _require_size(self, ground: Ground, centre: Centre) -> None:
        """Raise a ChipError if the pixels of a chip have another size than those of the training chips."""
        if not is_pixel_size(ground.side_m, ground.nominal_m, self.pixel_size_m, ground.elongation):
            expected = f"{self.pixel_size_m:g} m, the size of the training chips' pixels"
            message = f"has pixels of {ground.width_m:.4g} x {ground.height_m:.4g} m on the ground; expected {expected}"
            remedy = for_pixels_of(ground, centre.crs, centre.shape, self.side_px, self.pixel_size_m)
            raise ChipError("pixel_size", message, remedy=remedy)

    @cached_property
    def _any_size(self) -> DatasetSpec:
        return replace(self.spec, chip_size_px=None)

    def _find_bands(self, descriptions: tuple[str | None, ...]) -> tuple[int, ...]:
        spec = self.spec
        names = BandNames(descriptions, spec.may_be_landsat)
        return find_bands(names, spec.bands, spec.checks.band_descriptions, spec.satellites_of_numbers)


def check_sample(
    chips: Sequence[NewChip], reader: ChipReader, training: TrainingPixels, options: PredictOptions = _DEFAULT
) -> dict[str, Any]:
    """Read some of the chips, evenly spaced, and check that their bands, size, scale and offset can be right.

    Args:
        chips: all chips.
        reader: reads a chip.
        training: the pixels of the training chips.
        options: they say in what the chips may differ from the training chips.

    Returns:
        What was found, for the record: number of chips read, problems by kind, number of cropped chips, and warnings.

    Raises:
        StudyError: more than half of these chips cannot be used, or they have another scale, offset or order of bands
            than the training chips.
    """
    reader = replace(reader, spec=options.checked_by(reader.spec))
    numbers = np.unique(np.linspace(0, len(chips) - 1, min(len(chips), _SAMPLE)).astype(int))
    read = [(chips[number], reader(chips[number])) for number in numbers]
    unnamed = [result.values if result.refused is None else result.refused for _, result in read if not result.is_named]
    # Bands in another order look as if one had another scale.
    order = require_same_order(
        [values for values in unnamed if values is not None], reader.spec, options.allow_band_order, "chips"
    )
    problems = [(chip, result.problem) for chip, result in read if result.problem is not None]
    if 2 * len(problems) > len(read):
        lines = [f"{chip.path} {problem.problem}" for chip, problem in problems[:5]]
        raise StudyError(
            f"{len(problems)} of {len(read)} chips that were looked at cannot be used, so that none is predicted.",
            found="\n    ".join(lines),
            expected=f"chips of {reader.side_px} x {reader.side_px} px with the bands {', '.join(reader.spec.bands)} "
            f"in {reader.spec.unit}, as the study was trained on",
            remedy=problems[0][1].remedy,
        )
    values = [result.values for _, result in read if result.values is not None]
    refused = [result.refused for _, result in read if result.refused is not None]
    warnings = require_likeness(values, training, reader.spec, options.allow_offset, "chips", refused)
    warnings += order
    unknown = (describe_unknown_names(result.names, "chips") for _, result in read if result.names is not None)
    warnings += next(filter(None, unknown), [])
    kinds = [problem.kind for _, problem in problems]
    warnings += describe_cut_off(kinds.count("cut_off"), len(read), "chips")
    coloured = [(chip, result.wrong_colours) for chip, result in read if result.wrong_colours is not None]
    if coloured:
        warnings.append(
            f"{len(coloured)} of {len(read)} chips that were looked at may have their bands in another order: "
            f"{coloured[0][0].path} {coloured[0][1]}."
        )
    cropped = sum(result.is_cropped for _, result in read)
    if cropped:
        warnings.append(f"{cropped} of {len(read)} chips that were looked at are larger and cropped to their centre.")
    pixels_m = [result.pixel_m for _, result in read if result.pixel_m is not None]
    if pixels_m and abs(np.median(pixels_m) / reader.pixel_size_m - 1) > PIXEL_TOLERANCE:
        warnings.append(
            f"The pixels of the chips have {np.median(pixels_m):.3g} m on the ground, and those of the training chips "
            f"{reader.pixel_size_m:g} m (dataset.pixel_size_m): what they show has another size."
        )
    return {
        "chips_looked_at": len(read),
        "problems": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "cropped": cropped,
        "warnings": warnings,
    }


def require_usable(chip: Chip, spec: DatasetSpec) -> None:
    """Raise a ChipError if a new chip, or a window of a scene, cannot be used.

    Args:
        chip: the decoded chip, in the bands of the study.
        spec: description of the study's dataset.
    """
    check_chip(chip, np.isfinite(chip.values), spec)
    pairs = () if spec.checks.allow_equal_bands else find_equal_bands(chip.values)
    if pairs:
        names = ", ".join(f"{spec.bands[first]} and {spec.bands[second]}" for first, second in pairs)
        message = f"has equal values in every pixel of the bands {names}; expected bands that differ"
        raise ChipError("equal_bands", message)


def _place_of_id(name: str, spec: DatasetSpec) -> tuple[float, float] | None:
    """Return the place that a LUCAS id names, if the study's chips have such ids."""
    point = parse_point_id(Path(name).name) if spec.point_ids == "lucas" else None
    if point is None:
        return None
    (longitude,), (latitude,) = transform(_OF_IDS, WGS84, [point[0]], [point[1]])
    return longitude, latitude
