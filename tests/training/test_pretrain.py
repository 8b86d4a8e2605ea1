"""Pre-training: pairs are matched by ground, runs can be resumed, and what goes wrong stops them."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from contract.errors import EmbeddingCollapsed, LossNotFinite, TrainingStopped
from tests.training.examples import LEGEND, UNCHANGED, coloured, cpu, encoder, model_config, pool
from training.data.chips import Batch, ChipDataset, Chips, Cut
from training.data.sample import BandChoice
from training.losses.contrastive import contrastive_loss
from training.models.encoder import Encoder
from training.models.expert import Expert
from training.optimise import OptimiserConfig
from training.pretrain import Contrast, PretrainConfig, _views, match, pretrain
from training.run import LOG_NAME, Run
from training.tensors import Inputs

STEPS, CHIPS = 6, 4
CONFIG = PretrainConfig(
    chips=CHIPS, chip_px=16, reach_px=8, positions=5, draws=2, optimiser=OptimiserConfig(steps=STEPS)
)
PAIRS = pool([coloured(index) for index in range(5)])


def batches(first_step: int = 0, *, steps: int = STEPS, pairs: str = "independent") -> Iterator[Batch]:
    cut = Cut(chip_px=16, reach_px=8, pairs=pairs)
    items = ChipDataset(PAIRS, cut, bands=BandChoice(), legend=LEGEND, seed=1, length=steps * CHIPS)
    for step in range(first_step, steps):
        chips = [items[step * CHIPS + index] for index in range(CHIPS)]
        yield {name: torch.stack([chip[name] for chip in chips]) for name in chips[0]}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def changed(config: PretrainConfig, **fields: object) -> PretrainConfig:
    return PretrainConfig.model_validate({**config.model_dump(), **fields})


# --- which positions are compared -------------------------------------------------------------------------------------


class Surveyor(nn.Module):
    """Gives the ground that it is shown, with bands that are positions, as the mean of its experts."""

    config = model_config()

    def experts(self, chips: Inputs) -> tuple[Expert, Expert]:
        maps = (functional.avg_pool2d(plane, 2) for plane in (chips.s2, chips.s1))
        first, second = (Expert(mean=each, log_variance=-each) for each in maps)
        return first, second


def surveyed(offsets: torch.Tensor, side: int = 16) -> Chips:
    """Chips whose two bands are the row and the column of each pixel on the ground, and whose image is their number."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    inside = torch.stack([rows, columns])
    planes = [(inside + offsets[:, sensor, :, None, None]).float() for sensor in range(2)]
    valid = torch.ones(len(offsets), 1, side, side)
    return Chips(
        inputs=Inputs(s2=planes[0], s2_valid=valid.clone(), s1=planes[1], s1_valid=valid.clone()),
        offsets=offsets,
        image=torch.arange(len(offsets)),
        target=torch.zeros(len(offsets), side, side, dtype=torch.int64),
    )


OFFSETS = torch.tensor([[[4, 20], [10, 14]], [[30, 2], [24, 2]], [[0, 0], [0, 0]], [[8, 6], [20, 20]]])
"""S2's and S1's chips of four images, apart by up to 14 px."""
SURVEY = changed(CONFIG, positions=200, reach_px=14)


def matched_by(chips: Chips, config: PretrainConfig = SURVEY) -> tuple[Expert, Expert, torch.Tensor]:
    first, second = Surveyor().experts(chips.inputs)
    seen = functional.avg_pool2d(chips.inputs.s2_valid, 2), functional.avg_pool2d(chips.inputs.s1_valid, 2)
    matched = match(first, second, seen, chips, config, generator())
    return matched.first, matched.second, matched.image


def test_positions_of_a_pair_are_of_the_same_ground() -> None:
    first, second, image = matched_by(surveyed(OFFSETS))
    assert len(image) == 4 * 200
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.log_variance, second.log_variance)


def test_positions_are_drawn_from_the_whole_overlap_of_each_pair() -> None:
    first, _, image = matched_by(surveyed(OFFSETS))
    for index, offsets in enumerate(OFFSETS):
        start, end = offsets.amax(dim=0), offsets.amin(dim=0) + 16
        ground = first.mean[image == index] - 0.5  # centres of 2 x 2 px
        assert ground.amin(dim=0).tolist() == start.tolist()
        assert ground.amax(dim=0).tolist() == (end - 2).tolist()


@pytest.mark.parametrize("sensor", ["s2_valid", "s1_valid"])
def test_positions_that_a_sensor_did_not_see_are_left_out(sensor: str) -> None:
    chips = surveyed(OFFSETS[2:3])
    getattr(chips.inputs, sensor)[..., 4:10, :] = 0
    rows = matched_by(chips)[0].mean[:, 0].unique().tolist()
    assert rows == [0.5, 2.5, 10.5, 12.5, 14.5]


def test_a_position_of_which_half_was_seen_can_be_compared() -> None:
    chips = surveyed(OFFSETS[2:3])
    chips.inputs.s1_valid[..., ::2, :] = 0
    assert len(matched_by(chips)[2]) == 200
    chips.inputs.s1_valid[..., ::2] = 0
    assert len(matched_by(chips)[2]) == 0


def test_rows_say_which_image_they_are_of() -> None:
    _, _, image = matched_by(surveyed(OFFSETS), changed(SURVEY, positions=3))
    assert image.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_in_patch_mode_the_means_over_what_was_seen_are_compared() -> None:
    chips = surveyed(OFFSETS)
    chips.inputs.s2_valid[1, :, :8] = 0
    chips.inputs.s1_valid[3] = 0
    first, second, image = matched_by(chips, changed(SURVEY, level="patch"))
    assert image.tolist() == [0, 1, 2]
    centre = OFFSETS[:3].float() + 7.5
    centre[1, 0, 0] += 4
    torch.testing.assert_close(first.mean, centre[:, 0])
    torch.testing.assert_close(second.mean, centre[:, 1])


def test_views_are_turned_and_turned_back() -> None:
    chips = surveyed(torch.tensor([[[4, 20], [10, 14]]] * 24))
    turned: list[Inputs] = []

    class Watched(Surveyor):
        def experts(self, chips: Inputs) -> tuple[Expert, Expert]:
            turned.append(chips)
            return super().experts(chips)

    first, second, seen = _views(Watched(), chips, changed(SURVEY, augment=UNCHANGED), generator())
    torch.testing.assert_close(first.mean, functional.avg_pool2d(chips.inputs.s2, 2))
    torch.testing.assert_close(second.mean, functional.avg_pool2d(chips.inputs.s1, 2))
    assert all((share == 1).all() for share in seen)
    for plane in (turned[0].s2, turned[0].s1):
        assert len(plane.unique(dim=0)) == 8  # every element, so that nothing depends on the way up
    relative = [plane - plane.amin(dim=(2, 3), keepdim=True) for plane in (turned[0].s2, turned[0].s1)]
    assert not torch.equal(relative[0], relative[1])  # each sensor is turned on its own


def test_gaps_of_a_view_are_where_they_are_on_the_ground() -> None:
    chips = surveyed(OFFSETS)
    chips.inputs.s2_valid[..., 2:6, 8:14] = 0
    *_, seen = _views(Surveyor(), chips, changed(SURVEY, augment=UNCHANGED), generator())
    torch.testing.assert_close(seen[0], functional.avg_pool2d(chips.inputs.s2_valid, 2))


def test_chips_without_common_ground_are_refused() -> None:
    with pytest.raises(ValueError, match="reach_px 16 leaves no common ground in chips of 16 px"):
        changed(CONFIG, reach_px=16)
    assert changed(CONFIG, reach_px=16, pairs="common").reach_px == 16


# --- the loss of a batch ----------------------------------------------------------------------------------------------


def test_without_sigma_the_loss_is_that_of_dual_simclr() -> None:
    """The same code: means alone, and nothing random but the views."""
    network = encoder(model_config(variational=False))
    config = changed(CONFIG, level="patch", pairs="common", augment=UNCHANGED)
    batch = next(batches(pairs="common"))
    terms = Contrast(network, nn.Identity(), config)(batch, generator())
    first, second, seen = _views(network, Chips.of(batch), config, generator())
    assert all((share == 1).all() for share in seen)
    means = [functional.normalize(each.mean.mean(dim=(2, 3)), dim=-1)[None] for each in (first, second)]
    expected = contrastive_loss(*means, batch["image"], temperature=config.temperature, combine="mean")
    torch.testing.assert_close(terms["contrastive"], expected)


def test_with_sigma_the_draws_matter() -> None:
    network = encoder()
    batch = next(batches())
    wide = [
        Contrast(network, nn.Identity(), changed(CONFIG, draws=draws))(batch, generator())["contrastive"].item()
        for draws in (1, 8)
    ]
    assert wide[0] != wide[1]


def test_the_divergence_is_free_below_its_threshold_and_logged_as_it_is() -> None:
    terms = Contrast(encoder(), nn.Identity(), changed(CONFIG, free_nats=50))(next(batches()), generator())
    assert terms["divergence"].item() == 50
    assert 0 < terms["divergence_per_dimension"].item() < 50


# --- the loop ---------------------------------------------------------------------------------------------------------


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: plane.clone() for name, plane in module.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(plane, second[name]) for name, plane in first.items())


def trained(run: Run, config: PretrainConfig = CONFIG, *, network: Encoder | None = None) -> dict[str, torch.Tensor]:
    return weights_of(pretrain(cpu(), network or encoder().train(), batches(run.reached()), config, run))


@pytest.mark.parametrize("head", ["none", "mlp"])
def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(tmp_path: Path, head: str) -> None:
    config = changed(CONFIG, head=head)
    folders = [tmp_path / name for name in ("whole", "stopped")]
    for folder in folders:
        folder.mkdir()
    whole = trained(Run(seed=1, folder=folders[0]), config)
    asked = itertools.count(1)
    with pytest.raises(TrainingStopped):
        trained(Run(seed=1, folder=folders[1], stop=lambda: next(asked) == 3), config)
    assert Run(seed=1, folder=folders[1]).reached() == 3
    resumed = trained(Run(seed=1, folder=folders[1]), config, network=encoder(seed=9).train())
    assert same(whole, resumed)
    assert (folders[0] / LOG_NAME).read_bytes() == (folders[1] / LOG_NAME).read_bytes()


def test_a_run_that_was_killed_goes_on_from_the_last_state_kept(tmp_path: Path) -> None:
    def kill(step: int, _figures: object) -> None:
        if step == 4:
            raise KeyboardInterrupt

    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
    whole = trained(Run(seed=1, folder=folders[0]))
    with pytest.raises(KeyboardInterrupt):
        trained(Run(seed=1, folder=folders[1], keep_every=3, watch=kill))
    assert same(whole, trained(Run(seed=1, folder=folders[1])))
    assert (folders[0] / LOG_NAME).read_bytes() == (folders[1] / LOG_NAME).read_bytes()


def test_another_seed_gives_another_encoder() -> None:
    assert not same(trained(Run(seed=1)), trained(Run(seed=2)))


def test_each_step_draws_anew() -> None:
    losses: list[float] = []
    run = Run(seed=1, watch=lambda _step, figures: losses.append(figures["contrastive"]))
    batch = next(batches())
    standstill = changed(CONFIG, optimiser={"steps": STEPS, "learning_rate": 1e-12})
    pretrain(cpu(), encoder().train(), iter([batch] * STEPS), standstill, run)
    assert len(set(losses)) == STEPS


def test_the_encoder_that_comes_back_is_the_average_not_the_last() -> None:
    last = encoder().train()
    average = trained(Run(seed=1), changed(CONFIG, optimiser={"steps": STEPS, "average": 0.9}), network=last)
    assert not same(average, weights_of(last))
    assert same(
        trained(Run(seed=1), changed(CONFIG, optimiser={"steps": STEPS, "average": 0.0}), network=encoder().train()),
        weights_of(last),
    )


def test_the_weight_of_the_divergence_rises_over_the_warm_up() -> None:
    weights: list[float] = []
    watched = Run(seed=1, watch=lambda _step, figures: weights.append(figures["divergence_weight"]))
    trained(watched, changed(CONFIG, divergence_weight=0.3, divergence_warm_up=0.5))
    assert weights == pytest.approx([0, 0.1, 0.2, 0.3, 0.3, 0.3])


def test_what_is_not_finite_stops_the_run_before_it_reaches_the_weights() -> None:
    network = encoder().train()
    before = weights_of(network)
    spoiled = next(batches())
    spoiled["s1"][0] = torch.nan
    with pytest.raises(LossNotFinite, match="'contrastive' is nan at step 0"):
        pretrain(cpu(), network, iter([spoiled]), CONFIG, Run(seed=1))
    parameters = dict(network.named_parameters())
    assert all(torch.equal(parameters[name], before[name]) for name in parameters)


def test_an_embedding_that_fell_back_to_the_prior_stops_the_run(tmp_path: Path) -> None:
    network = encoder().train()
    for branch in (network.s2, network.s1):
        nn.init.zeros_(branch.mean[0].weight)
        nn.init.zeros_(branch.log_variance.bias)
    run = Run(seed=1, folder=tmp_path, keep_every=1)
    with pytest.raises(EmbeddingCollapsed, match=r"at step 3, below 0.02"):
        trained(
            run, changed(CONFIG, divergence_warm_up=0.5, optimiser={"steps": 6, "learning_rate": 1e-6}), network=network
        )
    assert run.reached() == 3  # of before


def test_without_sigma_there_is_nothing_to_collapse() -> None:
    network = encoder(model_config(variational=False)).train()
    config = changed(CONFIG, divergence_weight=0, divergence_warm_up=0, collapse_nats=1e6)
    assert trained(Run(seed=1), config, network=network)


@pytest.mark.parametrize("variational", [True, False], ids=["sigma on", "sigma off"])
def test_pairs_find_each_other_after_some_steps(*, variational: bool) -> None:
    losses: list[float] = []
    run = Run(seed=1, watch=lambda _step, figures: losses.append(figures["contrastive"]))
    config = changed(CONFIG, augment=UNCHANGED, divergence_weight=0.01, optimiser={"steps": 60, "learning_rate": 0.01})
    pretrain(cpu(), encoder(model_config(variational=variational)).train(), batches(steps=60), config, run)
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.5
