"""Clouds that are pasted on optical chips."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from training.clouds import BRIGHTNESS, SHADOW, TINT, cloud_field, paste_clouds


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def ground() -> Tensor:
    return 0.02 + 0.3 * torch.rand(12, 4, 40, 56, generator=seeded(1))


def test_severity_zero_changes_nothing(ground: Tensor) -> None:
    clouded, opacity = paste_clouds(ground, 0.0, seeded())
    assert torch.equal(clouded, ground)
    assert not opacity.any()


def test_no_pixel_clears_when_severity_rises(ground: Tensor) -> None:
    opacities = [paste_clouds(ground, severity, seeded())[1] for severity in (0.0, 0.1, 0.3, 0.6, 1.0)]
    assert all((after >= before).all() for before, after in pairwise(opacities))
    means = [opacity.mean().item() for opacity in opacities]
    assert np.diff(means).min() > 0.03
    assert opacities[-1].shape == (12, 1, 40, 56)
    assert opacities[-1].max() <= 1


def test_each_chip_has_its_own_severity(ground: Tensor) -> None:
    severity = torch.linspace(0, 1, len(ground))
    clouded, opacity = paste_clouds(ground, severity, seeded())
    assert torch.equal(clouded[0], ground[0])
    chip_7 = paste_clouds(ground, severity[7].item(), seeded())[1][7]
    torch.testing.assert_close(opacity[7], chip_7)


def test_opacity_is_the_share_of_light_that_comes_from_cloud(ground: Tensor) -> None:
    # Over black ground, shadows do not show: a pixel is opacity times the brightness of its chip and band.
    clouded, opacity = paste_clouds(torch.zeros_like(ground), 0.7, seeded())
    covered = (opacity > 0.05).expand_as(clouded)
    brightness = torch.where(covered, clouded / opacity, torch.nan).numpy()
    assert np.nanmax(np.nanstd(brightness, axis=(2, 3))) < 1e-5
    assert np.nanmin(brightness) >= BRIGHTNESS[0] * TINT[0]
    assert np.nanmax(brightness) <= BRIGHTNESS[1] * TINT[1]


def test_shadows_darken_open_ground_by_no_more_than_their_depth() -> None:
    clouded, opacity = paste_clouds(torch.ones(64, 1, 40, 56), 0.3, seeded())
    open_ground = clouded[opacity < 0.001]
    assert open_ground.max() <= 1
    assert open_ground.min() >= 1 - SHADOW[1] - 0.001
    assert (open_ground < 0.8).float().mean() > 0.01


def test_clouds_prefer_no_part_of_the_chip() -> None:
    opacity = paste_clouds(torch.zeros(4000, 1, 24, 40), 0.5, seeded())[1].numpy()
    error = opacity.std() / np.sqrt(len(opacity))
    assert np.abs(opacity.mean(axis=0) - opacity.mean()).max() < 5 * error


def test_a_field_is_standardised_on_each_chip_and_smooth() -> None:
    field = cloud_field(9, (33, 70), seeded()).numpy()
    np.testing.assert_allclose(field.mean(axis=(2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(field.std(axis=(2, 3)), 1, rtol=1e-4)
    neighbours = [np.corrcoef(chip[0, :, :-1].ravel(), chip[0, :, 1:].ravel())[0, 1] for chip in field]
    assert min(neighbours) > 0.9
    assert abs(np.corrcoef(field[0].ravel(), field[1].ravel())[0, 1]) < 0.8


def test_the_same_seed_gives_the_same_clouds(ground: Tensor) -> None:
    before = ground.clone()
    first, second, other = (paste_clouds(ground, 0.5, seeded(seed))[0] for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(ground, before)
