"""How noisy raw bands are, from what augmentation has changed in them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.examples import LEGEND, UNCHANGED, encoder, inputs
from training.augment import augment
from training.models.mapping import MappingModel
from training.raw_noise import Changes, changes, fit_raw_noise

ROWS, AROUND, WIDTH = 6000, 36, 45
OF_S2 = np.array([1, 1, 1, 1, 0, 0, 1, 1, 0])
"""Which raw features come of Sentinel-2."""


@pytest.fixture
def model() -> MappingModel:
    torch.manual_seed(0)
    return MappingModel(encoder(), LEGEND).eval()


def made_changes(channels: tuple[int, int] = (0, 1)) -> tuple[Changes, np.ndarray]:
    """Changes that are e times as large for each step of two surroundings, and the logarithm of their scale."""
    random = np.random.default_rng(0)
    around = random.normal(size=(ROWS, AROUND))
    logarithm = 0.8 * around[:, channels[0]] - 0.5 * around[:, channels[1]]
    change = np.exp(logarithm / 2)[:, None] * random.normal(size=(ROWS, WIDTH))
    planes = {
        "place": torch.from_numpy(random.integers(0, 3, ROWS)),
        "seen": torch.ones(ROWS, 3, dtype=torch.float64),
        "around": torch.from_numpy(around),
        "change": torch.from_numpy(change),
    }
    return Changes(**planes), logarithm


@torch.no_grad()
def predicted(model: MappingModel, found: Changes) -> np.ndarray:
    """Variance of all logits together at each row, for each set of sensors, (S, R)."""
    scale = model.raw_noise.scale(found.around.float()[:, :, None, None])[:, :, 0, 0]
    return np.einsum("rs,skk->sr", scale.double(), model.raw_noise.covariance.double())


@torch.no_grad()
def logit_changes(model: MappingModel, found: Changes) -> np.ndarray:
    """For each set of sensors, of which one alone reads no raw band of the other, (S, R, K)."""
    both, alone = np.split(model.on_raw.weight[:, :, 0, 0].double().numpy(), 2, axis=1)
    on_raw = np.stack([both, alone * OF_S2, alone * (1 - OF_S2)])
    weight = np.concatenate([on_raw, model.on_surroundings.weight.double().numpy().reshape(3, 3, AROUND)], axis=2)
    return np.einsum("rc,skc->srk", found.change, weight - weight.mean(axis=1, keepdims=True))


@pytest.mark.parametrize(("number", "channels"), [(0, (0, 1)), (1, (0, 10)), (2, (5, 22))])
def test_it_finds_how_variance_grows_with_the_surroundings(
    model: MappingModel, number: int, channels: tuple[int, int]
) -> None:
    found, logarithm = made_changes(channels)
    fit_raw_noise(model, found, torch.ones(3))
    size, expected = (of_sets[number] for of_sets in (logit_changes(model, found), predicted(model, found)))
    slope, _ = np.polyfit(logarithm, np.log(expected), 1)
    assert slope == pytest.approx(1, abs=0.1)
    assert expected.mean() == pytest.approx(np.square(size).sum(axis=1).mean(), rel=0.1)


def test_noise_of_one_sensor_alone_is_not_judged_by_surroundings_that_the_other_shows(model: MappingModel) -> None:
    found, _ = made_changes()
    fit_raw_noise(model, found, torch.ones(3))
    both, s2, s1 = model.raw_noise.log_scale.weight.detach()[:, :, 0, 0].numpy()
    of_s2 = np.tile(OF_S2, 4).astype(bool)
    assert both.all()
    for slopes, own in ((s2, of_s2), (s1, ~of_s2)):
        assert slopes[own].all()
        assert not slopes[~own].any()


def test_covariance_is_that_of_the_logits_of_a_set_without_what_their_classes_share(model: MappingModel) -> None:
    found, _ = made_changes()
    fit_raw_noise(model, found, torch.ones(3))
    change = logit_changes(model, found)
    expected = np.einsum("srk,srl->skl", change, change) / ROWS
    np.testing.assert_allclose(model.raw_noise.covariance, expected, rtol=1e-4, atol=1e-6)
    assert model.raw_noise.covariance.sum(dim=1).abs().max() < 1e-4


def test_rows_that_show_nothing_and_places_that_were_not_drawn_do_not_count(model: MappingModel) -> None:
    found, _ = made_changes()
    shown = (torch.arange(ROWS) % 5 > 0)[:, None].expand(-1, 3).double()
    kept = (found.place != 1) & (shown[:, 0] > 0)
    fit_raw_noise(model, Changes(**{name: getattr(found, name)[kept] for name in Changes.__slots__}), torch.ones(3))
    expected = predicted(model, found)
    wild = torch.where(kept, 1.0, 1000.0)[:, None]
    spoiled = replace(found, change=found.change * wild, seen=shown)
    fit_raw_noise(model, spoiled, torch.tensor([1, 0, 1]))
    np.testing.assert_allclose(predicted(model, found), expected, rtol=1e-3)


def test_a_cell_counts_for_the_sets_of_sensors_that_see_it(model: MappingModel) -> None:
    found, _ = made_changes()
    half = torch.arange(ROWS) % 2 > 0
    seen = torch.stack([torch.ones(ROWS), half, ~half], dim=1).double()
    fit_raw_noise(model, replace(found, seen=seen), torch.ones(3))
    of_sets = zip(logit_changes(model, found), (half | True, half, ~half), strict=True)
    for covariance, (change, kept) in zip(model.raw_noise.covariance, of_sets, strict=True):
        rows = change[kept.numpy()]
        np.testing.assert_allclose(covariance, rows.T @ rows / len(rows), rtol=1e-4, atol=1e-6)


def test_without_changes_there_is_no_noise(model: MappingModel) -> None:
    found, _ = made_changes()
    for nothing in (replace(found, change=0 * found.change), replace(found, seen=0 * found.seen)):
        fit_raw_noise(model, found, torch.ones(3))
        fit_raw_noise(model, nothing, torch.ones(3))
        assert not model.raw_noise.covariance.any()
        assert model.raw_noise.scale(torch.randn(1, AROUND, 3, 4)).isfinite().all()


def test_changes_are_between_the_chips_and_their_view_at_centres_of_cells(model: MappingModel) -> None:
    chips = inputs(2, 48, 48)
    chips.s2_valid[1, :, :24], chips.s1_valid[1, :, :24], chips.s1_valid[1, ..., :24] = 0, 0, 0
    view = augment(chips, UNCHANGED.model_copy(update={"s2_noise": 0.05}), torch.Generator().manual_seed(0))
    found = changes(model, chips, view, torch.tensor([7, 3]))
    assert found.place.tolist() == [7] * 4 + [3] * 4
    assert found.seen.tolist() == [[1, 1, 1]] * 4 + [[0, 0, 0]] * 2 + [[1, 1, 0], [1, 1, 1]]
    with torch.no_grad():
        expected = (model.raw(view) - model.raw(chips))[0, :, [12, 12, 36, 36], [12, 36, 12, 36]].T
    torch.testing.assert_close(found.change[:4, :9], expected.double())
    assert not found.change[:, 4:6].any()  # radar is as it was
    assert found.change[:, :4].any()
