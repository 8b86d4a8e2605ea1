"""Fine-tuning: what is learnt, and what is left alone; class weights."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from contract.errors import LossNotFinite, TrainingStopped
from tests.training.examples import LEGEND, UNCHANGED, coloured, cpu, encoder, model_config, pool, read_outs, worn
from training.augment import AugmentConfig
from training.config import Hardware
from training.data.chips import Batch, ChipDataset, Chips, Cut
from training.data.sample import BandChoice
from training.discriminant import fit_probe, gather
from training.losses.classification import IGNORED
from training.models.mapping import MappingModel
from training.optimise import OptimiserConfig
from training.probe import ProbeConfig, Supervision, class_weights, fine_tune
from training.run import LOG_NAME, Run
from training.setup import start

STEPS, CHIPS = 6, 4
CONFIG = ProbeConfig(
    encoder="trained", chips=CHIPS, chip_px=16, optimiser=OptimiserConfig(steps=STEPS, learning_rate=0.05)
)
SAMPLES = pool([coloured(index) for index in range(6)])
ONES = torch.ones(3)


def batches(first_step: int = 0, *, steps: int = STEPS) -> Iterator[Batch]:
    items = ChipDataset(SAMPLES, Cut(chip_px=16), bands=BandChoice(), legend=LEGEND, seed=1, length=steps * CHIPS)
    for step in range(first_step, steps):
        chips = [items[step * CHIPS + index] for index in range(CHIPS)]
        yield {name: torch.stack([chip[name] for chip in chips]) for name in chips[0]}


def model(seed: int = 0) -> MappingModel:
    torch.manual_seed(seed)
    return MappingModel(worn(encoder(model_config(blocks=(1, 0, 0)), seed)), LEGEND)


def weights_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: plane.clone() for name, plane in module.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(plane, second[name]) for name, plane in first.items())


def changed(**fields: object) -> ProbeConfig:
    return ProbeConfig.model_validate({**CONFIG.model_dump(), **fields})


def accuracy(fitted: MappingModel) -> float:
    """On chips of samples that were not learnt from."""
    held_out = pool([coloured(index) for index in range(20, 26)])
    items = ChipDataset(held_out, Cut(chip_px=32), bands=BandChoice(), legend=LEGEND, seed=2, length=6)
    right = []
    for index in range(6):
        chips = Chips.of({name: plane[None] for name, plane in items[index].items()})
        with torch.no_grad():
            right.append(fitted(chips.inputs).probabilities.argmax(dim=1) == chips.target)
    return float(torch.cat(right).float().mean())


# --- learning ---------------------------------------------------------------------------------------------------------


def test_an_encoder_learns_to_tell_classes_and_another_probe_can_use_it() -> None:
    config = changed(augment=UNCHANGED, beside="nothing", optimiser={"steps": 120, "learning_rate": 0.05})
    blank = model()
    for part in (blank.on_raw, blank.on_surroundings):
        torch.nn.init.zeros_(part.weight)
    trained = fine_tune(cpu(), blank, batches(steps=120), config, Run(seed=0), ONES)
    assert accuracy(trained) > 0.9
    again = MappingModel(trained.encoder, LEGEND)
    found = gather(cpu(), again, batches(steps=30), config, Run(seed=0), range(6))
    fit_probe(again, found, torch.ones(6), config, ONES)
    assert accuracy(again) > 0.9


def test_a_trained_encoder_moves_with_its_norms() -> None:
    fitted = fine_tune(cpu(), model(), batches(), CONFIG, Run(seed=0), ONES)
    before, after = weights_of(model().encoder), weights_of(fitted.encoder)
    assert not torch.equal(after["s2.mean.0.weight"], before["s2.mean.0.weight"])
    assert not torch.equal(after["s1.trunk.stem.1.running_mean"], before["s1.trunk.stem.1.running_mean"])
    assert torch.equal(after["standardise_s2.mean"], before["standardise_s2.mean"])


@pytest.mark.parametrize(("beside", "read"), [("nothing", 1), ("pixel", 2), ("surroundings", 3)])
def test_weights_of_what_is_not_read_stay_as_they_are(beside: str, read: int) -> None:
    before = model()
    after = fine_tune(cpu(), model(), batches(), changed(beside=beside), Run(seed=0), ONES)
    pairs = zip(read_outs(before), read_outs(after), strict=True)
    moved = [not torch.equal(first.weight, second.weight) for first, second in pairs]
    assert moved == [place < read for place in range(3)]
    assert not torch.equal(after.on_embedding.bias, before.on_embedding.bias)


def test_the_fitted_model_is_ready_to_answer() -> None:
    assert not any(part.training for part in fine_tune(cpu(), model(), batches(), CONFIG, Run(seed=0), ONES).modules())


# --- the loss ---------------------------------------------------------------------------------------------------------


def classification_of(batch: Batch, augment: AugmentConfig = UNCHANGED) -> float:
    torch.manual_seed(0)
    supervision = Supervision(model().eval(), changed(augment=augment, smoothing=0), ONES)
    return supervision(batch, torch.Generator().manual_seed(0))["classification"].item()


def test_labels_are_turned_with_the_chips() -> None:
    """A model that answers pixel by pixel is as right on a turned chip as on the chip."""
    by_pixel = model().eval()
    for part in (by_pixel.on_embedding, by_pixel.on_surroundings, by_pixel.encoder.s2.log_variance):
        torch.nn.init.zeros_(part.weight)
    batch = next(batches())
    supervision = Supervision(by_pixel, changed(augment=UNCHANGED, smoothing=0), ONES)
    logits, _ = by_pixel.logits(Chips.of(batch).inputs)
    expected = torch.nn.functional.cross_entropy(logits.mean, batch["target"])
    for seed in range(3):
        made = supervision(batch, torch.Generator().manual_seed(seed))["classification"]
        torch.testing.assert_close(made, expected)


def test_pixels_that_no_sensor_saw_are_not_scored() -> None:
    batch = dict(next(batches()))
    for name in ("s2", "s1", "s2_valid", "s1_valid"):
        batch[name] = batch[name].clone()
        batch[name][..., :8, :] = 0
    relabelled = {**batch, "target": batch["target"].clone()}
    relabelled["target"][:, :8] = 0
    assert classification_of(batch) == classification_of(relabelled)


def test_a_batch_without_labels_is_no_reason_to_stop() -> None:
    blank = [{**batch, "target": torch.full_like(batch["target"], IGNORED)} for batch in batches()]
    fine_tune(cpu(), model(), iter(blank), CONFIG, Run(seed=0), ONES)


def test_what_is_not_finite_stops_the_run() -> None:
    spoiled = dict(next(batches()))
    spoiled["s2"] = torch.full_like(spoiled["s2"], torch.nan)
    with pytest.raises(LossNotFinite, match="'classification' is nan at step 0"):
        fine_tune(cpu(), model(), iter([spoiled]), CONFIG, Run(seed=0), ONES)


def test_in_mixed_precision_the_loss_is_about_that_of_single_precision() -> None:
    losses: list[list[float]] = []
    for precision in ("32-true", "bf16-mixed"):
        found: list[float] = []
        run = Run(seed=0, watch=lambda _step, terms, found=found: found.append(terms["classification"]))
        fabric = start(Hardware(accelerator="cpu", precision=precision, threads=1))
        fine_tune(fabric, model(), batches(), CONFIG, run, ONES)
        losses.append(found)
    assert losses[1] != losses[0]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_each_step_draws_anew() -> None:
    losses: list[float] = []
    run = Run(seed=1, watch=lambda _step, terms: losses.append(terms["classification"]))
    batch = next(batches())
    standstill = changed(optimiser={"steps": STEPS, "learning_rate": 1e-12})
    fine_tune(cpu(), model(), iter([batch] * STEPS), standstill, run, ONES)
    assert len(set(losses)) == STEPS


# --- resuming ---------------------------------------------------------------------------------------------------------


def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("whole", "stopped")]
    for folder in folders:
        folder.mkdir()

    def fitted(run: Run) -> dict[str, torch.Tensor]:
        return weights_of(fine_tune(cpu(), model(), batches(run.reached()), CONFIG, run, ONES))

    whole = fitted(Run(seed=1, folder=folders[0]))
    asked = iter([False, False, True])
    with pytest.raises(TrainingStopped):
        fitted(Run(seed=1, folder=folders[1], stop=lambda: next(asked)))
    assert same(whole, fitted(Run(seed=1, folder=folders[1])))
    assert (folders[0] / LOG_NAME).read_bytes() == (folders[1] / LOG_NAME).read_bytes()


# --- class weights ----------------------------------------------------------------------------------------------------


PIXELS = np.array([700, 250, 50, 0], np.int64)


@pytest.mark.parametrize(("kind", "power"), [("none", 0.0), ("root", -0.5), ("inverse", -1.0)])
def test_weights_follow_the_frequency_of_classes_with_mean_1_over_pixels(kind: str, power: float) -> None:
    made = class_weights(PIXELS, changed(class_weights=kind)).numpy()
    share = PIXELS[:3] / 1000
    expected = share**power
    np.testing.assert_allclose(made[:3], expected / (expected * share).sum(), rtol=1e-6)
    assert (made * PIXELS).sum() / 1000 == pytest.approx(1)
    assert made[3] == 0


def test_a_class_of_a_handful_of_pixels_weighs_no_more_than_one_of_two_in_a_hundred() -> None:
    weights = class_weights(np.array([97_990, 2_000, 10], np.int64), changed(class_weights="inverse"))
    assert weights[2] == weights[1]
