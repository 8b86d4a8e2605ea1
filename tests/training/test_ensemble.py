"""What a fitted model knows of its limits: bootstraps of places, heads, and the spread of embeddings."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from contract.bands import Modality
from tests.training.examples import LEGEND, UNCHANGED, coloured, cpu, encoder, entry, model_config, pool, worn
from training.data.chips import Batch, ChipDataset, Cut
from training.data.pairs import PairFolder, PairLayout
from training.data.reben import ReBEN
from training.data.sample import BandChoice, Sample
from training.discriminant import Gathered, gather, solve
from training.ensemble import doubt_of, fit_latents, place_draws
from training.evaluate.exam import Conditions, Exam, inputs_of
from training.models.doubt import HEADS
from training.models.latents import SHRINKAGE
from training.models.mapping import MappingModel
from training.probe import ProbeConfig
from training.run import Run
from training.stages import conditions

CHIPS, BATCHES = 4, 30
CONFIG = ProbeConfig(chips=CHIPS, chip_px=16, beside="pixel", augment=UNCHANGED)
ONES = torch.ones(3)


def model() -> MappingModel:
    torch.manual_seed(0)
    return worn(MappingModel(encoder(model_config(blocks=(1, 0, 0))), LEGEND)).eval()


def gathered(made: MappingModel, samples: Sequence[Sample]) -> Gathered:
    """Of samples that are of a place each."""
    return gather(cpu(), made, batches(samples), CONFIG, Run(seed=0), range(len(samples)))


def batches(samples: Sequence[Sample]) -> Iterator[Batch]:
    length = CHIPS * BATCHES
    items = ChipDataset(pool(samples), Cut(chip_px=16), bands=BandChoice(), legend=LEGEND, seed=1, length=length)
    for first in range(0, length, CHIPS):
        chips = [items[first + index] for index in range(CHIPS)]
        yield {name: torch.stack([chip[name] for chip in chips]) for name in chips[0]}


# --- heads on bootstraps of places ------------------------------------------------------------------------------------


def test_each_head_draws_as_many_places_as_there_are() -> None:
    draws = place_draws(13, seed=3)
    assert draws.shape == (HEADS, 13)
    assert draws.sum(dim=1).tolist() == [13] * HEADS
    assert len({tuple(head) for head in draws.tolist()}) == HEADS


def test_a_place_is_left_out_by_about_a_third_of_the_heads() -> None:
    """(1 - 1/n)^n of n places, which tends to 1/e."""
    assert (place_draws(3000, seed=0) == 0).float().mean().item() == pytest.approx(np.exp(-1), abs=0.01)


def test_each_head_is_the_probe_of_both_sensors_of_the_places_that_it_drew() -> None:
    made = model()
    found = gathered(made, [coloured(index) for index in range(4)])
    heads = doubt_of(made, found, CONFIG, ONES, seed=5)
    mean, raw, around = torch.randn(2, 6, 8, 12), torch.randn(2, 9, 8, 12), torch.randn(2, 36, 2, 3)
    votes = heads.apart(heads(mean, raw, around)).detach()
    read = np.concatenate([mean, raw], axis=1)  # and no surroundings
    for head, drawn in enumerate(place_draws(4, seed=5)):
        both = solve(found.of_set[0], drawn, CONFIG, ONES)
        expected = np.einsum("kd,ndhw->nkhw", both.weight, read) + both.bias.numpy()[:, None, None]
        np.testing.assert_allclose(votes[:, head], expected, rtol=1e-3, atol=1e-3)


def test_what_only_some_heads_have_seen_is_doubted() -> None:
    """Water is of one place alone, which some heads have not drawn."""
    samples = [_only(index, (10, 40) if index < 3 else (80,)) for index in range(4)]
    made = model()
    made.doubt = doubt_of(made, gathered(made, samples), CONFIG, ONES, seed=0)
    assert 0 < (place_draws(4, seed=0)[:, 3] == 0).sum() < HEADS
    known, water = (_doubt(made, samples[index]) for index in (0, 3))
    assert water > 10 * known


@torch.no_grad()
def _doubt(made: MappingModel, sample: Sample) -> float:
    """The median of what was observed."""
    inputs = inputs_of(sample, BandChoice())
    return made(inputs).doubt[inputs.s2_valid[:, 0] > 0].median().item()


def _only(index: int, values: tuple[int, ...]) -> Sample:
    """A sample of which only some classes were observed."""
    sample = coloured(index)
    seen = np.isin(sample.labels, values)
    observations = {
        modality: replace(each, values=each.values * seen, valid=seen) for modality, each in sample.observations.items()
    }
    return replace(sample, observations=observations)


# --- where training ground lies ---------------------------------------------------------------------------------------


@torch.no_grad()
def test_latents_are_moments_of_what_any_sensor_saw_with_the_weights_of_calibration() -> None:
    made = model()
    made.expert_weights.copy_(torch.tensor([1.3, 0.4]))
    samples = [_with_gaps(index) for index in range(3)]
    asked = conditions(made)
    latents = fit_latents(made, samples, asked)
    halo = asked.halo_px // 2
    rows = []
    for sample in samples:
        inputs = inputs_of(sample, BandChoice())
        mean = made.encoder(asked.padded(inputs), made.expert_weights).mean[0, :, halo : halo + 20, halo : halo + 16]
        seen = (inputs.s2_valid + inputs.s1_valid)[0, 0].reshape(20, 2, 16, 2).sum(dim=(1, 3)) > 0
        rows.append(mean[:, seen].T.double().numpy())
    together = np.concatenate(rows)
    assert len(together) == 3 * (20 * 16 - 4 * 8)
    np.testing.assert_allclose(latents.mean.flatten(), together.mean(axis=0), rtol=1e-4, atol=1e-6)
    covariance = np.cov(together.T, bias=True)
    floor = SHRINKAGE * np.trace(covariance) / 6 * np.eye(6)
    whitening = latents.whitening[:, :, 0, 0].double().numpy()
    whitened = whitening @ ((1 - SHRINKAGE) * covariance + floor) @ whitening.T
    np.testing.assert_allclose(whitened, whitened[0, 0] * np.eye(6), atol=1e-4)


def _with_gaps(index: int) -> Sample:
    """Both sensors lack 8 x 16 px, and one of them more."""
    sample = coloured(index)
    planes = {modality: np.ones((40, 32), bool) for modality in Modality}
    planes[Modality.S2][8:16, :16] = planes[Modality.S1][8:16] = False
    observations = {
        modality: replace(each, values=each.values * planes[modality], valid=planes[modality])
        for modality, each in sample.observations.items()
    }
    return replace(sample, entry=entry(f"gaps-{index}"), observations=observations)


def test_ground_of_another_country_and_product_lies_farther_than_unseen_ground_of_the_same_archive(
    shared: Path,
) -> None:
    made = model()
    asked = conditions(made)
    patches = ReBEN(shared / "data/reben", BandChoice())
    seen, unseen = ([each for each in patches.entries if each.split == split] for split in ("train", "val"))
    made.latents = fit_latents(made, map(patches.read, seen[::3]), asked)
    layout = PairLayout(s2="{name}_S2Hand.tif", s1="{name}_S1Hand.tif")
    spain = PairFolder(shared / "data/spain", layout, BandChoice())
    near, far = (
        np.median([_distance(made, archive.read(each), asked) for each in entries])
        for archive, entries in ((patches, unseen), (spain, spain.entries))
    )
    assert far > 1.2 * near


def _distance(made: MappingModel, sample: Sample, asked: Conditions) -> float:
    exam = Exam(predictor=made, samples=[sample], legend=LEGEND, conditions=asked)
    inputs = inputs_of(sample, BandChoice())
    both = (inputs.s2_valid * inputs.s1_valid)[:, 0] > 0
    return exam.predict(inputs).ood_distance[both].median().item()
