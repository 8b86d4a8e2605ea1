"""Pre-training: two sensors look at the same ground, and their experts learn to find each other."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, Self, cast

import torch
from lightning_fabric import Fabric
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from contract.errors import EmbeddingCollapsed
from contract.record import Record
from training.augment import AugmentConfig, apply_d4, augment, undo_d4
from training.data.chips import Batch, Chips
from training.losses.contrastive import contrastive_loss
from training.losses.divergence import divergence_loss, divergence_per_dimension
from training.models.encoder import SEEN, Encoder, seen_shares
from training.models.expert import Expert
from training.models.layers import STRIDE
from training.optimise import OptimiserConfig, averaged, clip, make_optimiser, ramp, refuse_non_finite
from training.run import Run
from training.tensors import Inputs
from training.variances import VarianceConfig, restoration

VARIANCE_RATE: Final = 10.0
"""Learning rate of the variances, of the means': they follow what the means leave open, which changes with every step."""


class PretrainConfig(Record):
    """How an encoder is pre-trained."""

    level: Literal["dense", "patch"] = "dense"
    """dense: positions are compared, for maps. patch: whole chips are, as in the literature."""
    chips: int = Field(default=32, ge=2)
    """Pairs in a batch."""
    chip_px: int = Field(default=64, ge=16, multiple_of=8)
    reach_px: int = Field(default=32, ge=0)
    """How far the two sensors' chips of a pair may lie apart, per axis."""
    pairs: Literal["independent", "common"] = "independent"
    """Whether each sensor's chip starts at a pixel of its own."""
    positions: int = Field(default=8, ge=1)
    """Compared in each chip (dense)."""
    draws: int = Field(default=4, ge=1)
    """Samples of each expert."""
    combine: Literal["log-mean-exp", "mean"] = "log-mean-exp"
    """How the draws' likelihoods become one."""
    head: Literal["none", "mlp"] = "none"
    """mlp: a projection after the sample. Kept for comparison: sigma loses its meaning with it."""
    temperature: float = Field(default=0.1, gt=0)
    divergence_weight: float = Field(default=0.03, ge=0)
    divergence_warm_up: float = Field(default=0.3, ge=0, le=1)
    """Share of the steps over which the weight rises from 0."""
    free_nats: float = Field(default=0.02, ge=0)
    """Per dimension."""
    collapse_nats: float = Field(default=0.02, ge=0)
    """Divergence per dimension below which the embedding has collapsed and training stops."""
    restoration_weight: float = Field(default=0.1, ge=0)
    """Of what the views leave open of the embedding of clear ground. Contrast alone does not teach sigma: a draw that strays
    never finds its other half more often than the mean does. 0: sigma is what contrast made of it."""
    variances: VarianceConfig = VarianceConfig()
    """How variances are fitted once the means are learnt."""
    optimiser: OptimiserConfig = OptimiserConfig()
    augment: AugmentConfig = AugmentConfig(
        s2_noise=0.02,
        s1_noise_db=1.0,
        speckle_share=0.3,
        cloud_share=0.25,
        box_share=0.15,
        flat_band_share=0,
        noise_band_share=0,
        s2_dropped_share=0,
        s1_dropped_share=0,
    )
    """A pair needs both sensors: no modality dropout. The two sensors differ enough already: with as much ambiguity as
    probes take, embeddings learnt less."""

    @property
    def steps(self) -> int:
        """Batches that are taken."""
        return self.optimiser.steps + (self.variances.optimiser.steps if self.restoration_weight else 0)

    @model_validator(mode="after")
    def _chips_of_a_pair_overlap(self) -> Self:
        if self.pairs == "independent" and self.reach_px >= self.chip_px:
            raise ValueError(f"reach_px {self.reach_px} leaves no common ground in chips of {self.chip_px} px")
        return self


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matched:
    """Experts of the same ground: a row for each position, or for each chip."""

    first: Expert
    """Sentinel-2's moments, (n, d)."""
    second: Expert
    """Sentinel-1's moments, (n, d)."""
    image: Tensor
    """(n,): which image each row is of."""


def pretrain(fabric: Fabric, encoder: Encoder, chips: Iterator[Batch], config: PretrainConfig, run: Run) -> Encoder:
    """The averaged encoder after all steps.

    Args:
        fabric: Where it runs, and in which precision.
        encoder: Trained in place; the average is a copy.
        chips: Batches of pairs, from the step on that the run has reached.
        config: How.
        run: Logs, checkpoints and the seed.

    Raises:
        LossNotFinite: A term of the loss is NaN or infinite.
        EmbeddingCollapsed: The experts fell back to the prior.
    """
    average = averaged(encoder, config.optimiser)
    head = _head(encoder.config.latent, config)
    optimiser, schedule = make_optimiser(_parts(encoder, head), config.optimiser)
    trained = nn.ModuleDict({"encoder": encoder, "head": head})
    state = {"trained": trained, "average": average, "optimiser": optimiser, "schedule": schedule}
    model, wrapped = fabric.setup(Contrast(encoder, head, config), optimiser)
    average = average.to(fabric.device)
    for step in range(run.restore(fabric, state), config.optimiser.steps):
        generator = run.generator(step, fabric)
        batch = fabric.to_device(next(chips))
        terms = model(batch, generator)
        weight = config.divergence_weight * ramp(step, steps=config.optimiser.steps, share=config.divergence_warm_up)
        refuse_non_finite(terms, step)
        loss = terms["contrastive"] + weight * terms["divergence"]
        if "restoration" in terms:
            loss = loss + config.restoration_weight * terms["restoration"]
        fabric.backward(loss)
        norm = clip(fabric, model, wrapped, config.optimiser, step)
        wrapped.step()
        wrapped.zero_grad()
        schedule.step()
        average.update_parameters(encoder)
        _refuse_collapse(terms["divergence_per_dimension"], step, config, encoder)
        run.log(step, {**terms, "gradient_norm": norm, "divergence_weight": weight})
        run.keep(fabric, state, step + 1)
    return cast("Encoder", average.module)


class Contrast(nn.Module):
    """The loss of a batch as one module, so that it can be spread over devices."""

    def __init__(self, encoder: Encoder, head: nn.Module, config: PretrainConfig) -> None:
        super().__init__()
        self.encoder, self.head, self.config = encoder, head, config

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Terms of the loss, in nats."""
        config = self.config
        chips = Chips.of(batch)
        first, second, seen = _views(self.encoder, chips, config, generator)
        matched = match(first, second, seen, chips, config, generator)
        moments = matched.first, matched.second
        per_dimension = torch.stack([divergence_per_dimension(e.mean, e.log_variance) for e in moments]).mean(dim=0)
        draws = [self._draws(expert, generator) for expert in moments]
        terms = {
            "contrastive": contrastive_loss(
                draws[0], draws[1], matched.image, temperature=config.temperature, combine=config.combine
            ),
            "divergence": divergence_loss(per_dimension, free_nats=config.free_nats),
            "divergence_per_dimension": per_dimension.mean().detach(),
        }
        if self.encoder.config.variational and config.restoration_weight:
            terms["restoration"] = restoration(self.encoder, (first, second), chips.inputs)
        return terms

    def _draws(self, expert: Expert, generator: torch.Generator) -> Tensor:
        """Points on the unit sphere that stand for the experts, (S, n, d); without sigma, the means alone."""
        variational = self.encoder.config.variational
        drawn = expert.sample(self.config.draws, generator) if variational else expert.mean[None]
        return functional.normalize(self.head(drawn), dim=-1)


def _views(
    encoder: Encoder, batch: Chips, config: PretrainConfig, generator: torch.Generator
) -> tuple[Expert, Expert, tuple[Tensor, Tensor]]:
    """Both sensors' experts, each of its own augmentation and orientation, turned back; and where each has seen."""
    view = augment(batch.inputs, config.augment, generator)
    count = len(view.s2)
    turns = [torch.randint(8, (count,), generator=generator, device=generator.device) for _ in range(2)]
    turned = Inputs(
        s2=apply_d4(view.s2, turns[0]),
        s2_valid=apply_d4(view.s2_valid, turns[0]),
        s1=apply_d4(view.s1, turns[1]),
        s1_valid=apply_d4(view.s1_valid, turns[1]),
    )
    experts = [
        Expert(mean=undo_d4(expert.mean, turn), log_variance=undo_d4(expert.log_variance, turn))
        for expert, turn in zip(encoder.experts(turned), turns, strict=True)
    ]
    return experts[0], experts[1], seen_shares(view)


def match(
    first: Expert,
    second: Expert,
    seen: tuple[Tensor, Tensor],
    batch: Chips,
    config: PretrainConfig,
    generator: torch.Generator,
) -> Matched:
    """Experts of positions that both sensors observed, drawn from the overlap of their chips by ground position.

    Args:
        first: Sentinel-2's, (N, d, h, w).
        second: Sentinel-1's, (N, d, h, w).
        seen: Share of observed pixels at each location, (N, 1, h, w) each.
        batch: Where the chips lie.
        config: Positions per chip; with level "patch", the means over each chip are compared.
        generator: Draws the positions.
    """
    if config.level == "patch":
        return _pooled(first, second, seen, batch)
    cells = batch.offsets // STRIDE  # (N, 2 sensors, 2 axes)
    side = first.mean.shape[-1]
    start, end = cells.amax(dim=1), cells.amin(dim=1) + side  # (N, 2): the overlap
    drawn = torch.rand(len(cells), config.positions, 2, generator=generator, device=cells.device)
    ground = start[:, None] + (drawn * (end - start)[:, None]).long()  # (N, P, 2)
    rows = []
    for sensor, expert in enumerate((first, second)):
        place = ground - cells[:, sensor, None]
        index = (place[..., 0] * side + place[..., 1])[:, None]  # (N, 1, P)
        rows.append([_gather(plane, index) for plane in (expert.mean, expert.log_variance, seen[sensor])])
    keep = torch.minimum(rows[0][2], rows[1][2])[:, 0] >= SEEN  # (N * P,)
    image = batch.image.repeat_interleave(config.positions)
    return Matched(
        first=Expert(mean=rows[0][0][keep], log_variance=rows[0][1][keep]),
        second=Expert(mean=rows[1][0][keep], log_variance=rows[1][1][keep]),
        image=image[keep],
    )


def _gather(plane: Tensor, index: Tensor) -> Tensor:
    """(N, C, h, w) at flat positions (N, 1, P) -> (N * P, C)."""
    channels = plane.shape[1]
    picked = plane.flatten(2).gather(2, index.expand(-1, channels, -1))  # (N, C, P)
    return picked.transpose(1, 2).reshape(-1, channels)


def _pooled(first: Expert, second: Expert, seen: tuple[Tensor, Tensor], batch: Chips) -> Matched:
    keep = torch.minimum(seen[0].mean(dim=(1, 2, 3)), seen[1].mean(dim=(1, 2, 3))) > 0
    experts = []
    for expert, share in zip((first, second), seen, strict=True):
        weight = share / share.sum(dim=(2, 3), keepdim=True).clamp_min(1)
        mean = (expert.mean * weight).sum(dim=(2, 3))
        variance = (expert.variance * weight).sum(dim=(2, 3))
        experts.append(Expert(mean=mean[keep], log_variance=variance.clamp_min(1e-4).log()[keep]))
    return Matched(first=experts[0], second=experts[1], image=batch.image[keep])


def _head(latent: int, config: PretrainConfig) -> nn.Module:
    if config.head == "none":
        return nn.Identity()
    return nn.Sequential(nn.Linear(latent, latent), nn.ReLU(), nn.Linear(latent, latent))


def _parts(encoder: Encoder, head: nn.Module) -> list[tuple[nn.Module, float]]:
    """What is trained, with factors on the learning rate."""
    branches = (encoder.s2, encoder.s1)
    rest = nn.ModuleList([head, *(part for branch in branches for part in (branch.trunk, branch.mean))])
    if not encoder.config.variational:
        return [(rest, 1.0)]
    return [(rest, 1.0), (nn.ModuleList([branch.log_variance for branch in branches]), VARIANCE_RATE)]


def _refuse_collapse(nats: Tensor, step: int, config: PretrainConfig, encoder: Encoder) -> None:
    warm_up = config.divergence_warm_up * config.optimiser.steps
    if encoder.config.variational and step >= warm_up and float(nats) < config.collapse_nats:
        raise EmbeddingCollapsed(
            measure="divergence per dimension, nats", value=float(nats), limit=config.collapse_nats, step=step
        )
