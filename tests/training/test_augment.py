"""Augmentation and corruption of batches."""

from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage, stats
from torch import Tensor

from tests.training.examples import UNCHANGED
from training.augment import (
    LEVELS,
    NOISE_DB,
    AugmentConfig,
    Corruption,
    add_speckle,
    apply_d4,
    augment,
    corrupt,
    random_d4,
    undo_d4,
)
from training.tensors import Inputs

EVERYTHING = AugmentConfig(
    speckle_share=1,
    cloud_share=1,
    cloud_known_share=1,
    box_share=1,
    flat_band_share=1,
    noise_band_share=1,
    s2_dropped_share=0.5,
    s1_dropped_share=0.5,
)


def config(**changes: float | tuple[float, float]) -> AugmentConfig:
    """A configuration that does only what is named."""
    return AugmentConfig.model_validate(UNCHANGED.model_dump() | changes)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(chips: int, height: int, width: int) -> Inputs:
    """A batch without gaps."""
    draws = seeded(99)
    seen = torch.ones(chips, 1, height, width)
    return Inputs(
        s2=0.02 + 0.4 * torch.rand(chips, 4, height, width, generator=draws),
        s2_valid=seen,
        s1=-12 + 3 * torch.randn(chips, 2, height, width, generator=draws),
        s1_valid=seen.clone(),
    )


@pytest.fixture
def whole() -> Inputs:
    return batch(16, 20, 28)


@pytest.fixture
def gappy(whole: Inputs) -> Inputs:
    """With gaps in both sensors, one chip without S2 and one without S1."""
    draws = seeded(7)
    s2_valid = (torch.rand(whole.s2_valid.shape, generator=draws) > 0.3).float()
    s1_valid = (torch.rand(whole.s1_valid.shape, generator=draws) > 0.3).float()
    s2_valid[3], s1_valid[5] = 0, 0
    return Inputs(s2=whole.s2 * s2_valid, s2_valid=s2_valid, s1=whole.s1 * s1_valid, s1_valid=s1_valid)


def same(first: Inputs, second: Inputs) -> bool:
    return all(torch.equal(one, other) for one, other in zip(astuple(first), astuple(second), strict=True))


def assert_values_only_where_valid(made: Inputs, source: Inputs) -> None:
    for name in ("s2", "s1"):
        values, valid = getattr(made, name), getattr(made, f"{name}_valid")
        assert values.shape == getattr(source, name).shape
        assert values.dtype == valid.dtype == torch.float32
        assert values.isfinite().all()
        assert set(valid.unique().tolist()) <= {0.0, 1.0}
        assert (valid <= getattr(source, f"{name}_valid")).all()
        assert not (values * (1 - valid)).any()


def chips_seen(valid: Tensor) -> Tensor:
    return valid.flatten(1).any(dim=1)


# --- geometry


@pytest.mark.parametrize("element", range(8))
def test_an_element_is_a_transposition_then_flips(element: int) -> None:
    chip = np.arange(2 * 5 * 5, dtype=np.float32).reshape(2, 5, 5)
    expected = chip.transpose(0, 2, 1) if element & 1 else chip
    flipped = [axis for bit, axis in ((2, 1), (4, 2)) if element & bit]
    expected = np.flip(expected, flipped)
    turned = apply_d4(torch.from_numpy(chip)[None], torch.tensor([element]))
    np.testing.assert_array_equal(turned[0], expected)


def test_the_elements_are_all_quarter_turns_and_mirrored_quarter_turns() -> None:
    label = np.arange(36, dtype=np.uint8).reshape(6, 6)
    expected = {np.rot90(side, turns).tobytes() for side in (label, np.fliplr(label)) for turns in range(4)}
    turned = apply_d4(torch.from_numpy(label).expand(8, 6, 6), torch.arange(8))
    assert turned.dtype == torch.uint8
    assert {chip.numpy().tobytes() for chip in turned} == expected
    assert len(expected) == 8


def test_undoing_restores_every_chip() -> None:
    chips, elements = torch.rand(24, 3, 7, 7, generator=seeded()), torch.arange(8).repeat(3)
    assert torch.equal(undo_d4(apply_d4(chips, elements), elements), chips)


def test_both_sensors_their_validity_and_labels_turn_alike() -> None:
    labels = torch.rand(50, 9, 9, generator=seeded()) + 0.1
    alike = labels.unsqueeze(1)
    inputs = Inputs(s2=alike, s2_valid=alike, s1=alike, s1_valid=alike)
    turned, elements = random_d4(inputs, seeded(1))
    expected = apply_d4(labels, elements).unsqueeze(1)
    assert all(torch.equal(tensor, expected) for tensor in astuple(turned))
    assert not torch.equal(expected, alike)


def test_every_element_is_as_likely() -> None:
    _, elements = random_d4(batch(8000, 2, 2), seeded())
    assert stats.chisquare(np.bincount(elements, minlength=8)).pvalue > 0.001


def test_a_chip_that_is_not_square_is_refused(whole: Inputs) -> None:
    with pytest.raises(ValueError, match="20 x 28 px"):
        random_d4(whole, seeded())


# --- speckle


@pytest.mark.parametrize("looks", [1.0, 1.7, 4.0, 10.0])
def test_speckle_is_gamma_in_linear_power(looks: float) -> None:
    added_db = add_speckle(torch.zeros(300, 2, 24, 32), looks, seeded()).numpy().astype(np.float64)
    power = 10 ** (added_db.ravel() / 10)
    theory = stats.gamma(looks, scale=1 / looks)
    np.testing.assert_allclose(power.mean(), theory.mean(), rtol=0.01)
    np.testing.assert_allclose(power.var(), theory.var(), rtol=0.03)
    assert stats.kstest(power, theory.cdf).statistic < 0.015


@pytest.mark.parametrize("looks", [1.0, 3.0, 10.0])
def test_speckle_in_decibels_has_the_moments_of_a_log_gamma(looks: float) -> None:
    added_db = add_speckle(torch.zeros(300, 2, 24, 32), looks, seeded()).numpy().astype(np.float64)
    theory = stats.loggamma(looks)
    per_db = 10 / np.log(10)
    np.testing.assert_allclose(added_db.mean(), per_db * (theory.mean() - np.log(looks)), atol=0.12)
    np.testing.assert_allclose(added_db.std(), per_db * theory.std(), rtol=0.04)


def test_speckle_is_correlated_to_a_degree_of_each_chip_and_between_bands_not_at_all() -> None:
    added = add_speckle(torch.zeros(60, 2, 64, 80), 4.0, seeded()).numpy()
    neighbours = [np.corrcoef(chip[0, :, :-1].ravel(), chip[0, :, 1:].ravel())[0, 1] for chip in added]
    assert min(neighbours) < 0.1
    assert 0.55 < max(neighbours) < 0.75
    # Three taps at most: nothing is left three pixels away.
    far = [np.corrcoef(chip[0, :, :-3].ravel(), chip[0, :, 3:].ravel())[0, 1] for chip in added]
    assert np.abs(far).max() < 0.1
    assert abs(np.corrcoef(added[:, 0].ravel(), added[:, 1].ravel())[0, 1]) < 0.02


def test_infinitely_many_looks_add_nothing(whole: Inputs) -> None:
    looks = torch.full((16,), torch.inf)
    looks[4] = 2
    speckled = add_speckle(whole.s1, looks, seeded())
    changed = (speckled != whole.s1).flatten(1).any(dim=1)
    assert changed.nonzero().flatten().tolist() == [4]


# --- augmentation


def test_nothing_asked_is_nothing_done(gappy: Inputs) -> None:
    assert same(augment(gappy, UNCHANGED, seeded()), gappy)


@pytest.mark.parametrize("settings", [AugmentConfig(), EVERYTHING], ids=["default", "everything"])
@pytest.mark.parametrize("seed", range(5))
def test_augmented_values_are_zero_where_not_valid(gappy: Inputs, settings: AugmentConfig, seed: int) -> None:
    assert_values_only_where_valid(augment(gappy, settings, seeded(seed)), gappy)


@pytest.mark.parametrize("seed", range(5))
def test_no_chip_loses_its_last_observation(gappy: Inputs, seed: int) -> None:
    made = augment(gappy, EVERYTHING, seeded(seed))
    assert (chips_seen(made.s2_valid) | chips_seen(made.s1_valid)).all()


def test_the_same_seed_gives_the_same_batch_and_leaves_its_input_alone(gappy: Inputs) -> None:
    before = Inputs(**{name: getattr(gappy, name).clone() for name in ("s2", "s2_valid", "s1", "s1_valid")})
    first, second, other = (augment(gappy, EVERYTHING, seeded(seed)) for seed in (1, 1, 2))
    assert same(first, second)
    assert not same(first, other)
    assert same(gappy, before)


def test_s2_gain_is_one_factor_for_each_chip_and_band(whole: Inputs) -> None:
    made = augment(whole, config(s2_gain=0.15, s2_band_gain=0.1), seeded())
    factor = (made.s2 / whole.s2).numpy()
    np.testing.assert_allclose(factor.std(axis=(2, 3)), 0, atol=1e-6)
    assert factor.min() >= 0.85 * 0.9
    assert factor.max() <= 1.15 * 1.1
    common = factor.mean(axis=(1, 2, 3))
    assert common.std() > 0.05
    assert (factor[:, :, 0, 0] - common[:, None]).std() > 0.03
    assert torch.equal(made.s1, whole.s1)


def test_offsets_are_one_number_for_each_chip_and_band(whole: Inputs) -> None:
    made = augment(whole, config(s2_offset=0.01, s1_offset_db=1.5, s1_band_offset_db=0.5), seeded())
    for shift, largest in ((made.s2 - whole.s2, 0.01), (made.s1 - whole.s1, 2.0)):
        assert shift.std(dim=(2, 3)).max() < 1e-5
        assert 0.6 * largest < shift.abs().max() <= largest + 1e-5
    bands_apart = (made.s1 - whole.s1).mean(dim=(2, 3)).diff(dim=1).abs()
    assert 0.5 < bands_apart.max() <= 1.0


def test_noise_is_white_and_its_strength_is_drawn_for_each_chip() -> None:
    whole = batch(200, 24, 32)
    made = augment(whole, config(s2_noise=0.005, s1_noise_db=0.3), seeded())
    for noise, largest in ((made.s2 - whole.s2, 0.005), (made.s1 - whole.s1, 0.3)):
        strength = noise.std(dim=(1, 2, 3)).numpy()
        assert strength.max() < 1.1 * largest
        assert stats.kstest(np.sqrt(strength), stats.uniform(0, largest**0.5).cdf).pvalue > 0.001
        assert abs(np.corrcoef(noise[..., 1:].ravel(), noise[..., :-1].ravel())[0, 1]) < 0.02


def test_blur_is_drawn_for_each_chip_and_takes_detail_from_optical_bands_alone(whole: Inputs) -> None:
    made = augment(whole, config(blur_share=1, blur_px=3.0), seeded())
    left = made.s2.diff(dim=3).std(dim=(1, 2, 3)) / whole.s2.diff(dim=3).std(dim=(1, 2, 3))
    assert (left < 1).all()
    assert left.max() > 2 * left.min()
    torch.testing.assert_close(made.s2.mean(dim=(2, 3)), whole.s2.mean(dim=(2, 3)), rtol=0.1, atol=0.01)
    assert torch.equal(made.s1, whole.s1)


@pytest.mark.parametrize(
    ("share", "changed"), [("speckle_share", "s1"), ("cloud_share", "s2"), ("noise_band_share", "s2")]
)
def test_a_share_of_the_chips_is_changed(share: str, changed: str) -> None:
    whole = batch(1000, 4, 6)
    made = augment(whole, config(**{share: 0.3}), seeded())
    count = (getattr(made, changed) != getattr(whole, changed)).flatten(1).any(dim=1).sum().item()
    assert stats.binomtest(int(count), 1000, 0.3).pvalue > 0.001
    assert same(replace(made, **{changed: getattr(whole, changed)}), whole)


def test_one_flat_band_of_a_chip_is_the_mean_of_its_valid_pixels(gappy: Inputs) -> None:
    made = augment(gappy, config(flat_band_share=1), seeded())
    valid = gappy.s2_valid[:, 0].numpy().astype(bool)
    flat = (made.s2 != gappy.s2).flatten(2).any(dim=2).numpy()
    assert flat.sum(axis=1).tolist() == [0 if chip == 3 else 1 for chip in range(16)]
    for chip, band in zip(*flat.nonzero(), strict=True):
        expected = gappy.s2[chip, band].numpy()[valid[chip]].mean(dtype=np.float64)
        np.testing.assert_allclose(made.s2[chip, band].numpy()[valid[chip]], expected, rtol=1e-5)
    assert len(set(flat.nonzero()[1])) == 4


def test_one_band_of_a_chip_becomes_noise(whole: Inputs) -> None:
    made = augment(whole, config(noise_band_share=1), seeded())
    lost = (made.s2 != whole.s2).flatten(2).any(dim=2)
    assert lost.sum(dim=1).tolist() == [1] * 16
    assert stats.kstest(made.s2[lost].ravel(), stats.uniform(0, 0.5).cdf).pvalue > 0.001


def test_a_box_is_one_rectangle_within_its_sides(whole: Inputs) -> None:
    made = augment(whole, config(box_share=1, box_side=(0.2, 0.5)), seeded())
    for valid in (made.s2_valid, made.s1_valid):
        for hidden in 1 - valid[:, 0].numpy():
            (rows, columns), count = ndimage.find_objects(hidden.astype(int))[0], hidden.sum()
            height, width = rows.stop - rows.start, columns.stop - columns.start
            assert count == height * width
            assert 4 <= height <= 10
            assert 6 <= width <= 14
    assert not torch.equal(made.s2_valid, made.s1_valid)


def test_boxes_reach_every_pixel() -> None:
    made = augment(batch(3000, 7, 11), config(box_share=1), seeded())
    assert ((1 - made.s2_valid).sum(dim=0) > 50).all()


def test_known_clouds_are_masked_and_unknown_ones_stay_valid() -> None:
    whole = batch(40, 24, 32)
    unknown = augment(whole, config(cloud_share=1), seeded())
    known = augment(whole, config(cloud_share=1, cloud_known_share=1), seeded())
    assert unknown.s2_valid.all()
    assert 0.1 < known.s2_valid.mean() < 0.9
    assert known.s1_valid.all()
    # The same clouds: what the mask leaves is as it was, and what it takes is brighter than the ground.
    assert torch.equal(known.s2, unknown.s2 * known.s2_valid)
    brighter = (unknown.s2 - whole.s2).mean(dim=1, keepdim=True)
    assert brighter[known.s2_valid == 0].mean() > brighter[known.s2_valid == 1].mean() + 0.1


def test_sensors_drop_in_their_shares_and_never_both() -> None:
    made = augment(batch(4000, 2, 3), config(s2_dropped_share=0.3, s1_dropped_share=0.15), seeded())
    no_s2, no_s1 = ~chips_seen(made.s2_valid), ~chips_seen(made.s1_valid)
    assert stats.binomtest(int(no_s2.sum()), 4000, 0.3).pvalue > 0.001
    assert stats.binomtest(int(no_s1.sum()), 4000, 0.15).pvalue > 0.001
    assert not (no_s2 & no_s1).any()


def test_a_chip_without_s1_keeps_its_s2(gappy: Inputs) -> None:
    made = augment(gappy, config(s2_dropped_share=1), seeded())
    assert chips_seen(made.s2_valid).nonzero().flatten().tolist() == [5]


@pytest.mark.parametrize(
    "changes",
    [{"s2_dropped_share": 0.6, "s1_dropped_share": 0.5}, {"speckle_looks": (0.5, 4.0)}, {"cloud_share": 1.1}],
)
def test_impossible_amounts_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        AugmentConfig.model_validate(changes)


# --- corruption


def change(made: Inputs, source: Inputs) -> float:
    """Root mean square of what changed (10 dB of S1 count as 1 of S2), plus the share of observations lost."""
    s2, s1 = (made.s2 - source.s2).square().mean(), (made.s1 - source.s1).square().mean() / 100
    lost = (source.s2_valid - made.s2_valid).mean() + (source.s1_valid - made.s1_valid).mean()
    return float((s2 + s1).sqrt() + lost)


@pytest.mark.parametrize("kind", Corruption)
def test_every_level_spoils_more_than_the_one_before(gappy: Inputs, kind: Corruption) -> None:
    changes = [change(corrupt(gappy, kind, level, seeded()), gappy) for level in range(1, 6)]
    assert changes[0] > 0
    assert np.diff(changes).min() > 0


@pytest.mark.parametrize("kind", Corruption)
@pytest.mark.parametrize("level", [1, 5])
def test_corrupted_values_are_zero_where_not_valid(gappy: Inputs, kind: Corruption, level: int) -> None:
    made = corrupt(gappy, kind, level, seeded())
    assert_values_only_where_valid(made, gappy)
    assert same(made, corrupt(gappy, kind, level, seeded()))


@pytest.mark.parametrize("kind", [Corruption.CLOUD, Corruption.SPECKLE, Corruption.BLUR])
def test_a_corruption_of_one_sensor_leaves_the_other(whole: Inputs, kind: Corruption) -> None:
    made = corrupt(whole, kind, 5, seeded())
    kept = "s2" if kind is Corruption.SPECKLE else "s1"
    assert torch.equal(getattr(made, kept), getattr(whole, kept))
    assert made.s2_valid.all()
    assert made.s1_valid.all()


@pytest.mark.parametrize("level", range(1, 6))
def test_noise_has_the_deviation_of_its_level(level: int) -> None:
    whole = batch(100, 24, 32)
    made = corrupt(whole, Corruption.NOISE, level, seeded())
    expected = LEVELS[Corruption.NOISE][level - 1]
    np.testing.assert_allclose((made.s2 - whole.s2).std(), expected, rtol=0.01)
    np.testing.assert_allclose((made.s1 - whole.s1).std(), NOISE_DB * expected, rtol=0.01)


@pytest.mark.parametrize("level", range(1, 6))
def test_nodata_takes_the_share_of_its_level(level: int) -> None:
    made = corrupt(batch(10, 80, 120), Corruption.NODATA, level, seeded())
    for valid in (made.s2_valid, made.s1_valid):
        np.testing.assert_allclose(1 - valid.mean(dim=(1, 2, 3)), LEVELS[Corruption.NODATA][level - 1], atol=0.01)


@pytest.mark.parametrize("level", range(1, 6))
def test_blur_is_a_gaussian_mean_of_valid_pixels(gappy: Inputs, level: int) -> None:
    made = corrupt(gappy, Corruption.BLUR, level, seeded())
    sigma = LEVELS[Corruption.BLUR][level - 1]

    def smooth(plane: Tensor) -> np.ndarray:
        return ndimage.gaussian_filter(plane.double().numpy(), sigma, mode="nearest", radius=int(np.ceil(3 * sigma)))

    valid = gappy.s2_valid[0, 0]
    expected = smooth(gappy.s2[0, 2]) / np.maximum(smooth(valid), 1e-12)
    np.testing.assert_allclose(made.s2[0, 2], expected * valid.numpy(), atol=1e-5)


@pytest.mark.parametrize("level", [0, 6])
def test_a_level_that_does_not_exist_is_refused(whole: Inputs, level: int) -> None:
    with pytest.raises(ValueError, match="need 1 to 5"):
        corrupt(whole, Corruption.CLOUD, level, seeded())
