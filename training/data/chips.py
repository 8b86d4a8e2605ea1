"""Random chips of samples: pairs for pre-training, labelled ones for probes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from contract.bands import Modality
from contract.errors import SampleInvalid
from contract.legend import Legend
from training.data.legends import class_indices
from training.data.pool import SamplePool
from training.data.sample import BandChoice, Sample
from training.models.layers import STRIDE
from training.tensors import Inputs

ROUNDS: Final = 1 << 20
"""Keeps the shuffles of rounds apart from the draws of chips in one seed sequence."""
Kind = TypeVar("Kind", bound=np.generic)
Batch = Mapping[str, Tensor]
"""Items of `ChipDataset`, stacked: plain tensors by name, which loaders and devices know how to move."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chips:
    """A batch of chips. The two sensors' chips of a pair need not start at the same pixel."""

    inputs: Inputs
    offsets: Tensor
    """(N, 2, 2): row and column where S2's chip and S1's chip start in their sample, px; multiples of `STRIDE`."""
    image: Tensor
    """(N,): which sample each chip is of."""
    target: Tensor
    """(N, H, W): class indices on S2's chip, `NO_CLASS` where there is no label."""

    @classmethod
    def of(cls, batch: Batch) -> "Chips":
        """The batch that a loader stacked from items of `ChipDataset`."""
        inputs = Inputs(**{name: batch[name] for name in ("s2", "s2_valid", "s1", "s1_valid")})
        return cls(inputs=inputs, offsets=batch["offsets"], image=batch["image"], target=batch["target"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How chips are cut."""

    chip_px: int
    reach_px: int = 0
    """How far the two sensors' chips may lie apart, per axis."""
    pairs: Literal["independent", "common"] = "common"
    """independent: each sensor's chip starts at a pixel of its own. On a common grid, a contrastive loss is solved by
    the position relative to the zero padding, without looking at the ground."""


class ChipDataset(Dataset[dict[str, Tensor]]):
    """Item i is drawn by a generator seeded with (seed, i), so a run that is resumed sees what it would have seen."""

    def __init__(
        self, pool: SamplePool, cut: Cut, *, bands: BandChoice, legend: Legend, seed: int, length: int
    ) -> None:
        self.pool, self.cut, self.bands, self.legend = pool, cut, bands, legend
        self.seed, self.length = seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        random = np.random.default_rng((self.seed, item))
        image = _nth(item, len(self.pool), self.seed)
        sample = self.pool.read(image)
        starts = self._starts(sample, random)
        chip = {"image": torch.tensor(image), "offsets": torch.from_numpy(starts)}
        for modality, start in zip((Modality.S2, Modality.S1), starts, strict=True):
            values, valid = self._observation(sample, modality, start)
            chip[modality.value], chip[f"{modality.value}_valid"] = values, valid
        labels = np.zeros((self.cut.chip_px,) * 2, np.uint8)
        if sample.labels is not None:
            labels = self._crop(sample.labels, starts[0])
        chip["target"] = torch.from_numpy(class_indices(labels, self.legend))
        return chip

    def _starts(self, sample: Sample, random: np.random.Generator) -> npt.NDArray[np.int64]:
        shape = next(iter(sample.observations.values())).valid.shape
        room = np.array(shape) - self.cut.chip_px
        if room.min() < 0:
            raise SampleInvalid(
                path=str(sample.entry.files[0]),
                found=f"{shape[0]} x {shape[1]} px",
                needed=f"at least the {self.cut.chip_px} px of a chip; lower chip_px",
            )
        reach = np.minimum(self.cut.reach_px, room)
        corner = random.integers(0, room - reach + 1)
        starts = corner + random.integers(0, reach + 1, size=(2, 2))
        if self.cut.pairs == "common":
            starts[1] = starts[0]
        return np.asarray(starts // STRIDE * STRIDE)

    def _observation(self, sample: Sample, modality: Modality, start: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        side = self.cut.chip_px
        if modality not in sample.observations:
            count = len(self.bands.s2 if modality is Modality.S2 else self.bands.s1)
            return torch.zeros(count, side, side), torch.zeros(1, side, side)
        observed = sample.observations[modality]
        values = self._crop(observed.values, start)
        valid = self._crop(observed.valid, start)
        return torch.from_numpy(values.copy()), torch.from_numpy(valid.astype(np.float32))[None]

    def _crop(self, plane: npt.NDArray[Kind], start: npt.NDArray[np.int64]) -> npt.NDArray[Kind]:
        row, column = start
        return plane[..., row : row + self.cut.chip_px, column : column + self.cut.chip_px]


def _nth(item: int, count: int, seed: int) -> int:
    """Every sample comes once in each round of `count` items, in an order of that round."""
    round_, place = divmod(item, count)
    return int(_order(round_, count, seed)[place])


@lru_cache(maxsize=2)
def _order(round_: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((seed, ROUNDS + round_)).permutation(count)
