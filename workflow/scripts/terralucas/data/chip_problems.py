"""List all kinds of problems that a chip can have, and what the user can do."""

from __future__ import annotations

import copyreg
from typing import Any

from terralucas.commands import REMOVE_PLACE, REWRITE
from terralucas.errors import StudyError, printable

# All kinds of problems that a chip can have, and what the user can do.
REMEDIES = {
    "missing_id": "give every row of the labels table an id, and check dataset.layout.id_column",
    "duplicate_label": "keep one row per chip in the labels table",
    "label_without_file": "fetch and unpack the data again if it is incomplete, check dataset.layout.id_column and "
    "file_column, write the paths of file_column relative to the table and with /, or remove the rows without a file "
    "from the labels table",
    "duplicate_file": "keep one file per chip id, and one chip id per file; where files of different chips have one "
    "name, as <id>/image.tif, name them in a labels table (dataset.layout.file_column)",
    "file_without_label": "add the chip to the labels table or to a class folder, or remove the file",
    "unknown_label": "list every class under dataset.classes, and check dataset.layout.label_column",
    "folder_disagrees": "find out whether the class folder or the labels table is right, and correct the other one; if "
    "the folders are no classes, but parts or years, name the files in a labels table (dataset.layout.file_column)",
    "not_a_lucas_id": "name the chips by their LUCAS Point_ID, or set dataset.point_ids: none",
    "bad_coordinates": "check x_column (longitude, easting), y_column (latitude, northing) and crs of dataset.layout; "
    "with LUCAS ids also whether names of files were exchanged; correct a georeference that is no place on Earth, or "
    f"remove it ({REMOVE_PLACE})",
    "not_a_file": "restore what the link leads to, or remove the entry",
    "bad_name": "rename the file or folder in UTF-8",
    "unreadable": "fetch and unpack the data again; files may be truncated",
    "lost_by_link": "make a link to this file (mask, metadata or world file) beside that to the chip, or use the files "
    "themselves",
    "pages": "write one image with all bands per file; a file with several pages has several images",
    "band_count": "check dataset.bands: one name per band, in the order on disk",
    "band_descriptions": "correct dataset.bands to the order on disk, or set dataset.checks.band_descriptions: false "
    "if the descriptions in the files are wrong",
    "dtype": "write all chips as real numbers of one type that can hold dataset.unit (float32, uint16, ...), or set "
    "dataset.checks.allow_mixed_dtypes: true if the types differ on purpose",
    "scale_tags": "check dataset.unit, or correct the tags; leave them out if the stored values have this unit already "
    f"({REWRITE} chips corrected --without-scale)",
    "size": "check dataset.chip_size_px, and cut all chips to one square size that is a multiple of the patch size",
    "pixel_size": "set dataset.pixel_size_m to the size of the pixels, resample the chips to one size, or correct the "
    f"georeference of the files ({REMOVE_PLACE} removes it)",
    "missing_values": "check dataset.nodata and the nodata tag of the files (rio info): where that is a value of water "
    "or shade, such as 0, remove it (rio edit-info --unset-nodata) and set dataset.checks.allow_constant_bands: true; "
    "check that the chips were exported with data in every band; or raise dataset.checks.max_nodata_fraction, but a "
    "band without any value is never used",
    "fill": "mark these pixels as missing: with dataset.nodata if one value fills them, otherwise with a mask in the "
    "file; or raise dataset.checks.max_fill_fraction if they are ground, such as dark water or coarse values",
    "cut_off": "export the chip again if darker values were cut off, as after an offset was subtracted twice; mark the "
    "pixels as missing (dataset.nodata, or a mask in the file) if they have no data; or raise "
    "dataset.checks.max_fill_fraction if they are ground",
    "impossible_values": "set dataset.nodata to this value, or write it into the files as their nodata value "
    "(rio edit-info --nodata) where dataset.nodata has another one",
    "value_range": "check dataset.unit and dataset.nodata",
    "band_levels": "write all bands in dataset.unit, with one scale and offset; leave scale and offset tags out if the "
    f"stored values have this unit already ({REWRITE} chips corrected --without-scale); or set "
    "dataset.checks.band_levels: false if the chips are right",
    "brightness": "export the chip again in dataset.unit, or lower dataset.checks.min_chip_brightness",
    "constant": "export the chip again, set dataset.nodata if its only value means missing data, or set "
    "dataset.checks.allow_constant_bands: true",
    "equal_bands": "export the chips again with the right file or layer for each band, or set "
    "dataset.checks.allow_equal_bands: true if one band stands for another on purpose",
    "duplicate_content": "keep one file of each chip, and remove flipped or rotated copies "
    "(training.end_to_end.augmentation makes such copies of training chips alone); a copy among the test chips of a "
    "chip that is trained on makes every score too high",
    "conflicting_labels": "find out which label is right, and remove the other copies of the chip",
}


class ChipError(StudyError):
    """A chip that cannot be used.

    Args:
        kind: what is wrong: a key of `REMEDIES`, or a problem that only new chips can have.
        message: what was found and expected.
        advice: what in the configuration would make this chip usable, if it is known; it is added to the message.
        remedy: what the user can do; by default that of `REMEDIES`.
    """

    def __init__(self, kind: str, message: str, advice: str = "", remedy: str | None = None) -> None:
        super().__init__(f"{message}{advice}", remedy=remedy or REMEDIES[kind])
        self.kind, self.without_advice = kind, printable(message)

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, Python makes an error again from its text alone; a process that reads chips could not send it.
        return copyreg.__newobj__, (ChipError, *self.args), vars(self)  # type: ignore[attr-defined]
