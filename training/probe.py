"""How labels are learnt; and fine-tuning: encoder and probe together, under mean-field probabilities."""

from collections.abc import Iterator
from typing import Final, Literal, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from contract.record import Record
from training.augment import AugmentConfig, apply_d4, augment, random_d4
from training.data.chips import Batch, Chips
from training.losses.classification import IGNORED, classification_loss
from training.losses.divergence import divergence_loss, divergence_per_dimension
from training.models.mapping import MappingModel
from training.optimise import OptimiserConfig, averaged, clip, make_optimiser, refuse_non_finite
from training.run import Run
from training.tensors import Inputs

RAREST: Final = 0.02
"""Share of pixels below which a class gets no more weight: a handful of pixels would outweigh everything else."""


class ProbeConfig(Record):
    """How labels are learnt."""

    encoder: Literal["frozen", "trained"] = "frozen"
    """frozen: a linear probe in closed form. trained: from there on, both by gradient: fine-tuning, or training from
    scratch where nothing was pre-trained."""
    batches: int = Field(default=100, ge=1)
    """Of augmented chips, from which the closed form is computed."""
    shrinkage: float = Field(default=0.1, ge=0, lt=1)
    """Share of the features' covariance that is equal variances: with few places, more."""
    s1_trust: float = Field(default=0.5, gt=0)
    """How much Sentinel-1's expert counts beside Sentinel-2's on usual ground; noise, clouds and speckle change that."""
    beside: Literal["nothing", "pixel", "surroundings"] = "surroundings"
    """What the probe reads beside the embedding: bands and indices of the pixel, and what lies around it."""
    encoder_rate: float = Field(default=0.3, gt=0)
    """Learning rate of a trained encoder, of the probe's."""
    labels: float = Field(default=1.0, gt=0, le=1)
    """Share of the labelled samples that are used, to see what few labels are worth; whole samples, by seed."""
    chips: int = Field(default=32, ge=1)
    chip_px: int = Field(default=96, ge=16, multiple_of=8)
    class_weights: Literal["none", "root", "inverse"] = "none"
    """Weights by class frequency to the power 0, -1/2 or -1."""
    smoothing: float = Field(default=0.05, ge=0, lt=1)
    """Label smoothing of a trained encoder's loss."""
    divergence_weight: float = Field(default=0.01, ge=0)
    """Of a trained encoder's experts from the prior; without sigma there is none."""
    optimiser: OptimiserConfig = OptimiserConfig()
    """Of a trained encoder."""
    augment: AugmentConfig = AugmentConfig(
        s2_noise=0.03,
        s1_noise_db=1.5,
        speckle_share=0.3,
        cloud_share=0,
        box_share=0,
        flat_band_share=0,
        noise_band_share=0,
    )
    """Without clouds and gaps: they are the encoder's to see, and sigma's to say. With noise and speckle: what surrounds a
    pixel holds texture, and noise is no texture."""

    noise: AugmentConfig = AugmentConfig(
        s2_noise=0.05,
        s1_noise_db=2.5,
        speckle_share=0.3,
        cloud_share=0,
        blur_share=0.5,
        box_share=0,
        flat_band_share=0,
        noise_band_share=0,
        s2_dropped_share=0,
        s1_dropped_share=0,
    )
    """What the variance of raw bands and surroundings has to answer for."""

    @property
    def steps(self) -> int:
        """Batches that are taken."""
        return self.batches + (self.optimiser.steps if self.encoder == "trained" else 0)


def fine_tune(
    fabric: Fabric, model: MappingModel, chips: Iterator[Batch], config: ProbeConfig, run: Run, weights: Tensor
) -> MappingModel:
    """The averaged model after all steps.

    Args:
        fabric: Where it runs, and in which precision.
        model: Trained in place; the average is a copy.
        chips: Batches of labelled chips, from the step on that the run has reached.
        config: How.
        run: Logs, checkpoints and the seed.
        weights: Of each class, (K,); see `class_weights`.

    Raises:
        LossNotFinite: A term of the loss is NaN or infinite.
    """
    probe = [model.on_embedding, model.on_raw, model.on_surroundings]
    for part, read in zip(probe[1:], (config.beside != "nothing", config.beside == "surroundings"), strict=True):
        part.weight.requires_grad_(read)
    parts = [(nn.ModuleList(probe), 1.0), (model.encoder, config.encoder_rate)]
    optimiser, schedule = make_optimiser(parts, config.optimiser)
    model.train()
    average = averaged(model, config.optimiser)
    state = {"trained": model, "average": average, "optimiser": optimiser, "schedule": schedule}
    wrapped_model, wrapped = fabric.setup(Supervision(model, config, weights), optimiser)
    average = average.to(fabric.device)
    divergence_weight = config.divergence_weight if model.encoder.config.variational else 0.0
    for step in range(run.restore(fabric, state), config.optimiser.steps):
        batch = fabric.to_device(next(chips))
        terms = wrapped_model(batch, run.generator(step, fabric))
        refuse_non_finite(terms, step)
        fabric.backward(terms["classification"] + divergence_weight * terms["divergence"])
        clip(fabric, wrapped_model, wrapped, config.optimiser, step)
        wrapped.step()
        wrapped.zero_grad()
        schedule.step()
        average.update_parameters(model)
        run.log(step, terms)
        run.keep(fabric, state, step + 1)
    return cast("MappingModel", average.module.eval())


class Supervision(nn.Module):
    """The loss of a batch of labelled chips as one module."""

    weights: Tensor

    def __init__(self, model: MappingModel, config: ProbeConfig, weights: Tensor) -> None:
        super().__init__()
        self.model, self.config = model, config
        self.register_buffer("weights", weights)

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Terms of the loss, in nats."""
        view, target = augmented_view(Chips.of(batch), self.config.augment, generator)
        logits, expert = self.model.logits(view)
        per_dimension = divergence_per_dimension(*(_rows(plane) for plane in (expert.mean, expert.log_variance)))
        return {
            "classification": classification_loss(
                logits.mean_field,
                target,
                class_weights=self.weights,
                smoothing=self.config.smoothing,
            ),
            "divergence": divergence_loss(per_dimension, free_nats=0.0),
        }


def augmented_view(chips: Chips, config: AugmentConfig, generator: torch.Generator) -> tuple[Inputs, Tensor]:
    """Chips turned and augmented, and (N, H, W) class indices, `IGNORED` where the view shows nothing."""
    turned, elements = random_d4(chips.inputs, generator)
    view = augment(turned, config, generator)
    seen = torch.maximum(view.s2_valid, view.s1_valid)[:, 0] > 0
    return view, apply_d4(chips.target, elements).masked_fill(~seen, IGNORED)


def class_weights(pixels: NDArray[np.int64], config: ProbeConfig) -> Tensor:
    """Weights of mean 1 over the labelled pixels, (K,), from the pixels of each class; 0 for a class without any."""
    power = {"none": 0.0, "root": -0.5, "inverse": -1.0}[config.class_weights]
    counts = torch.from_numpy(pixels).double()
    share = counts / counts.sum()
    weights = torch.where(share > 0, share.clamp_min(RAREST) ** power, 0.0)
    return (weights / (weights * share).sum()).float()


def _rows(plane: Tensor) -> Tensor:
    """(N, d, h, w) -> (N * h * w, d)."""
    return plane.flatten(2).transpose(1, 2).flatten(0, 1)
