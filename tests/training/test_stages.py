"""The stages in a row, on samples in memory; tests/training/test_commands.py has them on files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from contract.bands import Modality
from contract.bundle import Calibration
from contract.errors import ConfigInvalid
from tests.training.examples import LEGEND, STATISTICS, coloured, model_config, pool
from training import stages
from training.calibrate import CalibrateConfig, Fold
from training.checkpoint import load_encoder, load_model
from training.config import Hardware, TrainingConfig
from training.data.pool import SamplePool
from training.data.sample import BandChoice
from training.models.config import BranchConfig, ModelConfig
from training.models.encoder import Encoder
from training.models.mapping import MappingModel
from training.optimise import OptimiserConfig
from training.pretrain import PretrainConfig
from training.probe import ProbeConfig
from training.run import LOG_NAME
from training.stages import Stage, calibrate_stage, conditions, pretrain_stage, probe_stage

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
        pretrain=PretrainConfig(chips=2, chip_px=16, reach_px=8, positions=3, collapse_nats=0, optimiser=few),
        probe=ProbeConfig(chips=2, chip_px=16, optimiser=few),
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
    assert model.temperature.item() == pytest.approx(provenance.calibration.temperature)
    folders = ["pretrain", "probe", *(f"calibrate/fold-{number}" for number in range(3))]
    assert all((tmp_path / folder / LOG_NAME).exists() for folder in folders)


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


def test_no_model_of_a_fold_sees_labels_of_the_places_that_it_is_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(config=config(), out=tmp_path)
    probe_stage(stage, None)
    learnt: list[SamplePool] = []
    asked: list[Fold] = []

    def recorded(fabric: object, given: TrainingConfig, seen: SamplePool, schedule: object) -> object:
        learnt.append(seen)
        return batches(fabric, given, seen, schedule)

    def calibrated(folds: Sequence[Fold], *_rest: object) -> Calibration:
        asked.extend(folds)
        return Calibration(temperature=1, variance_scale=1, expert_weights=dict.fromkeys(Modality, 1))

    batches = stages.batches
    monkeypatch.setattr(stages, "batches", recorded)
    monkeypatch.setattr(stages, "calibrate", calibrated)
    calibrate_stage(stage, None)
    assert sorted(sample.entry.name for fold in asked for sample in fold.samples) == [
        sample.entry.name for sample in LABELLED
    ]
    for seen, fold in zip(learnt, asked, strict=True):
        assert not {*seen.places} & {sample.entry.place for sample in fold.samples}
        assert len(seen) + len(fold.samples) == len(LABELLED)


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
    assert model.encoder.radius_px <= asked.halo_px < model.encoder.radius_px + alignment_px
