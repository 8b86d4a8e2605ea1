"""The compact branch: how far it sees, and on which lattice."""

import numpy as np
import pytest
import torch

from contract.bands import Modality
from tests.training.examples import worn
from training.models.branch import ALIGNMENT_PX, Branch, CompactTrunk
from training.models.config import BranchConfig, ModelConfig
from training.models.layers import upsample
from training.models.surroundings import surroundings

BLOCKS = [(0, 0, 0), (1, 2, 1), (2, 1, 0), (0, 1, 2)]


def trunk(blocks: tuple[int, int, int]) -> CompactTrunk:
    torch.manual_seed(0)
    return worn(CompactTrunk(2, BranchConfig(widths=(4, 6, 4), blocks=blocks))).eval().double()


def open_trunk(blocks: tuple[int, int, int]) -> CompactTrunk:
    """One in which no ReLU is ever shut: every pixel that can be seen is seen."""
    network = CompactTrunk(2, BranchConfig(widths=(2, 2, 2), blocks=blocks)).eval().double()
    for weights in network.parameters():
        weights.data.abs_()
    return network


def seen_px(network: CompactTrunk, shape: tuple[int, int], place: int, axis: int) -> tuple[int, int]:
    """How far before and behind a place of an axis, in the middle of the other, bands change the output."""
    bands = torch.rand(1, 2, *shape, dtype=torch.float64, requires_grad=True)
    upsample(network(bands), 2).select(2 + axis, place).select(-1, shape[1 - axis] // 2).sum().backward()
    assert bands.grad is not None
    seen = bands.grad.abs().sum(dim=(0, 1, 3 - axis)).nonzero().flatten()
    return place - int(seen.min()), int(seen.max()) - place


@pytest.mark.parametrize("blocks", BLOCKS)
def test_a_pixel_sees_no_further_than_the_radius_and_the_radius_is_no_larger_than_needed(
    blocks: tuple[int, int, int],
) -> None:
    network = open_trunk(blocks)
    halo = -(-network.radius_px // ALIGNMENT_PX) * ALIGNMENT_PX
    rows = 2 * (halo + ALIGNMENT_PX)
    places = range(rows // 2, rows // 2 + ALIGNMENT_PX)
    furthest = max(max(seen_px(network, (rows, 24), place, axis=0)) for place in places)
    assert furthest == network.radius_px


def test_the_radius_holds_along_columns_too() -> None:
    network = open_trunk((1, 1, 1))
    assert 0 < max(seen_px(network, (24, 160), 80, axis=1)) <= network.radius_px


@pytest.mark.parametrize("axis", [2, 3])
def test_features_move_with_the_ground_by_the_alignment_and_by_less_they_do_not(axis: int) -> None:
    network = trunk((0, 1, 0))
    bands = torch.randn(1, 2, 120, 136, dtype=torch.float64)
    halo = -(-(network.radius_px + ALIGNMENT_PX) // 2)  # at stride 2: what sees a border, or what was rolled over it
    inside = (..., slice(halo, -halo), slice(halo, -halo))

    def difference(shift_px: int) -> float:
        with torch.no_grad():
            moved = network(bands.roll(shift_px, dims=axis))
            return float((moved - network(bands).roll(shift_px // 2, dims=axis))[inside].abs().max())

    assert difference(ALIGNMENT_PX) < 1e-12
    assert difference(ALIGNMENT_PX // 2) > 1e-3


def test_a_position_lies_in_the_middle_of_what_it_sees() -> None:
    """So that the embedding of a chip that was turned is the embedding turned, at every stride."""
    network = open_trunk((1, 1, 1))
    for first in range(80, 84):
        mirrored = 80 + ALIGNMENT_PX - 1 - (first - 80)
        assert seen_px(network, (168, 24), first, axis=0) == seen_px(network, (168, 24), mirrored, axis=0)[::-1]


def test_a_branch_gives_one_expert_at_stride_2_with_bounded_variance() -> None:
    branch = worn(Branch(2, BranchConfig(widths=(4, 6, 4)), ModelConfig(latent=3), Modality.S1).eval(), seed=2)
    branch.log_variance.weight.data.mul_(100)
    expert = branch(torch.randn(2, 2, 24, 40), torch.ones(2, 1, 24, 40))
    assert expert.mean.shape == expert.log_variance.shape == (2, 3, 12, 20)
    assert expert.log_variance.min() >= -8
    assert expert.log_variance.max() <= 8


@torch.no_grad()
def test_heads_read_features_divided_by_their_root_mean_square_and_1() -> None:
    branch = worn(Branch(2, BranchConfig(widths=(4, 6, 4)), ModelConfig(latent=3), Modality.S1).eval(), seed=2)
    bands, valid = 3 * torch.randn(2, 2, 24, 40), torch.ones(2, 1, 24, 40)
    features = branch.trunk(torch.cat([bands, valid], dim=1)).double().numpy()
    bounded = features / np.sqrt(1 + np.square(features).mean(axis=1, keepdims=True))
    norm = branch.mean[1]
    shift, deviation = norm.running_mean.numpy()[:, None, None], np.sqrt(norm.running_var.numpy() + norm.eps)
    mean = (_linear(branch.mean[0], bounded) - shift) / deviation[:, None, None]
    expert = branch(bands, valid)
    np.testing.assert_allclose(expert.mean, mean, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(expert.log_variance, _linear(branch.log_variance, bounded), rtol=1e-3, atol=1e-4)


def _linear(layer: torch.nn.Conv2d, features: np.ndarray) -> np.ndarray:
    made = np.einsum("dc,nchw->ndhw", layer.weight[:, :, 0, 0].double().numpy(), features)
    return made if layer.bias is None else made + layer.bias.double().numpy()[:, None, None]


@pytest.mark.parametrize("brightness", [1e3, 1e12, 1e30])
@torch.no_grad()
def test_a_chip_brighter_than_all_ground_lies_within_bounds(brightness: float) -> None:
    """Of features whose root mean square is at most 1."""
    branch = worn(Branch(2, BranchConfig(widths=(4, 6, 4)), ModelConfig(latent=3), Modality.S2).eval(), seed=2)
    expert = branch(brightness * torch.rand(2, 2, 24, 40), torch.ones(2, 1, 24, 40))
    norm, weight = branch.mean[1], branch.mean[0].weight[:, :, 0, 0]
    furthest = 2 * weight.norm(dim=1) + norm.running_mean.abs()  # of 4 features
    bound = (furthest / (norm.running_var + norm.eps).sqrt())[:, None, None]
    assert (expert.mean.abs() <= bound).all()
    assert expert.log_variance.isfinite().all()


@torch.no_grad()
def test_the_variance_of_radar_and_of_nothing_else_reads_what_surrounds_a_location() -> None:
    bands, valid = torch.randn(2, 2, 24, 40), torch.ones(2, 1, 24, 40)
    branch = worn(
        Branch(2, BranchConfig(widths=(4, 6, 4), blocks=(0, 0, 0)), ModelConfig(latent=3), Modality.S1).eval(), seed=2
    )
    before = branch(bands, valid)
    branch.texture.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(3))
    after = branch(bands, valid)
    assert torch.equal(after.mean, before.mean)
    expected = _linear(branch.texture, surroundings(bands, valid.expand(-1, 2, -1, -1)).double().numpy())
    expected = upsample(torch.from_numpy(expected).float(), 4)
    torch.testing.assert_close(after.log_variance - before.log_variance, expected, rtol=1e-3, atol=1e-5)
    optical = Branch(2, BranchConfig(widths=(4, 6, 4), blocks=(0, 0, 0)), ModelConfig(latent=3), Modality.S2)
    assert optical.texture is None
    assert branch.radius_px > optical.radius_px == optical.trunk.radius_px


def test_a_new_branch_is_confident_everywhere() -> None:
    branch = Branch(2, BranchConfig(widths=(4, 6, 4)), ModelConfig(latent=3), Modality.S1).eval()
    assert branch(torch.randn(1, 2, 16, 24), torch.ones(1, 1, 16, 24)).log_variance.unique().tolist() == [-2]


def test_without_sigma_there_is_no_variance_to_learn() -> None:
    branch = Branch(2, BranchConfig(widths=(4, 6, 4)), ModelConfig(latent=3, variational=False), Modality.S1).eval()
    assert not [name for name, _ in branch.named_parameters() if "variance" in name or "texture" in name]
    assert branch(torch.randn(1, 2, 16, 24), torch.ones(1, 1, 16, 24)).log_variance.unique().tolist() == [-8]
