"""Check the chips of a dataset together, and those of each class against those of the other classes.

What differs by class and is no land cover, such as an offset or another order of bands, gives a class away: models then
tell it without any land cover, and no score shows it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from terralucas.data.chip_problems import REMEDIES
from terralucas.data.chips.chip_checks import LANDSAT_DN, percent_text
from terralucas.data.dataset import DN_PER_REFLECTANCE, DatasetSpec
from terralucas.data.discovery.discover import ChipFile, Problem, join_first
from terralucas.data.indexing.band_order import VISIBLE, can_be_told, find_wrong_order, require_order
from terralucas.data.indexing.checked_chip import CheckedChip
from terralucas.data.normalisation import PRETRAINING_STATISTICS_DN, merge
from terralucas.errors import StudyError

# Since processing baseline 04.00, Sentinel-2's products hold DN + 1,000. Almost every chip has shadow, water or dense
# vegetation, which is darker than this offset in red or SWIR; a little less, because such pixels can be below 0.
OFFSET_REFLECTANCE = 0.095
# Where the offset was subtracted from products that have none, shadow and water are far below 0. A correction of the
# atmosphere leaves single chips with such pixels, and never almost all chips of a class.
NEGATIVE_REFLECTANCE = -0.03
# Of 64-px chips of Sentinel-2, at most one in five of any class has no such pixel; of 16-px ones, one in four.
MIN_CHIPS_OF_CLASS, SUSPECT, ALMOST_ALL, MOST = 5, 0.4, 0.95, 0.75

# Kinds of problems that a wrong unit or scale causes: how many chips show it depends on their land.
_SCALE_KINDS = ("value_range", "brightness", "band_levels", "cut_off")
# Such a problem is that of a class if so many of its chips have it, and either half of them, or a quarter and three
# times as large a share as of the other chips.
_FEW, _HALF, _QUARTER, _TIMES = 3, 0.5, 0.25, 3
# Missing pixels tell classes if the median chip of each lacks so much and that of the others so little, or if most
# chips of each lack some and at most this share of the others does.
_MUCH, _LITTLE, _HARDLY_ANY = 0.05, 0.01, 0.1
# A class is strikingly dark (bright) if its median chip has less (more) than so many times the mean reflectance of the
# median chip of the other classes, in every band. Of 100 real chips (EuroSAT), lakes are the darkest class, with 0.81
# times in their brightest band, and no class has more than 1.01 times in its dimmest one.
_DARK_CLASS, _BRIGHT_CLASS = 0.5, 2.0
# Land that is darker is so in some bands more than in others, from the visible to the infrared: the largest of these
# factors is then more than so many times the smallest.
_UNIFORM = 1.3


def check_dataset_brightness(rows: Sequence[dict[str, Any]], spec: DatasetSpec) -> None:
    """Raise an error if the chips together are so dark that their unit must be another one.

    Args:
        rows: rows of the index of all valid chips.
        spec: description of the dataset.

    Raises:
        StudyError: the brightest band, relative to its mean in TerraMind's pre-training, is below
            `dataset.checks.min_dataset_brightness`.
    """
    moments = (np.array([row[name] for row in rows]) for name in ("valid_pixels", "band_mean", "band_m2"))
    mean = merge(*moments).mean
    reference = np.array([PRETRAINING_STATISTICS_DN[band][0] for band in spec.bands]) / DN_PER_REFLECTANCE
    ratio, limit = mean / reference, spec.checks.min_dataset_brightness
    if ratio.max() >= limit:
        return
    brightest = int(ratio.argmax())
    raise StudyError(
        f"The chips of dataset {spec.name!r} are darker than land and water can be.",
        found=f"a mean reflectance of {mean[brightest]:.2g} in the brightest band {spec.bands[brightest]}, "
        f"{ratio[brightest]:.2g} times that of TerraMind's pre-training",
        expected=f"at least {limit:g} times (dataset.checks.min_dataset_brightness) in some band",
        remedy="check dataset.unit: dn is reflectance × 10,000, and chips of reflectance × 1,000 need a scale tag of "
        "0.001 and unit: reflectance; lower the limit if the chips are really that dark",
    )


def check_band_order(chips: Sequence[CheckedChip], spec: DatasetSpec) -> str | None:
    """Compare the order in `dataset.bands` with what the chips show, where files do not name their bands.

    Args:
        chips: all chips that passed their own checks.
        spec: description of the dataset.

    Returns:
        A sentence if the order may be wrong, or if nothing can tell; otherwise None.

    Raises:
        StudyError: the chips show another order.
    """
    spectra = [chip.spectrum for chip in chips if chip.spectrum is not None]
    if not spec.checks.band_order or not spectra:
        return None
    if not can_be_told(spec.bands):
        return (
            f"nothing tells whether the bands of {len(spectra)} chips have the order of dataset.bands "
            f"({', '.join(spec.bands)}): their files do not name them, and visible bands are too much alike"
        )
    whose, others = f"dataset {spec.name!r}", ""
    if len(spectra) < len(chips):
        files = join_first((chip.row["file"] for chip in chips if chip.spectrum is not None), 3)
        whose = f"{len(spectra)} of the {len(chips)} chips of {whose}, whose files do not name them ({files}),"
        others = "if the other chips name their bands, write these again in the order of dataset.bands; otherwise, "
    return require_order(
        spectra,
        spec.bands,
        whose,
        others + "if the files have their bands in this order, set dataset.bands: {orders}; look it up in the program "
        "that wrote the files. If dataset.bands is right, see whether a band has another unit or scale than the "
        "others, or set dataset.checks.band_order: false",
    )


def check_class_orders(chips: Sequence[CheckedChip], spec: DatasetSpec) -> str | None:
    """Compare the order in `dataset.bands` with what the chips of each class show, as `check_band_order`.

    Classes of fewer than 10 chips decide nothing, and neither do those of water.

    Args:
        chips: all chips that passed their own checks.
        spec: description of the dataset.

    Returns:
        A sentence about classes whose order may be wrong; None without any.

    Raises:
        StudyError: the chips of a class show another order.
    """
    if not spec.checks.band_order or not can_be_told(spec.bands):
        return None
    spectra: dict[str, list[Any]] = {}
    for chip in chips:
        if chip.spectrum is not None:
            spectra.setdefault(chip.row["class_code"], []).append(chip.spectrum)
    found = {code: find_wrong_order(own, spec.bands) for code, own in spectra.items()}
    wrong = {code: order for code, order in found.items() if order is not None}
    certain = {code: order for code, order in wrong.items() if order.is_certain}
    declared = ", ".join(spec.bands)
    if certain:
        raise StudyError(
            f"The bands of {len(certain)} class(es) of dataset {spec.name!r} have another order than {declared}.",
            found="; ".join(f"class {code}: {order.found_text}" for code, order in certain.items()),
            expected="each in most chips of a class, because vegetation and soil show it",
            remedy="write the chips of these classes again, with their bands in the order of dataset.bands; they seem "
            "to have the order "
            + "; ".join(f"{order.fitting_text} (class {code})" for code, order in certain.items())
            + ". If they are right, set dataset.checks.band_order: false",
        )
    if not wrong:
        return None
    shown = "; ".join(f"class {code}: {order.found_text}" for code, order in wrong.items())
    return (
        f"the bands of some classes may not be {declared} in this order ({shown}); land shows each in most chips. Look "
        "up the order in the program that wrote the files of these classes"
    )


def refuse_faults_of_classes(problems: Sequence[Problem], chips: Sequence[ChipFile], spec: DatasetSpec) -> None:
    """Raise an error if the chips of a class have a wrong unit or scale, of which only some chips show it.

    To drop those that show it would train on the others.

    Args:
        problems: the problems of all chips that are to be dropped.
        chips: all chips with a label.
        spec: description of the dataset.

    Raises:
        StudyError: of a class, at least 3 chips have such a problem, and these are half of it, or a quarter and three
            times as large a share as of the chips of the other classes.
    """
    label_of = {chip.file: chip.label for chip in chips}
    wrong = [problem for problem in problems if problem.kind in _SCALE_KINDS and problem.file in label_of]
    found = _count_in_classes([label_of[str(problem.file)] for problem in wrong], label_of.values(), _HALF)
    if not found:
        return
    example = next(problem for problem in wrong if label_of[str(problem.file)] in found)
    raise StudyError(
        f"Chips of {len(found)} class(es) of dataset {spec.name!r} have another unit, scale or offset.",
        found=f"{_classes_text(found, spec)}; {example.point_id} ({example.file}) {example.message}",
        expected="one unit, scale and offset in all chips; the other chips of these classes may have the same fault, "
        "and their land does not show it, so that to drop some does not help",
        remedy=f"{REMEDIES[example.kind]}; if the other chips of these classes are right, remove the faulty ones",
    )


def describe_dropped(problems: Sequence[Problem], chips: Sequence[ChipFile], spec: DatasetSpec) -> str | None:
    """Return a sentence about classes of which far more chips are dropped than of the others; None without any.

    Args:
        problems: the problems of all chips that are dropped.
        chips: all chips with a label.
        spec: description of the dataset.
    """
    label_of = {chip.file: chip.label for chip in chips}
    dropped = [label_of[str(problem.file)] for problem in problems if problem.file in label_of]
    found = _count_in_classes(dropped, label_of.values(), math.inf)
    if not found:
        return None
    return (
        f"far more chips of some classes than of the others are dropped ({_classes_text(found, spec)}): those that are "
        "left may be unlike the others of their class, and scores are of those that are left"
    )


def _count_in_classes(labels: Sequence[int], every: Iterable[int], enough: float) -> dict[int, tuple[int, int]]:
    """Find classes of which many chips have something that chips of the other classes have far less often.

    Args:
        labels: labels of the chips that have it.
        every: labels of all chips.
        enough: share of a class that is enough, whatever the share of the others.

    Returns:
        Label of each such class → number of its chips that have it, and of all its chips.
    """
    having, all_chips, found = Counter(labels), Counter(every), {}
    for label, count in sorted(having.items()):
        own, others = count / all_chips[label], having.total() - count
        of_others = others / max(all_chips.total() - all_chips[label], 1)
        if count >= _FEW and (own >= enough or own >= max(_QUARTER, _TIMES * of_others)):
            found[label] = count, all_chips[label]
    return found


def _classes_text(counts: Mapping[int, tuple[int, int]], spec: DatasetSpec) -> str:
    return "; ".join(f"class {spec.classes[label].code}: {own} of {n} chips" for label, (own, n) in counts.items())


def check_class_scales(rows: Sequence[Mapping[str, Any]], spec: DatasetSpec) -> str | None:
    """Find classes that are much darker or brighter than the others in every band.

    Args:
        rows: rows of the index of all valid chips.
        spec: description of the dataset.

    Returns:
        A sentence about such classes; None without any.

    Raises:
        StudyError: a class is so by about one factor in all bands, as no land is.
    """
    means, labels = np.array([row["band_mean"] for row in rows]), np.array([row["label"] for row in rows])
    found, is_scaled = [], False
    is_told = can_be_told(spec.bands) and not set(spec.bands).isdisjoint(VISIBLE)
    for label, entry in enumerate(spec.classes):
        own = labels == label
        if min(own.sum(), (~own).sum()) < MIN_CHIPS_OF_CLASS:
            continue
        of_class, of_others = np.median(means[own], axis=0), np.median(means[~own], axis=0)
        if (of_class <= 0).any() or (of_others <= 0).any():
            continue
        ratio = of_class / of_others
        if ratio.max() < _DARK_CLASS or ratio.min() > _BRIGHT_CLASS:
            found.append(f"class {entry.code}: {ratio.min():.2g} to {ratio.max():.2g} times")
            is_scaled |= is_told and ratio.max() <= _UNIFORM * ratio.min()
    if not found:
        return None
    shown = f"{'; '.join(found)} that of the median chip of the other classes"
    if is_scaled and not spec.checks.allow_class_offsets:
        raise StudyError(
            f"Chips of {len(found)} class(es) of dataset {spec.name!r} have another scale than those of the others.",
            found=f"a mean reflectance of {shown}",
            expected="classes that differ more in some bands than in others, as land does",
            remedy="write all chips in dataset.unit, with one scale; set dataset.checks.allow_class_offsets: true if "
            "these classes are really so",
        )
    return (
        "the chips of some classes have a much smaller or larger reflectance in every band than those of the others "
        f"({shown}): if their files have another unit or scale, models can tell these classes by it, without any land "
        "cover"
    )


def describe_same_places(rows: Sequence[Mapping[str, Any]], spec: DatasetSpec) -> str | None:
    """Return a sentence about chips that lie at the place of another one, to half a pixel; None without any.

    Args:
        rows: rows of the index of all valid chips.
        spec: description of the dataset.
    """
    known = [row for row in rows if math.isfinite(row["easting_m"]) and math.isfinite(row["northing_m"])]
    if len(known) < 2:
        return None
    places = np.array([(row["easting_m"], row["northing_m"]) for row in known])
    # Places beside each other may be in different cells of half a pixel; if these are moved by half, one has both.
    cells_of = []
    for shift in ((0, 0), (0, 0.5), (0.5, 0), (0.5, 0.5)):
        cells = np.floor(2 * places / spec.pixel_size_m + np.array(shift))
        cells_of.append(np.unique(cells, axis=0, return_inverse=True)[1].ravel())
    group_of, before = np.arange(len(known)), None
    while before is None or (group_of != before).any():
        before = group_of
        for cell_of in cells_of:
            lowest = np.full(len(known), len(known))
            np.minimum.at(lowest, cell_of, group_of)
            group_of = lowest[cell_of]
    groups: dict[int, list[Mapping[str, Any]]] = {}
    for row, group in zip(known, group_of.tolist(), strict=True):
        groups.setdefault(group, []).append(row)
    shared = [group for group in groups.values() if len(group) > 1]
    if not shared:
        return None
    differ = sum(len(group) for group in shared if len({row["label"] for row in group}) > 1)
    first, second = shared[0][:2]
    return (
        f"{sum(map(len, shared))} chips lie at the place of another chip, such as {first['point_id']} "
        f"({first['file']}) and {second['point_id']} ({second['file']}), and {differ} of them at that of a chip with "
        "another label: dates or exports of one place, or a wrong place. Scores are too high where one is trained on "
        "and the other tested: set split.block_km"
    )


def describe_bright(chips: Sequence[CheckedChip], spec: DatasetSpec) -> str | None:
    """Return a sentence if many chips may have the offset of Sentinel-2's baseline 04.00, or Landsat's own numbers."""
    count = sum(chip.darkest >= OFFSET_REFLECTANCE for chip in chips)
    if "RED" not in spec.bands or len(chips) < MIN_CHIPS_OF_CLASS or count < SUSPECT * len(chips):
        return None
    scale, unit = (DN_PER_REFLECTANCE, "DN") if spec.unit == "dn" else (1, "reflectance")
    if spec.unit == "dn" and np.median([chip.darkest for chip in chips]) * scale >= LANDSAT_DN:
        return (
            f"most of {len(chips)} chips have no pixel below {LANDSAT_DN} {unit} in any band, as "
            "with the numbers of Landsat's Collection 2, whose reflectance is 0.0000275 times the number minus 0.2: "
            "give the files the scale tag 0.0000275 and the offset tag -0.2, and set dataset.unit: reflectance; "
            "nothing if they show snow or clouds alone"
        )
    return (
        f"{count} of {len(chips)} chips have no pixel below {OFFSET_REFLECTANCE * scale:g} {unit} in any band, as with "
        f"the offset of {0.1 * scale:g} that Sentinel-2's products have since processing baseline 04.00: subtract it "
        f"from these chips, or give the files the offset tag {-0.1 * scale:g} with the scale tag 1"
    )


def describe_missing(chips: Sequence[CheckedChip]) -> str | None:
    """Return a sentence about classes whose chips lack pixels that those of other classes have; None without any."""
    shares: dict[str, list[float]] = {}
    for chip in chips:
        shares.setdefault(chip.row["class_code"], []).append(chip.row["nodata_fraction"])
    large = {code for code, own in shares.items() if len(own) >= MIN_CHIPS_OF_CLASS}
    many = {code for code in large if np.median(shares[code]) >= _MUCH}
    # However small a part is missing, where it is tells the class if hardly any other chip lacks pixels.
    most = {code for code in large if np.count_nonzero(shares[code]) >= MOST * len(shares[code])}
    found, others = many, _of_others(shares, many)
    if not many or len(others) < MIN_CHIPS_OF_CLASS or np.median(others) > _LITTLE:
        found, others = most, _of_others(shares, most)
        if not most or len(others) < MIN_CHIPS_OF_CLASS or np.count_nonzero(others) > _HARDLY_ANY * len(others):
            return None
    tally = "; ".join(
        f"class {code}: in {np.count_nonzero(own)} of {len(own)} chips, median "
        f"{percent_text(float(np.median(own)))} of the pixels"
        for code, own in shares.items()
        if code in found
    )
    return (
        f"pixels are missing in most chips of some classes and not of the others ({tally}; other classes: in "
        f"{np.count_nonzero(others)} of {len(others)} chips): models can tell classes by what is missing, without any "
        "land cover"
    )


def _of_others(shares: Mapping[str, Sequence[float]], found: Collection[str]) -> list[float]:
    return [share for code, own in shares.items() if code not in found for share in own]


def describe_colours(chips: Sequence[CheckedChip]) -> str | None:
    """Return a sentence about chips whose files show their bands in other colours than configured; None without any."""
    wrong = [chip for chip in chips if chip.wrong_colours is not None]
    if not wrong:
        return None
    counts = Counter(chip.row["class_code"] for chip in wrong)
    return (
        f"{len(wrong)} of {len(chips)} chips may have their bands in another order ("
        + "; ".join(f"class {code}: {count}" for code, count in sorted(counts.items()))
        + f"): {wrong[0].name} {wrong[0].wrong_colours}. Look up the order in the program that wrote them; colours "
        "that were copied from another file say nothing"
    )


def check_class_offsets(chips: Sequence[CheckedChip], spec: DatasetSpec) -> dict[str, dict[str, int]]:
    """Find classes whose chips are brighter by the offset of Sentinel-2's baseline 04.00, which was not subtracted.

    Such an offset in the chips of one class alone tells this class from all others, without any land cover. The darkest
    pixels show it: with the offset, no band of any pixel is below it.

    Args:
        chips: all valid chips.
        spec: description of the dataset.

    Returns:
        For the code of each class of which 3 chips or more, and at least 40 %, have no pixel below the offset, while
        most chips of the other classes have such pixels: `chips`, and `without_dark_pixels`, the number of such chips.
        Nothing without the band RED, because every surface can be bright in the others.

    Raises:
        StudyError: almost all chips of a class have none, and these classes are at most half of the chips; or almost
            all chips of a class have pixels far below 0.
    """
    if not spec.checks.allow_class_offsets:
        _refuse_negative_classes(chips, spec)
    counts = Counter(chip.row["class_code"] for chip in chips)
    bright = Counter(chip.row["class_code"] for chip in chips if chip.darkest >= OFFSET_REFLECTANCE)
    suspects = {
        code for code, n in counts.items() if n >= MIN_CHIPS_OF_CLASS and bright[code] >= max(_FEW, SUSPECT * n)
    }
    n_others, n_dark = (
        sum(numbers[code] for code in counts.keys() - suspects) for numbers in (counts, counts - bright)
    )
    if "RED" not in spec.bands or not suspects or n_others < MIN_CHIPS_OF_CLASS or n_dark < MOST * n_others:
        return {}
    found = {
        entry.code: {"chips": counts[entry.code], "without_dark_pixels": bright[entry.code]}
        for entry in spec.classes
        if entry.code in suspects
    }
    tally = "; ".join(f"class {code}: {n['without_dark_pixels']} of {n['chips']}" for code, n in found.items())
    scale, unit = (DN_PER_REFLECTANCE, "DN") if spec.unit == "dn" else (1, "reflectance")
    said = f"chips without any pixel below {OFFSET_REFLECTANCE * scale:g} {unit} in any band"
    remedy = (
        "unless these classes are really that bright, as deserts and clouds are, subtract the offset of "
        f"{0.1 * scale:g} from these chips (processing baseline 04.00 and later), or give the files the offset tag "
        f"{-0.1 * scale:g} with the scale tag 1; if they are, set dataset.checks.allow_class_offsets: true"
    )
    is_certain = len(chips) >= 2 * sum(counts[code] for code in suspects)
    certain = [code for code in found if bright[code] >= ALMOST_ALL * counts[code]]
    if certain and is_certain and not spec.checks.allow_class_offsets:
        raise StudyError(
            f"Chips of {len(certain)} class(es) of dataset {spec.name!r} have an offset that the others do not have.",
            found=f"{said}: {tally}; other classes: {n_others - n_dark} of {n_others}",
            expected="dark pixels, such as shadow or water, in about as many chips of every class",
            remedy=remedy,
        )
    return found


def describe_bright_classes(classes: Mapping[str, Mapping[str, int]]) -> str | None:
    """Return a sentence about the classes that `check_class_offsets` found; None without any."""
    if not classes:
        return None
    tally = "; ".join(f"class {code}: {n['without_dark_pixels']} of {n['chips']}" for code, n in classes.items())
    return (
        f"many chips of some classes have no dark pixel in any band, and few chips of the others ({tally}): they may "
        "have the offset of Sentinel-2's products since processing baseline 04.00. Subtract it from them, or give "
        "their files its offset tag; nothing if these classes are that bright"
    )


def _refuse_negative_classes(chips: Sequence[CheckedChip], spec: DatasetSpec) -> None:
    """Raise a StudyError if almost all chips of a class have pixels far below 0."""
    counts = Counter(chip.row["class_code"] for chip in chips)
    negative = Counter(chip.row["class_code"] for chip in chips if chip.darkest < NEGATIVE_REFLECTANCE)
    found = [code for code, n in counts.items() if n >= MIN_CHIPS_OF_CLASS and negative[code] >= ALMOST_ALL * n]
    if not found:
        return
    scale, unit = (DN_PER_REFLECTANCE, "DN") if spec.unit == "dn" else (1, "reflectance")
    raise StudyError(
        f"Chips of {len(found)} class(es) of dataset {spec.name!r} have an offset that makes dark pixels negative.",
        found=f"pixels below {NEGATIVE_REFLECTANCE * scale:g} {unit}: "
        + "; ".join(f"class {code}: {negative[code]} of {counts[code]} chips" for code in found),
        expected="dark pixels, such as shadow or water, at 0 or a little above",
        remedy=f"add {0.1 * scale:g} to these chips if the offset of processing baseline 04.00 was subtracted from "
        "older products, or correct their offset tag; set dataset.checks.allow_class_offsets: true if they are right",
    )
