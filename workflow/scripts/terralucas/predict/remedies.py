"""What to do about new chips, or windows of a scene, that cannot be predicted.

Problems of chips (`terralucas.data.chip_problems.REMEDIES`) advise people who set up a study. A study with selected
models is finished, and its configuration right: a change would only train it again. Here, the new files are what to
correct.
"""

from __future__ import annotations

from rasterio.crs import CRS

from terralucas.commands import REMOVE_PLACE, REWRITE
from terralucas.data.chip_problems import ChipError
from terralucas.geography import utm_code
from terralucas.predict.pixel_size import IF_SIZE_IS_WRONG, Ground

_REMEDIES = {
    "not_a_file": "correct the path, restore the file or what the link leads to, or remove the entry",
    "bad_name": "rename the file or folder, with letters in UTF-8",
    "unreadable": "fetch the file again; it may be truncated",
    "lost_by_link": "make a link to this file (mask, metadata or world file) beside that to the image, or name the "
    "image itself",
    "pages": "write one image with all bands per file",
    "band_count": "predict from files with the bands of the study, with descriptions that name them or in their order",
    "band_descriptions": "predict from files with the bands of the study; correct the descriptions if they are wrong",
    "dtype": "write the values as real numbers in the unit of the study",
    "scale_tags": "convert the values to the unit of the study, or correct the tags; leave them out if the values "
    f"have this unit already ({REWRITE} chips corrected --without-scale)",
    "size": "cut chips of the size of the training chips, or larger ones, around the labelled point from the images "
    "that these come from",
    "missing_values": "use files with data in every band",
    "impossible_values": "give the files this value as their nodata value if it means missing data (rio edit-info "
    "--nodata); if it was negative, convert the values to int16 or float32 before anything is subtracted from them",
    "fill": "give the files a nodata value if this value means missing data (rio edit-info --nodata)",
    "cut_off": "write the values without subtracting an offset that they do not have, or give the files a nodata value "
    "if this value means missing data (rio edit-info --nodata)",
    "value_range": "write the values in the unit of the study, and give the files a nodata value if they have one",
    "band_levels": "write all bands in the unit of the study, with one scale and offset; leave scale and offset tags "
    f"out if the stored values have this unit already ({REWRITE} chips corrected --without-scale)",
    "constant": "write the file again with values that vary; a nodata value marks missing data",
    "equal_bands": "write the file again with the right file or layer for each band",
    "bad_coordinates": f"correct the georeference of the file, or remove it ({REMOVE_PLACE})",
}


def for_new_files(error: ChipError) -> ChipError:
    """Return a problem with the advice for new files in place of the advice for the configuration of a study."""
    return ChipError(error.kind, error.without_advice, remedy=_REMEDIES.get(error.kind, error.remedy))


def for_pixels_of(ground: Ground, crs: CRS, shape: tuple[int, int], side_px: int, pixel_m: float) -> str:
    """Return what to do about a chip whose pixels have another size on the ground than those of the training chips.

    Args:
        ground: the place of the chip.
        crs: its coordinate reference system.
        shape: its rows and columns.
        side_px: side of the training chips in pixels.
        pixel_m: side of their pixels in metres.
    """
    # Resampled pixels have their size in the units of a projection, and on the ground instead of degrees.
    sides = (ground.height_m, ground.width_m) if crs.is_geographic else (ground.nominal_m, ground.nominal_m)
    if min(length * side for length, side in zip(shape, sides, strict=True)) < 0.999 * side_px * pixel_m:
        return (
            f"cut larger chips from the images that these come from: {side_px * pixel_m:g} m of ground a side, and "
            f"then resample them to pixels of {pixel_m:g} m; {IF_SIZE_IS_WRONG}"
        )
    zone = f" --crs {utm_code(ground.longitude, ground.latitude)}" if crs.is_geographic else ""
    return (
        f"resample the chips to the pixels of the training chips ({REWRITE} chips resampled{zone} "
        f"--pixel-m {pixel_m:g}); {IF_SIZE_IS_WRONG}"
    )
