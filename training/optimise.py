"""The optimiser of every stage: AdamW with a linear warm-up and a cosine to zero, and the averaged weights."""

import math
from collections.abc import Iterable, Mapping
from typing import Final, cast

import torch
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from contract.errors import LossNotFinite
from contract.record import Record

NO_DECAY_DIMENSIONS: Final = 1
"""Biases and norms are not decayed."""


class OptimiserConfig(Record):
    """AdamW, arXiv:1711.05101, with a cosine schedule."""

    steps: int = Field(default=1000, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    """At the end of the warm-up."""
    warm_up: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps."""
    weight_decay: float = Field(default=0.05, ge=0)
    clip: float = Field(default=2.0, gt=0)
    """Largest norm of the gradient."""
    average: float = Field(default=0.99, ge=0, lt=1)
    """Decay per step of the exponential average of weights that is kept in the end."""


def make_optimiser(modules: Iterable[tuple[nn.Module, float]], config: OptimiserConfig) -> tuple[AdamW, LambdaLR]:
    """AdamW over modules, each with a factor on the learning rate, and its schedule."""
    groups = []
    for module, factor in modules:
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        rate = config.learning_rate * factor
        decayed = [parameter for parameter in parameters if parameter.ndim > NO_DECAY_DIMENSIONS]
        plain = [parameter for parameter in parameters if parameter.ndim <= NO_DECAY_DIMENSIONS]
        groups += [
            {"params": decayed, "lr": rate, "weight_decay": config.weight_decay},
            {"params": plain, "lr": rate, "weight_decay": 0.0},
        ]
    optimiser = AdamW([group for group in groups if group["params"]], lr=config.learning_rate)
    return optimiser, LambdaLR(optimiser, lambda step: rate_factor(step, config))


def rate_factor(step: int, config: OptimiserConfig) -> float:
    """Share of the learning rate at a step."""
    warm_up = config.warm_up * config.steps
    if step < warm_up:
        return (step + 1) / max(1.0, warm_up)
    done = (step - warm_up) / max(1.0, config.steps - warm_up)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def averaged(module: nn.Module, config: OptimiserConfig) -> AveragedModel:
    """The exponential average of a module's weights and of its norms' statistics."""
    decay = get_ema_multi_avg_fn(config.average)  # type: ignore[no-untyped-call]  # torch does not type it
    return AveragedModel(module, multi_avg_fn=decay, use_buffers=True)


def clip(fabric: Fabric, module: nn.Module, optimiser: Optimizer, config: OptimiserConfig, step: int) -> Tensor:
    """Scale the gradient down to the largest norm, and say what it was.

    Raises:
        LossNotFinite: The gradient is not finite.
    """
    norm = fabric.clip_gradients(module, optimiser, max_norm=config.clip, error_if_nonfinite=False)
    refuse_non_finite({"gradient": cast("Tensor", norm)}, step)
    return cast("Tensor", norm)


def ramp(step: int, *, steps: int, share: float) -> float:
    """0 at the start, 1 after a share of the steps."""
    return min(1.0, step / (share * steps)) if share > 0 else 1.0


def refuse_non_finite(terms: Mapping[str, Tensor], step: int) -> None:
    """Stop before a NaN reaches the weights.

    Raises:
        LossNotFinite: With the first term that is not finite.
    """
    for name, value in terms.items():
        if not bool(torch.isfinite(value)):
            raise LossNotFinite(term=name, value=str(value.item()), step=step)
