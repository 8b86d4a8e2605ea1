"""How raw bands are changed by noise and blur, and how much of that their surroundings tell."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from training.models.mapping import MappingModel
from training.models.surroundings import CELL_PX
from training.tensors import Inputs

CELLS: Final = slice(1, None, 3)
"""Those of a chip that are kept, along each axis: neighbours say the same."""
RIDGE: Final = 0.03
"""Cost of a squared slope. Few places tell little of how surroundings go with noise, and edges are no noise."""
STEPS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Changes:
    """What an augmented view has changed at some cells, in double precision."""

    place: Tensor
    """(R,): the place of each."""
    seen: Tensor
    """(R,): 1 where the view shows the centre of the cell, 0 where not."""
    around: Tensor
    """(R, C'): surroundings in the view."""
    change: Tensor
    """(R, C + C'): of raw bands at the centre, and of surroundings."""


@torch.no_grad()
def changes(model: MappingModel, clear: Inputs, view: Inputs, place: Tensor) -> Changes:
    """The changes from chips as they are to a view of them; `place` is that of each chip, (N,)."""
    before, after = _features(model, clear), _features(model, view)  # (N, L, C + C')
    seen = torch.maximum(view.s2_valid, view.s1_valid)[..., CELL_PX // 2 :: CELL_PX, CELL_PX // 2 :: CELL_PX]
    around = model.on_surroundings.in_channels
    return Changes(
        place=place.repeat_interleave(before.shape[1]),
        seen=seen[..., CELLS, CELLS].flatten().double(),
        around=after[..., -around:].flatten(0, 1).double(),
        change=(after - before).flatten(0, 1).double(),
    )


def fit_raw_noise(model: MappingModel, found: Changes, drawn: Tensor) -> None:
    """Set a model's `raw_noise` to what its probe makes of the changes; to nothing where there are none.

    The size of a change follows a gamma distribution whose mean is an exponential of the surroundings: a generalised linear
    model (McCullagh, Nelder 1989, chapter 8), of which the likelihood is concave.

    Args:
        model: With its probe fitted.
        found: Changes of P places.
        drawn: (P,): how often each place counts.
    """
    weight = torch.cat([model.on_raw.weight, model.on_surroundings.weight], dim=1)[:, :, 0, 0].detach().cpu().double()
    change = found.change @ (weight - weight.mean(dim=0)).T  # (R, K)
    count = drawn.double()[found.place] * found.seen
    count = count / count.sum().clamp_min(1)
    covariance = (count[:, None] * change).T @ change
    model.raw_noise.covariance.copy_(covariance)
    if not covariance.any():
        return
    size = change.square().sum(dim=1) / covariance.trace()
    numbers = torch.zeros(found.around.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([numbers], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        logarithm = found.around @ numbers[:-1] + numbers[-1]
        nats = (count * (size * (-logarithm).exp() + logarithm)).sum() + RIDGE * numbers[:-1].square().sum()
        nats.backward()  # type: ignore[no-untyped-call]  # torch does not type it
        return nats

    optimiser.step(loss)  # type: ignore[no-untyped-call]  # torch does not type it
    with torch.no_grad():
        model.raw_noise.log_scale.weight.copy_(numbers[:-1].reshape(1, -1, 1, 1))
        model.raw_noise.log_scale.bias.copy_(numbers[-1:])  # type: ignore[union-attr]  # has a bias


def _features(model: MappingModel, inputs: Inputs) -> Tensor:
    """Raw bands at the centres of some cells and the surroundings there, (N, L, C + C')."""
    raw = model.raw(inputs)
    around = model.surroundings(raw, inputs)
    centres = raw[..., CELL_PX // 2 :: CELL_PX, CELL_PX // 2 :: CELL_PX]
    return torch.cat([centres, around], dim=1)[..., CELLS, CELLS].flatten(2).mT
