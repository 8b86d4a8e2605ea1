"""Chips to try a graph on: real ones under every mask, and hard ones."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import cycle, islice, product
from operator import itemgetter
from typing import Final

import numpy as np
import torch
from torch import Tensor

from training.augment import Corruption, corrupt
from training.data.sample import BandChoice, Sample
from training.evaluate.exam import each_plane, inputs_of
from training.models.sensor_sets import SENSOR_SETS, shown_to
from training.tensors import Inputs

WILD_VALUES: Final = "wild values"
WILD: Final = (float("inf"), float("-inf"), 3e38, -3e38, 65535.0, -9999.0, 1e-30, 0.0)
"""What broken products hold where they claim to have observed something."""
WILD_SHARE: Final = 0.05
"""Of the pixels."""
BOX_LEVEL: Final = 3
"""Of `training.augment.LEVELS`: each sensor loses a box of 30 % of the chip."""


def real_chips(samples: Iterable[Sample], bands: BandChoice, chip_px: int) -> Iterator[Inputs]:
    """Batches of one, filled with samples side by side; larger samples are cut, and repeated where room is left over."""
    pieces = (piece for sample in samples for piece in _pieces(inputs_of(sample, bands), chip_px))
    for first in pieces:
        across = chip_px // max(first.s2.shape[-2:])
        some = [first, *islice(pieces, across**2 - 1)]
        cells = [each_plane(piece, partial(_cut, side_px=chip_px // across)) for piece in some]
        yield Inputs(
            **{
                field.name: _sheet([getattr(cell, field.name) for cell in cells], across, chip_px)
                for field in fields(Inputs)
            }
        )


def masked(chip: Inputs) -> dict[str, Inputs]:
    """A chip with both sensors and with each one alone."""
    names = "both sensors", "Sentinel-2 alone", "Sentinel-1 alone"
    return {name: shown_to(chip, sensors) for name, sensors in zip(names, SENSOR_SETS, strict=True)}


def hard(chip: Inputs, seed: int = 0) -> dict[str, Inputs]:
    """What a chip of a broken product could be; under the masks there is NaN."""
    generator = torch.Generator().manual_seed(seed)
    nowhere = torch.zeros_like(chip.s2_valid)
    gaps = [(torch.rand(chip.s2_valid.shape, generator=generator) > 0.5).float() for _ in range(2)]  # noqa: PLR2004  half
    s2_valid, s1_valid = chip.s2_valid * gaps[0], chip.s1_valid * gaps[1]
    boxed = corrupt(chip, Corruption.NODATA, BOX_LEVEL, generator)
    return {
        "nothing observed": _hidden(chip, nowhere, nowhere),
        "scattered pixels": _hidden(chip, s2_valid, s1_valid),
        "random boxes": _hidden(chip, boxed.s2_valid, boxed.s1_valid),
        WILD_VALUES: replace(chip, s2=_wild(chip.s2, generator), s1=_wild(chip.s1, generator)),
    }


def _pieces(image: Inputs, most_px: int) -> Iterator[Inputs]:
    """The image in parts of at most so many rows and columns."""
    for row, column in product(*(range(0, length, most_px) for length in image.s2.shape[-2:])):
        window = np.s_[..., row : row + most_px, column : column + most_px]
        yield each_plane(image, itemgetter(window))


def _sheet(cells: Sequence[Tensor], across: int, side_px: int) -> Tensor:
    """Planes in rows of so many, the first ones again where there are too few."""
    every = list(islice(cycle(cells), across**2))
    rows = [torch.cat(every[start : start + across], dim=-1) for start in range(0, across**2, across)]
    return _cut(torch.cat(rows, dim=-2), side_px=side_px)


def _cut(plane: Tensor, side_px: int) -> Tensor:
    """The upper left corner of a plane that repeats itself."""
    rows, columns = (torch.arange(side_px) % length for length in plane.shape[-2:])
    return plane[..., rows, :][..., columns]


def _hidden(chip: Inputs, s2_valid: Tensor, s1_valid: Tensor) -> Inputs:
    s2, s1 = chip.s2.where(s2_valid > 0, torch.nan), chip.s1.where(s1_valid > 0, torch.nan)
    return Inputs(s2=s2, s2_valid=s2_valid, s1=s1, s1_valid=s1_valid)


def _wild(values: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.tensor(WILD)[torch.randint(len(WILD), values.shape, generator=generator)]
    return values.where(torch.rand(values.shape, generator=generator) > WILD_SHARE, drawn)
