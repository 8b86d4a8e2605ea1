"""The stages in a row, on samples in memory; tests/training/test_commands.py has them on files."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric

from contract.bands import Modality
from contract.bundle import Calibration, Temperature
from contract.errors import ConfigInvalid
from tests.training.examples import LEGEND, STATISTICS, coloured, model_config, pool, read_outs
from training import stages
from training.calibrate import CalibrateConfig, Fold
from training.checkpoint import load_encoder, load_model
from training.config import Hardware, TrainingConfig
from training.data.chips import Batch
from training.data.pool import SamplePool
from training.data.sample import BandChoice
from training.discriminant import Gathered, fit_probe
from training.models.config import BranchConfig, ModelConfig
from training.models.encoder import Encoder
from training.models.mapping import MappingModel
from training.optimise import OptimiserConfig
from training.pretrain import PretrainConfig
from training.probe import ProbeConfig
from training.run import LOG_NAME
from training.setup import Schedule, batches
from training.stages import Stage, calibrate_stage, conditions, pretrain_stage, probe_stage
from training.variances import VarianceConfig

LABELLED = [coloured(index) for index in range(6)]
"""Two samples of each of three places."""
PAIRS = [replace(coloured(7), entry=replace(coloured(7).entry, place="pair"))]
RADAR = replace(
    coloured(8),
    entry=replace(coloured(8).entry, place="radar", paired=False),
    observations={Modality.S1: coloured(8).observations[Modality.S1]},
)


def config(*, variational: bool = True) -> TrainingConfig:
    few = OptimiserConfig(steps=3)
    return TrainingConfig(
        name="tiny",
        classes=(10, 40, 80),
        model=model_config(variational=variational),
        pretrain=PretrainConfig(
            chips=2,
            chip_px=16,
            reach_px=8,
            positions=3,
            collapse_nats=0,
            optimiser=few,
            variances=VarianceConfig(optimiser=few),
        ),
        probe=ProbeConfig(chips=2, chip_px=16, batches=3, optimiser=few),
        calibrate=CalibrateConfig(folds=3, steps=3, pixels_per_sample=50),
        hardware=Hardware(accelerator="cpu", threads=1),
    )


@pytest.fixture(autouse=True)
def archives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "labelled_pool", lambda _config: pool(LABELLED))
    monkeypatch.setattr(stages, "unlabelled_pool", lambda _config: pool([*PAIRS, RADAR]))


@pytest.mark.parametrize("variational", [True, False], ids=["sigma on", "sigma off"])
def test_stages_follow_each_other_with_and_without_sigma(tmp_path: Path, *, variational: bool) -> None:
    stage = Stage(config=config(variational=variational), out=tmp_path)
    encoder_path = pretrain_stage(stage)
    probe_stage(stage, encoder_path)
    model, provenance = load_model(calibrate_stage(stage, encoder_path))
    assert provenance.config == stage.config
    assert provenance.calibration is not None
    assert model.temperature.tolist() == pytest.approx([value for _, value in provenance.calibration.temperature])
    assert model.doubt is not None
    assert model.latents is not None
    assert (tmp_path / "pretrain" / LOG_NAME).exists()


def test_fine_tuning_starts_from_the_closed_form(tmp_path: Path) -> None:
    frozen, _ = load_model(probe_stage(Stage(config=config(), out=tmp_path), None))
    hardly = OptimiserConfig(steps=2, learning_rate=1e-9)
    trained = config().probe.model_copy(update={"encoder": "trained", "optimiser": hardly})
    stage = Stage(config=config().model_copy(update={"probe": trained}), out=tmp_path)
    tuned, _ = load_model(probe_stage(stage, None))
    assert (tmp_path / "probe" / LOG_NAME).exists()
    for before, after in zip(read_outs(frozen), read_outs(tuned), strict=True):
        assert before.weight.any()
        torch.testing.assert_close(after.weight, before.weight)


def test_a_checkpoint_lists_every_place_that_its_weights_have_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(config=config(), out=tmp_path)
    encoder_path = pretrain_stage(stage)
    _, provenance = load_encoder(encoder_path)
    assert provenance.places == ("pair", "place-0", "place-1", "place-2")  # radar alone is no pair
    monkeypatch.setattr(stages, "labelled_pool", lambda _config: pool([*LABELLED[:1], RADAR]))
    _, provenance = load_model(probe_stage(stage, encoder_path))
    assert provenance.places == ("pair", "place-0", "place-1", "place-2", "radar")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Fold]:
    """The folds that calibration is asked to learn from, which it does not."""
    folds: list[Fold] = []

    def calibrated(given: Sequence[Fold], *_rest: object) -> Calibration:
        folds.extend(given)
        temperature = Temperature(both=1, s2_alone=1, s1_alone=1)
        return Calibration(temperature=temperature, variance_scale=1, expert_weights=dict.fromkeys(Modality, 1))

    monkeypatch.setattr(stages, "calibrate", calibrated)
    return folds


def places_of(folds: Sequence[Fold]) -> list[set[str]]:
    """Of each fold; together they are asked about every sample once."""
    names = [sample.entry.name for fold in folds for sample in fold.samples]
    assert sorted(names) == [sample.entry.name for sample in LABELLED]
    return [{sample.entry.place for sample in fold.samples} for fold in folds]


def test_no_probe_of_a_fold_sees_labels_of_the_places_that_it_is_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[Fold]
) -> None:
    """Their sums are left out of those that it is solved from."""
    stage = Stage(config=config(), out=tmp_path)
    probe_stage(stage, None)
    learnt: list[set[str]] = []

    def recorded(model: MappingModel, found: Gathered, drawn: torch.Tensor, *rest: Any) -> None:
        learnt.append({f"place-{place}" for place in drawn.nonzero().flatten().tolist()})
        fit_probe(model, found, drawn, *rest)

    monkeypatch.setattr(stages, "fit_probe", recorded)
    calibrate_stage(stage, None)
    assert learnt == [{"place-0", "place-1", "place-2"} - held_out for held_out in places_of(asked)]
    weights = [fold.model.on_embedding.weight for fold in asked]
    assert not any(torch.equal(weights[0], other) for other in weights[1:])


def test_no_trained_encoder_of_a_fold_sees_labels_of_the_places_that_it_is_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[Fold]
) -> None:
    trained = config().probe.model_copy(update={"encoder": "trained"})
    stage = Stage(config=config().model_copy(update={"probe": trained}), out=tmp_path)
    probe_stage(stage, None)
    learnt: list[set[str]] = []

    def recorded(fabric: Fabric, given: TrainingConfig, seen: SamplePool, schedule: Schedule) -> Iterator[Batch]:
        learnt.append({*seen.places})
        return batches(fabric, given, seen, schedule)

    monkeypatch.setattr(stages, "batches", recorded)
    calibrate_stage(stage, None)
    every = {"place-0", "place-1", "place-2"}
    others = [every - held_out for held_out in places_of(asked)]
    # Once for heads of doubt; then for each fold's closed form, and for its fine-tuning.
    assert learnt == [every, *(places for places in others for _ in range(2))]


def test_an_encoder_of_another_model_is_refused(tmp_path: Path) -> None:
    encoder_path = pretrain_stage(Stage(config=config(), out=tmp_path))
    other = config().model_copy(update={"model": model_config(blocks=(1, 0, 0))})
    with pytest.raises(ConfigInvalid, match="its model and bands are not those of the encoder"):
        probe_stage(Stage(config=other, out=tmp_path), encoder_path)


def test_more_folds_than_places_are_refused(tmp_path: Path) -> None:
    stage = Stage(config=config().model_copy(update={"calibrate": CalibrateConfig(folds=4)}), out=tmp_path)
    probe_stage(stage, None)
    with pytest.raises(ConfigInvalid, match="folds is 4, but the labelled samples are of 3 places"):
        calibrate_stage(stage, None)


def test_a_stage_that_is_not_resumed_starts_anew(tmp_path: Path) -> None:
    for _ in range(2):
        pretrain_stage(Stage(config=config(), out=tmp_path))
    assert len((tmp_path / "pretrain" / LOG_NAME).read_text().splitlines()) == 1 + 3


def test_a_stage_that_had_ended_can_be_resumed(tmp_path: Path) -> None:
    stop_at_the_end = iter([False, False, True])
    with pytest.raises(Exception, match="stopped"):
        pretrain_stage(Stage(config=config(), out=tmp_path, stop=lambda: next(stop_at_the_end)))
    path = pretrain_stage(Stage(config=config(), out=tmp_path, resume=True))
    whole, _ = load_encoder(pretrain_stage(Stage(config=config(), out=tmp_path / "whole")))
    resumed, _ = load_encoder(path)
    planes = resumed.state_dict()
    assert all(torch.equal(plane, planes[name]) for name, plane in whole.state_dict().items())


@pytest.mark.parametrize(("backbone", "alignment_px"), [("compact", 8), ("resnet50", 32)])
def test_a_model_is_asked_with_the_halo_and_the_alignment_that_it_needs(backbone: str, alignment_px: int) -> None:
    branch = BranchConfig.model_validate({"backbone": backbone})
    with torch.device("meta"):
        model = MappingModel(Encoder(BandChoice(), ModelConfig(s1=branch), STATISTICS), LEGEND)
    asked = conditions(model)
    assert asked.alignment_px == alignment_px
    assert asked.halo_px % alignment_px == 0
    assert model.radius_px <= asked.halo_px < model.radius_px + alignment_px
