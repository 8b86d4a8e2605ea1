"""What a stage starts from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from contract.bands import Modality
from contract.errors import ConfigInvalid
from tests.training.examples import coloured, cpu, model_config, pool
from training.config import Hardware, TrainingConfig
from training.data.chips import Batch, Cut
from training.data.sample import Observation, Sample
from training.optimise import OptimiserConfig
from training.pretrain import PretrainConfig, pretrain
from training.run import Run
from training.setup import Schedule, batches, new_encoder, start

CONFIG = TrainingConfig(name="tiny", seed=5, classes=(10, 40, 80), model=model_config())
CUT = Cut(chip_px=16, reach_px=8, pairs="independent")


def half_seen(index: int) -> Sample:
    sample = coloured(index)
    valid = np.ones((40, 32), np.bool_)
    valid[:, :20] = False
    s2 = Observation(values=sample.observations[Modality.S2].values * valid, valid=valid)
    return replace(sample, observations={**sample.observations, Modality.S2: s2})


def test_a_new_encoder_knows_the_statistics_of_observed_pixels() -> None:
    samples = [half_seen(0), half_seen(1), half_seen(2)]
    made = new_encoder(CONFIG, pool(samples))
    s2 = np.concatenate(
        [sample.observations[Modality.S2].values[:, :, 20:].reshape(4, -1) for sample in samples], axis=1
    )
    s1 = np.concatenate([sample.observations[Modality.S1].values.reshape(2, -1) for sample in samples], axis=1)
    compressed = np.log1p(10 * np.maximum(s2, 0))
    np.testing.assert_allclose(made.standardise_s2.mean.flatten(), compressed.mean(axis=1), rtol=1e-4)
    np.testing.assert_allclose(made.standardise_s2.deviation.flatten(), compressed.std(axis=1), rtol=1e-3)
    np.testing.assert_allclose(made.standardise_s1.mean.flatten(), s1.mean(axis=1), rtol=1e-4)


def test_the_weights_of_a_new_encoder_depend_on_the_seed_alone() -> None:
    samples = pool([coloured(0), coloured(1)])
    weights = [new_encoder(CONFIG.model_copy(update={"seed": seed}), samples).s2.mean[0].weight for seed in (5, 5, 6)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_samples_of_one_sensor_alone_are_no_start() -> None:
    whole = coloured(0)
    optical = replace(whole, observations={Modality.S2: whole.observations[Modality.S2]})
    with pytest.raises(ConfigInvalid, match="no sample has Sentinel-1"):
        new_encoder(CONFIG, pool([optical]))


def test_a_run_that_goes_on_sees_the_batches_that_it_would_have_seen() -> None:
    samples = pool([coloured(index) for index in range(4)])
    whole = list(batches(cpu(), CONFIG, samples, Schedule(cut=CUT, chips=3, steps=5)))
    rest = list(batches(cpu(), CONFIG, samples, Schedule(cut=CUT, chips=3, steps=5, reached=2)))
    assert len(whole) == 5
    assert len(rest) == 3
    for before, after in zip(whole[2:], rest, strict=True):
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_that_has_reached_its_end_sees_no_more() -> None:
    samples = pool([coloured(0)])
    assert not list(batches(cpu(), CONFIG, samples, Schedule(cut=CUT, chips=3, steps=5, reached=5)))


def test_other_processes_load_the_same_batches() -> None:
    samples = pool([coloured(index) for index in range(4)])
    schedule = Schedule(cut=CUT, chips=3, steps=3)
    apart = CONFIG.model_copy(update={"hardware": Hardware(loaders=1)})
    for alone, loaded in zip(
        batches(cpu(), CONFIG, samples, schedule), batches(cpu(), apart, samples, schedule), strict=True
    ):
        assert all(torch.equal(plane, loaded[name]) for name, plane in alone.items())


def test_a_stage_runs_where_it_is_told_to() -> None:
    fabric = start(Hardware(accelerator="cpu", threads=1))
    assert fabric.device.type == "cpu"
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("variational", [True, False], ids=["sigma on", "sigma off"])
def test_in_mixed_precision_losses_are_about_those_of_single_precision(*, variational: bool) -> None:
    config = CONFIG.model_copy(update={"model": model_config(variational=variational)})
    samples = pool([coloured(index) for index in range(4)])
    recipe = PretrainConfig(chips=4, chip_px=16, reach_px=8, optimiser=OptimiserConfig(steps=2))
    terms: dict[str, list[dict[str, float]]] = {"32-true": [], "bf16-mixed": []}
    for precision, figures in terms.items():
        fabric = start(Hardware(accelerator="cpu", precision=precision, threads=1))
        run = Run(seed=0, watch=lambda _step, found, figures=figures: figures.append(dict(found)))
        chips = batches(fabric, config, samples, Schedule(cut=CUT, chips=4, steps=2))
        pretrain(fabric, new_encoder(config, samples), chips, recipe, run)
    for single, mixed in zip(*terms.values(), strict=True):
        assert mixed["contrastive"] != single["contrastive"]
        assert mixed["contrastive"] == pytest.approx(single["contrastive"], rel=0.02)
        assert mixed["divergence_per_dimension"] == pytest.approx(single["divergence_per_dimension"], rel=0.02)


def test_in_mixed_precision_chips_keep_their_digits() -> None:
    seen: list[torch.dtype] = []

    class Layer(torch.nn.Linear):
        def forward(self, batch: Batch) -> torch.Tensor:
            made = super().forward(batch["s2"])
            seen.extend([batch["s2"].dtype, made.dtype])
            return made

    fabric = start(Hardware(accelerator="cpu", precision="bf16-mixed", threads=1))
    layer = Layer(3, 2)
    wrapped = fabric.setup(layer, torch.optim.SGD(layer.parameters()))[0]
    assert wrapped({"s2": torch.rand(4, 3)}).dtype == torch.float32
    assert seen == [torch.float32, torch.bfloat16]
