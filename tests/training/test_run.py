"""A run on disk: state, log and seeds."""

import csv
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from contract.errors import CheckpointInvalid, TrainingStopped
from tests.training.examples import cpu
from training.run import LOG_NAME, STATE_NAME, Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(seed=3, folder=tmp_path, keep_every=2)


def log_of(run: Run) -> list[dict[str, str]]:
    assert run.folder is not None
    with (run.folder / LOG_NAME).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def state(fill: float) -> dict[str, nn.Module]:
    module = nn.Linear(2, 3)
    nn.init.constant_(module.weight, fill)
    return {"trained": module}


def test_the_state_comes_back_with_the_number_of_steps_done(run: Run) -> None:
    assert run.restore(cpu(), state(0)) == run.reached() == 0
    run.keep(cpu(), state(7), 4)
    blank = state(0)
    assert run.restore(cpu(), blank) == run.reached() == 4
    assert (blank["trained"].weight == 7).all()


def test_a_state_is_kept_every_so_many_steps(run: Run) -> None:
    for done in range(1, 6):
        run.keep(cpu(), state(done), done)
    assert run.reached() == 4


def test_a_run_that_is_asked_to_stop_keeps_its_state_at_once(run: Run) -> None:
    asked = Run(seed=3, folder=run.folder, keep_every=100, stop=lambda: True)
    with pytest.raises(TrainingStopped):
        asked.keep(cpu(), state(1), 3)
    assert run.reached() == 3


def test_a_write_that_fails_leaves_the_state_before_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.keep(cpu(), state(7), 2)

    def half_written(_fabric: Fabric, path: Path, _state: object) -> None:
        path.write_bytes(b"PK half of a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Fabric, "save", half_written)
    with pytest.raises(OSError, match="No space"):
        run.keep(cpu(), state(9), 4)
    blank = state(0)
    assert run.restore(cpu(), blank) == 2
    assert (blank["trained"].weight == 7).all()


def test_the_log_has_a_line_for_each_step(run: Run) -> None:
    for step in range(3):
        run.log(step, {"loss": torch.tensor(0.5 * step, requires_grad=True), "rate": 0.25})
    assert log_of(run) == [{"step": str(step), "loss": str(0.5 * step), "rate": "0.25"} for step in range(3)]


def test_who_watches_is_told_the_same(tmp_path: Path) -> None:
    seen = []
    run = Run(seed=0, folder=tmp_path, watch=lambda step, terms: seen.append((step, dict(terms))))
    run.log(4, {"loss": torch.tensor(2.0)})
    assert seen == [(4, {"loss": 2.0})]


def test_the_log_of_a_run_that_goes_on_ends_where_its_state_does(run: Run) -> None:
    for step in range(5):
        run.log(step, {"loss": float(step)})
        run.keep(cpu(), state(step), step + 1)
    run.restore(cpu(), state(0))
    for step in range(run.reached(), 6):
        run.log(step, {"loss": 10.0 * step})
    assert [(line["step"], line["loss"]) for line in log_of(run)] == [
        ("0", "0.0"), ("1", "1.0"), ("2", "2.0"), ("3", "3.0"), ("4", "40.0"), ("5", "50.0")
    ]  # fmt: skip


def test_a_log_without_a_state_is_begun_anew(run: Run) -> None:
    run.log(0, {"loss": 1.0})
    run.restore(cpu(), state(0))
    run.log(0, {"loss": 2.0})
    assert [line["loss"] for line in log_of(run)] == ["2.0"]


def test_a_run_that_is_forgotten_starts_anew(run: Run) -> None:
    run.log(0, {"loss": 1.0})
    run.keep(cpu(), state(1), 2)
    run.forget()
    assert run.reached() == 0
    assert run.folder is not None
    assert list(run.folder.iterdir()) == []


def test_a_run_without_a_folder_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run(seed=0, keep_every=1)
    run.log(0, {"loss": 1.0})
    run.keep(cpu(), state(1), 1)
    assert run.restore(cpu(), state(0)) == 0
    assert list(tmp_path.iterdir()) == []


def test_the_state_of_another_model_is_refused(run: Run) -> None:
    run.keep(cpu(), state(1), 2)
    with pytest.raises(CheckpointInvalid, match="does not fit this configuration"):
        run.restore(cpu(), {"trained": nn.Linear(5, 3)})


@pytest.mark.parametrize("kept", [0, 100], ids=["empty", "truncated"])
def test_a_broken_state_is_named(run: Run, kept: int) -> None:
    run.keep(cpu(), state(1), 2)
    assert run.folder is not None
    path = run.folder / STATE_NAME
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointInvalid, match=STATE_NAME):
        run.reached()


def test_draws_depend_on_seed_and_step_alone() -> None:
    def draws(seed: int, step: int) -> list[float]:
        return torch.rand(3, generator=Run(seed=seed).generator(step, cpu())).tolist()

    assert draws(1, 5) == draws(1, 5)
    assert len({tuple(draws(seed, step)) for seed in range(4) for step in range(4)}) == 16


def test_any_seed_will_do() -> None:
    assert Run(seed=20_260_101).generator(0, cpu()).initial_seed() >= 0
