"""Band statistics, normalisation and the scale guard."""

import numpy as np
import pytest

from terralucas.backbones.terratorch_parts import terratorch_module
from terralucas.data.normalisation import PRETRAINING_STATISTICS_DN, make_normaliser, merge
from terralucas.errors import StudyError

BANDS = ["RED", "GREEN", "BLUE", "NIR_BROAD", "SWIR_1", "SWIR_2"]


def chips_of(n=7, side=9, seed=0, missing=0.1):
    random = np.random.default_rng(seed)
    chips = 0.15 + 0.08 * random.normal(size=(n, len(BANDS), side, side))
    chips[random.random(chips.shape) < missing] = np.nan
    return chips


def moments(chips):
    count = np.sum(~np.isnan(chips), axis=(2, 3))
    mean = np.nanmean(chips, axis=(2, 3))
    return count, mean, np.nansum((chips - mean[:, :, None, None]) ** 2, axis=(2, 3))


def test_merged_moments_are_those_of_all_pixels():
    chips = chips_of()
    merged = merge(*moments(chips))
    np.testing.assert_allclose(merged.mean, np.nanmean(chips, axis=(0, 2, 3)), rtol=1e-13)
    np.testing.assert_allclose(merged.std, np.nanstd(chips, axis=(0, 2, 3)), rtol=1e-12)


def test_merging_is_exact_far_from_zero():
    """Where the sum-of-squares formula loses every digit: a mean of 1e6 and a spread of 1e-3."""
    chips = 1e6 + 1e-3 * np.random.default_rng(0).normal(size=(50, 6, 8, 8))
    merged = merge(*moments(chips))
    np.testing.assert_allclose(merged.std, np.std(chips, axis=(0, 2, 3)), rtol=1e-6)


def test_a_band_without_pixels_in_one_chip_does_not_spread():
    chips = chips_of()
    chips[2, 1] = np.nan
    count, mean, m2 = np.sum(~np.isnan(chips), axis=(2, 3)), np.zeros((7, 6)), np.zeros((7, 6))
    for i in range(7):
        for band in range(6):
            values = chips[i, band][~np.isnan(chips[i, band])]
            mean[i, band] = values.mean() if values.size else np.nan
            m2[i, band] = ((values - mean[i, band]) ** 2).sum()
    np.testing.assert_allclose(merge(count, mean, m2).mean, np.nanmean(chips, axis=(0, 2, 3)))


def test_dataset_normalisation_gives_mean_zero_and_spread_one_and_fills_gaps_with_the_mean():
    chips = chips_of()
    normaliser = make_normaliser("dataset", merge(*moments(chips)), BANDS)
    out = np.stack([normaliser(chip) for chip in chips])
    assert out.dtype == np.float32
    valid = ~np.isnan(chips)
    for band in range(6):
        assert out[:, band][valid[:, band]].mean() == pytest.approx(0, abs=1e-5)
        assert out[:, band][valid[:, band]].std() == pytest.approx(1, abs=1e-5)
    assert np.abs(out[~valid]).max() < 1e-6
    np.testing.assert_array_equal(normaliser(chips), out)


def test_pretraining_normalisation_uses_terraminds_own_statistics():
    chips = chips_of(missing=0.0)
    normaliser = make_normaliser("pretraining", merge(*moments(chips)), BANDS)
    mean, std = PRETRAINING_STATISTICS_DN["NIR_BROAD"]
    np.testing.assert_allclose(normaliser(chips[0])[3], (chips[0, 3] * 10_000 - mean) / std, rtol=1e-5, atol=1e-6)


def test_terraminds_statistics_are_terratorchs():
    register = terratorch_module("terratorch.models.backbones.terramind.model.terramind_register")
    key = "untok_sen2l2a@224"
    theirs = zip(
        register.PRETRAINED_BANDS[key], register.v1_pretraining_mean[key], register.v1_pretraining_std[key], strict=True
    )
    assert {band: (mean, std) for band, mean, std in theirs} == PRETRAINING_STATISTICS_DN


@pytest.mark.parametrize("kind", ["dataset", "train", "pretraining"])
@pytest.mark.parametrize(("factor", "cause"), [(10_000, "set dataset.unit to dn"), (1e-4, "set it to reflectance")])
def test_a_wrong_unit_is_refused_under_every_normalisation(kind, factor, cause):
    with pytest.raises(StudyError, match="scale of the chips") as raised:
        make_normaliser(kind, merge(*moments(chips_of() * factor)), BANDS)
    assert cause in str(raised.value)


def test_a_constant_band_is_refused_by_name():
    chips = chips_of()
    chips[:, 2] = 0.1
    with pytest.raises(StudyError, match="BLUE have one value everywhere"):
        make_normaliser("dataset", merge(*moments(chips)), BANDS)


def test_a_band_without_any_pixel_is_refused():
    chips = chips_of()
    count, mean, m2 = moments(chips)
    count[:, 4] = 0
    with pytest.raises(StudyError, match="position 4"):
        merge(count, mean, m2)
