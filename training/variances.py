"""The last part of pre-training: experts' variances alone, fitted to what augmentation hides of clear ground."""

from collections.abc import Iterator
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from contract.errors import TrainingStopped
from contract.record import Record
from training.augment import AugmentConfig, augment
from training.data.chips import Batch, Chips
from training.losses.restoration import restoration_loss
from training.models.encoder import SEEN, Encoder, seen_shares
from training.models.expert import Expert
from training.optimise import OptimiserConfig, averaged, clip, make_optimiser, refuse_non_finite
from training.run import Run
from training.tensors import Inputs


class VarianceConfig(Record):
    """How variances are fitted."""

    optimiser: OptimiserConfig = OptimiserConfig(steps=200, learning_rate=0.1, weight_decay=0)
    augment: AugmentConfig = AugmentConfig(
        s2_noise=0.04,
        s1_offset_db=0.5,
        s1_band_offset_db=0.3,
        s1_noise_db=2.0,
        flat_band_share=0,
        noise_band_share=0,
        s2_dropped_share=0,
        s1_dropped_share=0,
    )
    """Clouds and speckle on half of the chips: means are not spoiled by them any more. Radar's offsets are those of its
    calibration alone: wider ones would move open water, whose embeddings lie far out, more than speckle moves land."""


def fit_variances(
    fabric: Fabric, encoder: Encoder, chips: Iterator[Batch], config: VarianceConfig, run: Run
) -> Encoder:
    """The encoder with fitted variances. Its means stay, number for number.

    Variances are exponentials of a linear layer on frozen features, so the loss is convex: few steps do, and contrast, which
    any noise disturbs, has no say in them.

    Args:
        fabric: Where it runs, and in which precision.
        encoder: With sigma. Trained in place; the average is a copy.
        chips: Batches of pairs.
        config: How.
        run: The seed, and who watches.

    Raises:
        LossNotFinite: The loss is NaN or infinite.
        TrainingStopped: Someone asked to stop.
    """
    textures = [branch.texture for branch in (encoder.s2, encoder.s1) if branch.texture is not None]
    heads = nn.ModuleList([encoder.s2.log_variance, encoder.s1.log_variance, *textures])
    frozen = encoder.eval().requires_grad_(requires_grad=False)
    heads.requires_grad_(requires_grad=True)
    average = averaged(frozen, config.optimiser)
    optimiser, schedule = make_optimiser([(heads, 1.0)], config.optimiser)
    model, wrapped = fabric.setup(Restoration(frozen, config.augment), optimiser)
    average = average.to(fabric.device)
    for step, batch in enumerate(chips):
        terms = {"restoration": model(fabric.to_device(batch), run.generator(step, fabric))}
        refuse_non_finite(terms, step)
        fabric.backward(terms["restoration"])
        clip(fabric, model, wrapped, config.optimiser, step)
        wrapped.step()
        wrapped.zero_grad()
        schedule.step()
        average.update_parameters(frozen)
        run.watch(step, {name: float(term.detach()) for name, term in terms.items()})
        if run.stop():
            raise TrainingStopped
    return cast("Encoder", average.module.requires_grad_(requires_grad=True))


class Restoration(nn.Module):
    """The loss of a batch as one module, so that it can be spread over devices."""

    def __init__(self, encoder: Encoder, config: AugmentConfig) -> None:
        super().__init__()
        self.encoder, self.config = encoder, config

    def forward(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """In nats per dimension, the mean of both sensors."""
        inputs = Chips.of(batch).inputs
        view = augment(inputs, self.config, generator)
        return restoration(self.encoder, self.encoder.experts(view), inputs)


def restoration(encoder: Encoder, spoiled: tuple[Expert, Expert], inputs: Inputs) -> Tensor:
    """Mean restoration loss of both sensors' experts of a view, against the encoder's own of the chips as they are."""
    with torch.no_grad():
        clear = encoder.experts(inputs)
    seen = [(share >= SEEN).float() for share in seen_shares(inputs)]
    losses = [
        restoration_loss(view, whole.mean, share) for view, whole, share in zip(spoiled, clear, seen, strict=True)
    ]
    return torch.stack(losses).mean()
