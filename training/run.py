"""Run: one stage of training on disk. Its log, its last state and its seed."""

import csv
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor

from contract.errors import CheckpointInvalid, TrainingStopped

STATE_NAME: Final = "last.ckpt"
LOG_NAME: Final = "log.csv"
SEED_STRIDE: Final = 1_000_003
"""A prime: seeds of neighbouring runs and steps do not coincide."""
SEEDS: Final = 1 << 63
"""Number of seeds that torch takes."""

State = dict[str, Any]
"""Modules, optimiser and schedule under the names of the stage."""
Watch = Callable[[int, Mapping[str, float]], None]
"""Told the figures of each step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a loop needs beside the model. Without a folder, nothing is kept."""

    seed: int
    folder: Path | None = None
    recipe: str = ""
    """What a state must be of, to go on from it."""
    keep_every: int = 200
    """Steps between two states on disk."""
    watch: Watch = lambda _step, _terms: None
    stop: Callable[[], bool] = lambda: False
    """Asked after each step; True ends the run there."""

    def generator(self, step: int, fabric: Fabric) -> torch.Generator:
        """Draws of one step on this device: the same whether or not the run was stopped before it."""
        seed = (self.seed * SEED_STRIDE + step) * SEED_STRIDE + fabric.global_rank
        return torch.Generator(fabric.device).manual_seed(seed % SEEDS)

    def forget(self) -> None:
        """Start anew: the state and the log of an earlier run are removed."""
        if self.folder:
            for name in (STATE_NAME, LOG_NAME):
                (self.folder / name).unlink(missing_ok=True)

    def reached(self) -> int:
        """Steps done before, by the state on disk; 0 without one."""
        path = self._state()
        return int(read_state(path)["step"]) if path and path.exists() else 0

    def restore(self, fabric: Fabric, state: State) -> int:
        """Put everything back to where the run stopped, and say how many steps were done.

        The log ends there, too: what came after will be done again.

        Raises:
            CheckpointInvalid: The state on disk is of another model or cannot be read.
        """
        path = self._state()
        if path is None or not path.exists():
            self.forget()
            return 0
        try:
            rest = fabric.load(path, state)
        except (RuntimeError, KeyError, OSError) as error:
            raise CheckpointInvalid(
                path=str(path), reason=f"it does not fit this configuration; give another folder ({error})"
            ) from error
        if rest["recipe"] != self.recipe:
            raise CheckpointInvalid(
                path=str(path), reason="it is of another configuration or encoder; start anew without --resume"
            )
        done = int(rest["step"])
        if fabric.is_global_zero:
            self._cut_log(done)
        return done

    def keep(self, fabric: Fabric, state: State, done: int) -> None:
        """Write the state if it is time to, or if someone asks to stop; complete or not at all.

        Raises:
            TrainingStopped: Someone asked to stop. The state of this step is kept.
        """
        path = self._state()
        stopped = bool(fabric.all_reduce(torch.tensor(float(self.stop())), reduce_op="sum"))  # devices stop together
        if path and (stopped or done % self.keep_every == 0):
            part = path.with_suffix(".part")
            fabric.save(part, {**state, "step": done, "recipe": self.recipe})
            if fabric.is_global_zero:
                part.replace(path)
        if stopped:
            raise TrainingStopped

    @rank_zero_only
    def log(self, step: int, terms: Mapping[str, Tensor | float]) -> None:
        """One line of the log, of the first device's batch."""
        figures = {name: float(value.detach() if isinstance(value, Tensor) else value) for name, value in terms.items()}
        self.watch(step, figures)
        if self.folder is None:
            return
        path = self.folder / LOG_NAME
        fresh = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["step", *figures])
            if fresh:
                writer.writeheader()
            writer.writerow({"step": step, **figures})

    def _cut_log(self, done: int) -> None:
        path = cast("Path", self.folder) / LOG_NAME
        if path.exists():
            header_and_steps = path.read_bytes().splitlines(keepends=True)[: done + 1]
            path.write_bytes(b"".join(header_and_steps))

    def _state(self) -> Path | None:
        return self.folder / STATE_NAME if self.folder else None


def read_state(path: Path) -> State:
    """What torch wrote into a file, on the CPU.

    Raises:
        CheckpointInvalid: No such file, or not written by torch to its end.
    """
    try:
        with path.open("rb") as file:
            # The end of a zip archive is its table of contents: without it, the file is cut off, or something else.
            whole = zipfile.is_zipfile(file)
        content = torch.load(path, map_location="cpu", weights_only=True) if whole else None
    except FileNotFoundError as error:
        raise CheckpointInvalid(path=str(path), reason="no such file; run the stage before this one") from error
    except (OSError, RuntimeError, UnpicklingError) as error:
        raise CheckpointInvalid(path=str(path), reason=f"cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise CheckpointInvalid(path=str(path), reason="it was not written by `landsigma train`, or not to its end")
    return content
