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


@pytest.fixture
def model() -> MappingModel:
    torch.manual_seed(0)
    return MappingModel(encoder(), LEGEND).eval()


def made_changes() -> tuple[Changes, np.ndarray]:
    """Changes that are e times as large for each step of the first two surroundings, and the logarithm of their scale."""
    random = np.random.default_rng(0)
    around = random.normal(size=(ROWS, AROUND))
    logarithm = 0.8 * around[:, 0] - 0.5 * around[:, 1]
    change = np.exp(logarithm / 2)[:, None] * random.normal(size=(ROWS, WIDTH))
    planes = {
        "place": torch.from_numpy(random.integers(0, 3, ROWS)),
        "seen": torch.ones(ROWS, dtype=torch.float64),
        "around": torch.from_numpy(around),
        "change": torch.from_numpy(change),
    }
    return Changes(**planes), logarithm


@torch.no_grad()
def predicted(model: MappingModel, found: Changes) -> np.ndarray:
    """Variance of all logits together at each row."""
    scale = model.raw_noise.scale(found.around.float()[:, :, None, None]).flatten()
    return (scale * model.raw_noise.covariance.trace()).double().numpy()


def logit_changes(model: MappingModel, found: Changes) -> np.ndarray:
    weight = torch.cat([model.on_raw.weight, model.on_surroundings.weight], dim=1)[:, :, 0, 0].detach().double()
    return (found.change @ (weight - weight.mean(dim=0)).T).numpy()


def test_it_finds_how_variance_grows_with_the_surroundings(model: MappingModel) -> None:
    found, logarithm = made_changes()
    fit_raw_noise(model, found, torch.ones(3))
    size = np.square(logit_changes(model, found)).sum(axis=1)
    slope, _ = np.polyfit(logarithm, np.log(predicted(model, found)), 1)
    assert slope == pytest.approx(1, abs=0.1)
    assert predicted(model, found).mean() == pytest.approx(size.mean(), rel=0.05)


def test_covariance_is_that_of_the_logits_without_what_classes_share(model: MappingModel) -> None:
    found, _ = made_changes()
    fit_raw_noise(model, found, torch.ones(3))
    change = logit_changes(model, found)
    np.testing.assert_allclose(model.raw_noise.covariance, change.T @ change / ROWS, rtol=1e-4, atol=1e-6)
    assert model.raw_noise.covariance.sum(dim=0).abs().max() < 1e-4


def test_rows_that_show_nothing_and_places_that_were_not_drawn_do_not_count(model: MappingModel) -> None:
    found, _ = made_changes()
    kept = (found.place != 1) & (torch.arange(ROWS) % 5 > 0)
    fit_raw_noise(model, Changes(**{name: getattr(found, name)[kept] for name in Changes.__slots__}), torch.ones(3))
    expected = predicted(model, found)
    wild = torch.where(kept, 1.0, 1000.0)[:, None]
    spoiled = replace(found, change=found.change * wild, seen=(torch.arange(ROWS) % 5 > 0).double())
    fit_raw_noise(model, spoiled, torch.tensor([1, 0, 1]))
    np.testing.assert_allclose(predicted(model, found), expected, rtol=1e-3)


def test_without_changes_there_is_no_noise(model: MappingModel) -> None:
    found, _ = made_changes()
    for nothing in (replace(found, change=0 * found.change), replace(found, seen=0 * found.seen)):
        fit_raw_noise(model, found, torch.ones(3))
        fit_raw_noise(model, nothing, torch.ones(3))
        assert not model.raw_noise.covariance.any()
        assert model.raw_noise.scale(torch.randn(1, AROUND, 3, 4)).isfinite().all()


def test_changes_are_between_the_chips_and_their_view_at_centres_of_cells(model: MappingModel) -> None:
    chips = inputs(2, 48, 48)
    chips.s2_valid[1, :, :24], chips.s1_valid[1, :, :24] = 0, 0
    view = augment(chips, UNCHANGED.model_copy(update={"s2_noise": 0.05}), torch.Generator().manual_seed(0))
    found = changes(model, chips, view, torch.tensor([7, 3]))
    assert found.place.tolist() == [7] * 4 + [3] * 4
    assert found.seen.tolist() == [1] * 4 + [0, 0, 1, 1]
    with torch.no_grad():
        expected = (model.raw(view) - model.raw(chips))[0, :, [12, 12, 36, 36], [12, 36, 12, 36]].T
    torch.testing.assert_close(found.change[:4, :9], expected.double())
    assert not found.change[:, 4:6].any()  # radar is as it was
    assert found.change[:, :4].any()
