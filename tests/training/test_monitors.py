"""Monitors: each sign is there when what it warns of is, and only then."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, rankdata
from sklearn.linear_model import LinearRegression

from contract.bands import Modality
from tests.training.examples import STATISTICS, encoder, inputs, model_config, worn
from training.data.sample import BandChoice
from training.models.encoder import Encoder
from training.models.expert import Expert
from training.monitors import (
    MOST_LEAK,
    EmbeddingSigns,
    effective_rank,
    partial_rank_correlation,
    position_leak,
    signs_of,
    signs_under_clouds,
)

ROWS, SIZE = 2000, 6


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- rank and spread --------------------------------------------------------------------------------------------------


def test_the_effective_rank_is_the_exponential_of_the_entropy_of_singular_values() -> None:
    rows = normal(50, SIZE).numpy() * np.array([5, 3, 1, 0.5, 0.1, 0.01])
    singular = np.linalg.svd(rows, compute_uv=False)
    share = singular / singular.sum()
    assert effective_rank(torch.from_numpy(rows)) == pytest.approx(math.exp(-(share * np.log(share)).sum()), rel=1e-5)


def test_one_direction_has_rank_1_and_directions_that_are_alike_have_as_many_as_there_are() -> None:
    assert effective_rank(normal(ROWS, 1) * normal(1, SIZE)) == pytest.approx(1, abs=1e-4)
    assert effective_rank(torch.linalg.qr(normal(ROWS, SIZE))[0]) == pytest.approx(SIZE, abs=1e-4)


def signs(mean: torch.Tensor, log_variance: torch.Tensor, ambiguity: torch.Tensor | None = None) -> EmbeddingSigns:
    """Of an ambiguity that nothing depends on, if none is given."""
    given = normal(len(mean), seed=9) if ambiguity is None else ambiguity
    return signs_of(Expert(mean=mean, log_variance=log_variance), given)


def test_means_in_all_directions_are_spread_and_means_in_one_are_not() -> None:
    noise = normal(ROWS, SIZE)
    assert signs(noise, noise).spread == pytest.approx(1, abs=0.02)
    assert signs(noise + 1000, noise).spread < 0.01


def test_the_length_of_means_does_not_count_for_their_spread() -> None:
    noise = normal(ROWS, SIZE)
    assert signs(7 * noise, noise).spread == pytest.approx(signs(noise, noise).spread, rel=1e-4)


# --- sigma ------------------------------------------------------------------------------------------------------------


def test_a_constant_sigma_is_seen() -> None:
    found = signs(normal(ROWS, SIZE), torch.full((ROWS, SIZE), -2.0))
    assert found.log_sigma_deviation == 0
    assert found.sigma_with_length is None
    assert found.sigma_with_ambiguity is None


def test_the_deviation_is_that_of_log_sigma_averaged_over_dimensions() -> None:
    log_variance = normal(ROWS, SIZE, seed=3)
    expected = (log_variance.numpy() / 2).mean(axis=1).std()
    assert signs(normal(ROWS, SIZE), log_variance).log_sigma_deviation == pytest.approx(expected, rel=1e-4)


def test_a_sigma_that_only_repeats_the_length_of_the_mean_is_seen() -> None:
    """Both answer to the ambiguity; it is no more in sigma than in the length."""
    ambiguity = normal(ROWS, seed=1)
    mean = normal(ROWS, SIZE) * torch.exp(-0.5 * ambiguity)[:, None]
    repeated = -mean.norm(dim=1, keepdim=True).log().expand(-1, SIZE)
    found = signs(mean, repeated, ambiguity)
    assert found.sigma_with_length == pytest.approx(-1, abs=0.01)
    assert abs(found.sigma_with_ambiguity or 0) < 0.1


def test_a_sigma_that_knows_of_the_ambiguity_by_itself_is_seen() -> None:
    ambiguity = normal(ROWS, seed=1)
    log_variance = (ambiguity + 0.3 * normal(ROWS, seed=2))[:, None].expand(-1, SIZE)
    found = signs(normal(ROWS, SIZE) * torch.exp(-0.2 * ambiguity)[:, None], log_variance, ambiguity)
    assert found.sigma_with_ambiguity is not None
    assert found.sigma_with_ambiguity > 0.9
    assert abs(found.sigma_with_length or 0) < 0.1


def test_a_partial_correlation_is_that_of_the_residuals_of_ranks() -> None:
    given = normal(300)
    first, second = given + normal(300, seed=1), normal(300, seed=2) - 2 * given.exp()
    ranks = [rankdata(each.numpy()) for each in (first, second, given)]
    column = ranks[2][:, None]
    residuals = [each - LinearRegression().fit(column, each).predict(column) for each in ranks[:2]]
    expected = pearsonr(*residuals).statistic
    assert partial_rank_correlation(first, second, given=given) == pytest.approx(expected, abs=1e-9)


class Glaring(Encoder):
    """Unsure where it is bright; its mean does not change with brightness."""

    def expert(self, values: torch.Tensor, valid: torch.Tensor, modality: Modality) -> Expert:
        made = super().expert(values, valid, modality)
        bright = torch.nn.functional.avg_pool2d(values.mean(dim=1, keepdim=True), 2)
        noise = normal(*made.mean.shape)
        return Expert(mean=noise, log_variance=bright.expand_as(noise))


def test_clouds_are_the_ambiguity_that_an_encoder_is_asked_about() -> None:
    torch.manual_seed(0)
    unsure = Glaring(BandChoice(), model_config(), STATISTICS)
    chips = inputs(12, 32, 48)
    chips.s2.mul_(0.2)  # darker than any cloud
    found = signs_under_clouds(unsure, chips, torch.Generator().manual_seed(0))
    assert found.sigma_with_ambiguity is not None
    assert found.sigma_with_ambiguity > 0.7
    assert abs(found.sigma_with_length or 0) < 0.1


class Blind(Encoder):
    """Says nothing of what was not wholly observed."""

    def expert(self, values: torch.Tensor, valid: torch.Tensor, modality: Modality) -> Expert:
        made = super().expert(values, valid, modality)
        unseen = torch.nn.functional.avg_pool2d(valid, 2) < 1
        return Expert(mean=made.mean.masked_fill(unseen, torch.nan), log_variance=made.log_variance)


def test_what_was_not_observed_is_no_part_of_the_signs() -> None:
    torch.manual_seed(0)
    chips = inputs(3, 32, 48)
    chips.s2_valid[..., :19] = 0
    found = signs_under_clouds(Blind(BandChoice(), model_config(), STATISTICS), chips, torch.Generator().manual_seed(0))
    assert math.isfinite(found.spread)
    assert 1 < found.effective_rank < 6


# --- positions --------------------------------------------------------------------------------------------------------


def test_a_new_encoder_does_not_know_positions() -> None:
    assert position_leak(worn(encoder())) < MOST_LEAK


class Surveyor(Encoder):
    """One sensor's mean knows how far down the chip it is."""

    def expert(self, values: torch.Tensor, valid: torch.Tensor, modality: Modality) -> Expert:
        made = super().expert(values, valid, modality)
        if modality is Modality.S1:
            made.mean[:, 0] += torch.linspace(-9, 9, made.mean.shape[2])[:, None]
            made.mean[:, 1] += torch.linspace(-9, 9, made.mean.shape[3])
        return made


def test_one_that_does_is_found_out_by_either_sensor() -> None:
    torch.manual_seed(0)
    assert position_leak(Surveyor(BandChoice(), model_config(), STATISTICS)) > 0.9


def test_an_encoder_is_left_as_it_is() -> None:
    watched = encoder().train()
    before = {name: plane.clone() for name, plane in watched.state_dict().items()}
    position_leak(watched)
    signs_under_clouds(watched, inputs(2, 16, 24), torch.Generator().manual_seed(0))
    assert watched.training
    assert all(torch.equal(plane, before[name]) for name, plane in watched.state_dict().items())
