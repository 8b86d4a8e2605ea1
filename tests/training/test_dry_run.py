"""What a stage is said to take."""

from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.training.data.layouts_reben import write_flat
from training.config import TrainingConfig
from training.dry_run import StageName, estimate_stage

THIN = {"widths": (8, 8, 8), "blocks": (0, 0, 0)}


@pytest.fixture
def config(tmp_path: Path) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "name": "thin",
            "classes": (10, 20, 40),
            "labelled": [{"kind": "reben", "folder": write_flat(tmp_path), "splits": ["train"]}],
            "unlabelled": [{"kind": "reben", "folder": tmp_path, "splits": ["val"]}],
            "model": {"latent": 4, "s2": THIN, "s1": THIN},
            "pretrain": {
                "chips": 4,
                "chip_px": 16,
                "reach_px": 0,
                "optimiser": {"steps": 300},
                "variances": {"optimiser": {"steps": 50}},
            },
            "probe": {"chips": 2, "chip_px": 24, "batches": 70, "optimiser": {"steps": 30}},
            "calibrate": {"folds": 3},
            "hardware": {"accelerator": "cpu"},
        }
    )


@pytest.mark.parametrize(
    ("stage", "steps", "chips", "chip_px", "samples"),
    [("pretrain", 350, 4, 16, 2), ("probe", 70, 2, 24, 1), ("calibrate", 70, 2, 24, 1)],
)
def test_a_stage_takes_its_steps_on_its_samples(
    stage: StageName, steps: int, chips: int, chip_px: int, samples: int, config: TrainingConfig
) -> None:
    cost = estimate_stage(config, stage)
    assert (cost.steps, cost.chips, cost.chip_px, cost.samples) == (steps, chips, chip_px, samples)
    assert cost.total_s == pytest.approx(steps * cost.step_s)
    assert 0 < cost.step_s < 10


def test_fine_tuning_takes_its_steps_beside_those_of_the_closed_form(config: TrainingConfig) -> None:
    trained = config.model_copy(update={"probe": config.probe.model_copy(update={"encoder": "trained"})})
    assert estimate_stage(trained, "probe").steps == 70 + 30
    assert estimate_stage(trained, "calibrate").steps == 3 * (70 + 30) + 70


def test_the_first_step_is_not_timed(config: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = chain([100.0, 103.0, 107.0], repeat(0.0))
    monkeypatch.setattr("training.dry_run.time", SimpleNamespace(perf_counter=lambda: next(ends)))
    assert estimate_stage(config, "pretrain").step_s == 3.5


def test_memory_is_the_peak_of_the_process(config: TrainingConfig) -> None:
    memory_bytes = estimate_stage(config, "probe").memory_bytes
    lines = Path("/proc/self/status").read_text().splitlines()
    peak_kib = int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    assert memory_bytes == pytest.approx(peak_kib * 1024, rel=0.01)
