"""The probe in closed form: what is summed, and what is solved."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from contract.errors import TrainingStopped
from tests.training.examples import LEGEND, UNCHANGED, coloured, cpu, encoder, model_config, pool, worn
from training.data.chips import Batch, ChipDataset, Chips, Cut
from training.data.sample import BandChoice, Sample
from training.discriminant import Moments, ReadOut, fit_probe, gather, read_outs, solve
from training.losses.classification import IGNORED
from training.models.latents import Latents
from training.models.mapping import MappingModel
from training.probe import ProbeConfig, augmented_view
from training.raw_noise import Changes
from training.run import Run

CHIPS = 4
CONFIG = ProbeConfig(chips=CHIPS, chip_px=16, augment=UNCHANGED)
ONES = torch.ones(3)
SAMPLES = [coloured(index) for index in range(6)]
NO_CHANGES = Changes(**{plane.name: torch.zeros(0) for plane in fields(Changes)})


def changed(**fields: object) -> ProbeConfig:
    return ProbeConfig.model_validate({**CONFIG.model_dump(), **fields})


def model(*, variational: bool = True) -> MappingModel:
    torch.manual_seed(0)
    return MappingModel(worn(encoder(model_config(blocks=(1, 0, 0), variational=variational))), LEGEND).eval()


def batches(samples: Sequence[Sample] = SAMPLES, steps: int = 20) -> Iterator[Batch]:
    items = ChipDataset(pool(samples), Cut(chip_px=16), bands=BandChoice(), legend=LEGEND, seed=1, length=steps * CHIPS)
    for step in range(steps):
        chips = [items[step * CHIPS + index] for index in range(CHIPS)]
        yield {name: torch.stack([chip[name] for chip in chips]) for name in chips[0]}


def summed(made: MappingModel, chips: Iterator[Batch], places: Sequence[int], config: ProbeConfig = CONFIG) -> Moments:
    return gather(cpu(), made, chips, config, Run(seed=0), places)


def fitted(made: MappingModel, config: ProbeConfig = CONFIG) -> ReadOut:
    """The probe in closed form on all samples, which the model takes over."""
    moments = summed(made, batches(), range(6), config)
    fit_probe(made, moments, torch.ones(6), config, ONES)
    return solve(moments, torch.ones(6), config, ONES)


# --- the closed form --------------------------------------------------------------------------------------------------


ROWS, CLASSES, PLACES = 600, 3, 4


def drawn_rows(apart: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (n, 5) that are correlated and of other scales each, with classes and places."""
    random = np.random.default_rng(0)
    classes = random.choice(CLASSES, ROWS, p=[0.6, 0.3, 0.1])
    centres = apart * random.normal(size=(CLASSES, 5))
    rows = (centres[classes] + random.normal(size=(ROWS, 5))) @ random.normal(size=(5, 5))
    return rows * [1, 20, 0.1, 3, 1] + [5, -300, 0, 2, 1], classes, random.integers(0, PLACES, ROWS)


def moments_of(rows: np.ndarray, classes: np.ndarray, places: np.ndarray, count: int = CLASSES) -> Moments:
    parts = [[rows[(places == place) & (classes == each)] for each in range(count)] for place in range(PLACES)]
    of_place = [rows[places == place] for place in range(PLACES)]
    return Moments(
        counts=torch.tensor([[float(len(part)) for part in place] for place in parts], dtype=torch.float64),
        sums=torch.from_numpy(np.array([[part.sum(axis=0) for part in place] for place in parts])),
        squares=torch.from_numpy(np.array([part.T @ part for part in of_place])),
        changes=NO_CHANGES,
    )


def probabilities(found: ReadOut, rows: np.ndarray) -> np.ndarray:
    return softmax(rows @ found.weight.numpy().T + found.bias.numpy(), axis=1)


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 0.7])
def test_it_is_linear_discriminant_analysis_of_features_of_one_scale(shrinkage: float) -> None:
    rows, classes, places = drawn_rows()
    scale = rows.std(axis=0)
    library = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(rows / scale, classes)
    found = solve(moments_of(rows, classes, places), torch.ones(PLACES), changed(shrinkage=shrinkage), ONES)
    np.testing.assert_allclose(probabilities(found, rows), library.predict_proba(rows / scale), rtol=1e-4, atol=1e-6)


def test_places_count_as_often_as_they_were_drawn() -> None:
    rows, classes, places = drawn_rows()
    often = np.array([2, 0, 1, 1])
    again = np.repeat(np.arange(ROWS), often[places])
    scale = rows[again].std(axis=0)
    library = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(rows[again] / scale, classes[again])
    found = solve(moments_of(rows, classes, places), torch.from_numpy(often), CONFIG, ONES)
    np.testing.assert_allclose(probabilities(found, rows), library.predict_proba(rows / scale), rtol=1e-4, atol=1e-6)


def test_weights_of_classes_are_factors_on_their_shares() -> None:
    rows, classes, places = drawn_rows()
    moments, weights = moments_of(rows, classes, places), torch.tensor([0.5, 1.0, 4.0])
    plain, weighed = (solve(moments, torch.ones(PLACES), CONFIG, each) for each in (ONES, weights))
    expected = probabilities(plain, rows) * weights.numpy()
    np.testing.assert_allclose(probabilities(weighed, rows), expected / expected.sum(axis=1, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("apart", [1.0, 30.0])
def test_a_class_without_pixels_is_all_but_never_said(apart: float) -> None:
    """Not even in the middle between classes, however far they are apart."""
    rows, classes, places = drawn_rows(apart)
    found = solve(moments_of(rows, classes, places, 4), torch.ones(PLACES), CONFIG, torch.tensor([1.0, 1.0, 1.0, 0.0]))
    asked = np.concatenate([rows, rows.mean(axis=0)[None], rows[:300] / 2 + rows[300:] / 2])
    assert probabilities(found, asked)[:, 3].max() < 1e-3


def test_a_feature_whose_embedding_varies_is_trusted_less() -> None:
    rows, classes, places = drawn_rows()
    twins = np.concatenate([rows, rows[:, :1] + np.random.default_rng(1).normal(0, 0.1, (ROWS, 1))], axis=1)
    moments = moments_of(twins, classes, places)
    varied = moments.squares.clone()
    varied[:, 0, 0] += 100 * moments.counts.sum(dim=1)
    config = changed(shrinkage=0.01)
    before, after = (
        solve(each, torch.ones(PLACES), config, ONES).weight for each in (moments, replace(moments, squares=varied))
    )
    assert (after[:, 0].abs() < 0.2 * before[:, 0].abs()).all()


# --- what is summed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variational", [True, False], ids=["sigma on", "sigma off"])
@torch.no_grad()
def test_moments_are_of_the_labelled_locations_of_views_with_the_variance_of_the_embedding(
    *, variational: bool
) -> None:
    made = model(variational=variational)
    batch = next(batches())
    batch["target"][:, :5] = IGNORED
    batch["s1"][0], batch["s1_valid"][0] = 0, 0
    found = summed(made, iter([batch]), range(6))
    view, target = augmented_view(Chips.of(batch), UNCHANGED, Run(seed=0).generator(0, cpu()))
    expert, raw = made.encoder(view, made.expert_weights), made.raw(view)
    around = torch.nn.functional.interpolate(made.surroundings(raw, view), size=(8, 8), mode="bilinear")
    seen = torch.cat([expert.mean, raw[..., ::2, ::2], around], dim=1).permute(0, 2, 3, 1)
    known = target[:, ::2, ::2] != IGNORED
    rows, classes = seen[known].double().numpy(), target[:, ::2, ::2][known].numpy()
    np.testing.assert_array_equal(found.counts.sum(dim=0), np.bincount(classes, minlength=3))
    np.testing.assert_allclose(
        found.sums.sum(dim=0), [rows[classes == each].sum(axis=0) for each in range(3)], rtol=1e-5, atol=1e-4
    )
    variance = np.zeros(rows.shape[1])
    variance[:6] = expert.variance.permute(0, 2, 3, 1)[known].double().sum(dim=0) if variational else 0
    np.testing.assert_allclose(found.squares.sum(dim=0), rows.T @ rows + np.diag(variance), rtol=1e-4, atol=1e-3)


def test_moments_of_places_add_up() -> None:
    made = model()
    of_three, of_one = (summed(made, batches(), places) for places in ([0, 1, 2, 0, 1, 2], [0] * 6))
    assert len(of_three.counts) == 3
    for name in ("counts", "sums", "squares"):
        torch.testing.assert_close(getattr(of_three, name).sum(dim=0), getattr(of_one, name)[0])


def test_a_place_that_was_not_drawn_leaves_no_trace() -> None:
    made = model()
    chips = list(batches())
    last = [{**chip, "image": torch.full_like(chip["image"], 5)} for chip in batches(SAMPLES[5:], steps=4)]
    places = range(6)
    others = [{**chip, "image": chip["image"] % 5} for chip in chips]
    found = solve(summed(made, iter(others + last), places), torch.tensor([1, 1, 1, 1, 1, 0]), CONFIG, ONES)
    without = solve(summed(made, iter(others), range(5)), torch.ones(5), CONFIG, ONES)
    torch.testing.assert_close(found.weight, without.weight)
    torch.testing.assert_close(found.bias, without.bias)


def test_two_runs_agree_to_the_last_bit() -> None:
    first, second = fitted(model()), fitted(model())
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


def test_gathering_ends_where_someone_asks() -> None:
    watched: list[int] = []
    run = Run(seed=0, watch=lambda step, _terms: watched.append(step), stop=lambda: len(watched) == 2)
    with pytest.raises(TrainingStopped):
        gather(cpu(), model(), batches(), CONFIG, run, range(6))
    assert watched == [0, 1]


# --- the probe --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def accuracy(made: MappingModel) -> float:
    """On chips of samples that were not learnt from."""
    right = []
    for batch in batches([coloured(index) for index in range(20, 26)], steps=3):
        chips = Chips.of(batch)
        right.append(made(chips.inputs).probabilities.argmax(dim=1) == chips.target)
    return float(torch.cat(right).float().mean())


@pytest.mark.parametrize("beside", ["pixel", "surroundings"])
def test_a_probe_tells_classes_by_the_colour_of_the_pixel(beside: str) -> None:
    made = model()
    fitted(made, changed(beside=beside))
    assert accuracy(made) > 0.9


@pytest.mark.parametrize(("beside", "read"), [("nothing", 1), ("pixel", 2), ("surroundings", 3)])
def test_what_the_probe_is_not_to_read_has_no_weight(beside: str, read: int) -> None:
    made = model()
    found = fitted(made, changed(beside=beside))
    parts = read_outs(made)
    assert [bool(part.weight.any()) for part in parts] == [place < read for place in range(3)]
    weight = torch.cat([part.weight[:, :, 0, 0] for part in parts[:read]], dim=1)
    torch.testing.assert_close(weight, found.weight.float())
    torch.testing.assert_close(made.on_raw.bias, found.bias.float())


def test_usual_surroundings_are_those_of_the_places_that_count() -> None:
    made = model()
    moments = summed(made, batches(), range(6))
    fit_probe(made, moments, torch.tensor([1, 0, 2, 1, 1, 0]), CONFIG, ONES)
    counted = [0, 2, 2, 3, 4]
    total = moments.counts[counted].sum()
    mean = moments.sums[counted].sum(dim=(0, 1)) / total
    covariance = moments.squares[counted].sum(dim=0) / total - torch.outer(mean, mean)
    expected = Latents(36)
    expected.fit(mean[15:], covariance[15:, 15:], shrinkage=0.1)
    torch.testing.assert_close(made.usual.mean, expected.mean)
    torch.testing.assert_close(made.usual.whitening, expected.whitening, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("beside", ["nothing", "pixel"])
@torch.no_grad()
def test_a_probe_that_reads_no_surroundings_is_at_home_everywhere(beside: str) -> None:
    made = model()
    fitted(made, changed(beside=beside))
    assert not made.usual.distance(torch.randn(1, 36, 5, 7)).any()


@pytest.mark.parametrize(("beside", "open_"), [("nothing", False), ("pixel", True), ("surroundings", True)])
def test_what_the_probe_reads_beside_the_embedding_has_noise(beside: str, *, open_: bool) -> None:
    made = model()
    fitted(made, changed(beside=beside))
    assert bool(made.raw_noise.covariance.any()) == open_


def test_the_encoder_stays_as_it_is_to_the_last_bit() -> None:
    made = model()
    before = {name: plane.clone() for name, plane in made.encoder.state_dict().items()}
    fitted(made)
    assert all(torch.equal(plane, before[name]) for name, plane in made.encoder.state_dict().items())
