"""Mean and spread of features in windows around a pixel."""

import numpy as np
import pytest
import torch

from training.models.layers import STRIDE, upsample
from training.models.surroundings import (
    CELL_PX,
    LEAST_VARIANCE,
    SURROUNDINGS_RADIUS_PX,
    WINDOWS,
    surroundings,
    surroundings_channels,
)


def image(rows: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Three features, of which the last is of another sensor; each sensor has gaps of its own."""
    generator = torch.Generator().manual_seed(seed)
    raw = 2 * torch.randn(1, 3, rows, columns, generator=generator) + torch.tensor([0.5, -1, 3]).reshape(1, 3, 1, 1)
    valid = (torch.rand(1, 3, rows, columns, generator=generator) < 0.6).float()
    valid[:, 1] = valid[:, 0]
    valid[:, :2, : rows // 2, : columns // 3] = 0
    valid[:, 2:, :, -9:] = 0
    return raw * valid, valid


def in_windows(raw: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Of (C, H, W): what is asked for, window by window."""
    channels, rows, columns = raw.shape
    made = np.zeros((surroundings_channels(channels), rows // CELL_PX, columns // CELL_PX))
    for row, column in np.ndindex(made.shape[1:]):
        for place, size in enumerate(WINDOWS):
            high, low = (size // 2 + 1) * CELL_PX, size // 2 * CELL_PX
            window = (
                slice(max(row * CELL_PX - low, 0), row * CELL_PX + high),
                slice(max(column * CELL_PX - low, 0), column * CELL_PX + high),
            )
            for channel in range(channels):
                seen = raw[channel][window][valid[channel][window] > 0]
                if len(seen):
                    first = 2 * channels * place + channel
                    made[first, row, column] = seen.mean()
                    made[first + channels, row, column] = 0.5 * np.log(max(seen.var(), LEAST_VARIANCE)) + 1
    return made


def test_windows_give_mean_and_log_deviation_of_what_was_observed() -> None:
    raw, valid = image(104, 72)
    made = surroundings(raw, valid)
    assert made.shape == (1, 12, 13, 9)
    np.testing.assert_allclose(made[0], in_windows(raw[0].double().numpy(), valid[0].numpy()), rtol=1e-3, atol=1e-3)


def test_windows_that_saw_nothing_are_0() -> None:
    raw, valid = image(120, 80)
    raw[..., :60, :], valid[..., :60, :] = 0, 0
    made = surroundings(raw, valid)
    assert not made[:, :, :4].any()  # even of windows that reach 28 px from the centre of a cell
    assert (made[:, 6:, 4:] != 0).all()


def test_a_single_observed_pixel_is_a_mean_without_spread() -> None:
    raw, valid = torch.zeros(1, 1, 72, 56), torch.zeros(1, 1, 72, 56)
    raw[..., 35, 27], valid[..., 35, 27] = 5.0, 1.0
    mean, deviation = surroundings(raw, valid)[0, 2:, 4, 3]
    assert mean.item() == pytest.approx(5)
    assert deviation.item() == pytest.approx(0.5 * np.log(LEAST_VARIANCE) + 1)


def test_what_surrounds_a_pixel_is_as_far_as_said_and_no_farther() -> None:
    """By the gradient of locations of stride 2 that are interpolated to pixels, as heads of doubt read them."""
    reach = set()
    for pixel in range(96, 104):
        raw, valid = torch.randn(1, 1, 200, 40, requires_grad=True), torch.ones(1, 1, 200, 40)
        at_locations = upsample(surroundings(raw, valid), CELL_PX // STRIDE)
        upsample(at_locations, STRIDE)[..., pixel, 20].sum().backward()
        seen = raw.grad[0, 0].abs().amax(dim=1).nonzero().flatten()
        reach |= {pixel - seen.min().item(), seen.max().item() - pixel}
    assert max(reach) == SURROUNDINGS_RADIUS_PX


def test_chips_that_start_on_other_cells_agree_with_the_whole_image() -> None:
    raw, valid = image(184, 160)
    halo = -(-SURROUNDINGS_RADIUS_PX // CELL_PX) * CELL_PX
    whole = upsample(surroundings(raw, valid), CELL_PX)
    for row, column in ((40, 40), (64, 56), (88, 48)):
        rows, columns = slice(row - halo, row + 24 + halo), slice(column - halo, column + 16 + halo)
        chip = upsample(surroundings(raw[..., rows, columns], valid[..., rows, columns]), CELL_PX)
        inside = chip[..., halo:-halo, halo:-halo]
        torch.testing.assert_close(inside, whole[..., row : row + 24, column : column + 16], rtol=1e-4, atol=1e-4)
