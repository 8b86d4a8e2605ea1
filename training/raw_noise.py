"""How raw bands are changed by noise and blur, and how much of that their surroundings tell."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from training.models.mapping import MappingModel
from training.models.raw import raw_channels_of
from training.models.sensor_sets import SENSOR_SETS, SETS, shown_to
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
    """(R, S): 1 where the view shows the centre of the cell to a set of sensors, 0 where not."""
    around: Tensor
    """(R, C'): surroundings in the view."""
    change: Tensor
    """(R, C + C'): of raw bands at the centre, and of surroundings."""


@torch.no_grad()
def changes(model: MappingModel, clear: Inputs, view: Inputs, place: Tensor) -> Changes:
    """The changes from chips as they are to a view of them; `place` is that of each chip, (N,)."""
    before, after = _features(model, clear), _features(model, view)  # (N, L, C + C')
    shown = [shown_to(view, sensors) for sensors in SENSOR_SETS]
    seen = torch.cat([torch.maximum(each.s2_valid, each.s1_valid) for each in shown], dim=1)  # (N, S, H, W)
    seen = seen[..., CELL_PX // 2 :: CELL_PX, CELL_PX // 2 :: CELL_PX]
    around = model.on_surroundings.in_channels
    return Changes(
        place=place.repeat_interleave(before.shape[1]),
        seen=seen[..., CELLS, CELLS].flatten(2).mT.flatten(0, 1).double(),
        around=after[..., -around:].flatten(0, 1).double(),
        change=(after - before).flatten(0, 1).double(),
    )


def fit_raw_noise(model: MappingModel, found: Changes, drawn: Tensor) -> None:
    """Set a model's `raw_noise` to what its probes make of the changes; to nothing where there are none.

    The size of a change follows a gamma distribution whose mean is an exponential of the surroundings: a generalised linear
    model (McCullagh, Nelder 1989, chapter 8), of which the likelihood is concave.

    Args:
        model: With its probes fitted.
        found: Changes of P places.
        drawn: (P,): how often each place counts.
    """
    on_raw, around = model.on_raw_of_sets(), model.on_surroundings
    weights = torch.cat([on_raw, around.weight.reshape(SETS, -1, around.in_channels)], dim=2).detach().cpu().double()
    for number, (sensors, weight) in enumerate(zip(SENSOR_SETS, weights, strict=True)):
        own = raw_channels_of(model.encoder.bands, sensors)
        own = own.repeat(around.in_channels // len(own))
        count = drawn.double()[found.place] * found.seen[:, number]
        count = count / count.sum().clamp_min(1)
        change = found.change @ (weight - weight.mean(dim=0)).T  # (R, K)
        covariance = (count[:, None] * change).T @ change
        with torch.no_grad():
            model.raw_noise.covariance[number] = covariance
            if covariance.any():
                size = change.square().sum(dim=1) / covariance.trace()
                slopes, level = _gamma_glm(found.around * own, size, count)
                model.raw_noise.log_scale.weight[number] = slopes[:, None, None]
                model.raw_noise.log_scale.bias[number] = level  # type: ignore[index]  # has a bias


@torch.enable_grad()
def _gamma_glm(around: Tensor, size: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes (C',) and level of the logarithm of the mean size."""
    numbers = torch.zeros(around.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([numbers], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        logarithm = around @ numbers[:-1] + numbers[-1]
        nats = (count * (size * (-logarithm).exp() + logarithm)).sum() + RIDGE * numbers[:-1].square().sum()
        nats.backward()  # type: ignore[no-untyped-call]  # torch does not type it
        return nats

    optimiser.step(loss)  # type: ignore[no-untyped-call]  # torch does not type it
    return numbers[:-1].detach(), numbers[-1].detach()


def _features(model: MappingModel, inputs: Inputs) -> Tensor:
    """Raw bands at the centres of some cells and the surroundings there, (N, L, C + C')."""
    raw = model.raw(inputs)
    around = model.surroundings(raw, inputs)
    centres = raw[..., CELL_PX // 2 :: CELL_PX, CELL_PX // 2 :: CELL_PX]
    return torch.cat([centres, around], dim=1)[..., CELLS, CELLS].flatten(2).mT
