"""The linear probe in closed form: linear discriminant analysis of what the model sees, from sums over its places."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Final, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from contract.errors import TrainingStopped
from training.augment import augment
from training.data.chips import Batch, Chips
from training.losses.classification import IGNORED
from training.models.doubt import DoubtHeads
from training.models.layers import STRIDE, upsample
from training.models.mapping import MappingModel
from training.models.surroundings import CELL_PX
from training.probe import ProbeConfig, augmented_view
from training.raw_noise import Changes, changes, fit_raw_noise
from training.run import Run
from training.tensors import Inputs

LEAST_SPREAD: Final = 1e-6
"""Standard deviation of a feature that never changes."""
PARTS: Final = {"nothing": 1, "pixel": 2, "surroundings": 3}
"""How many of `read_outs` a probe reads."""
UNSEEN_SHARE: Final = 1e-4
"""Most that a class without a labelled pixel is given, as a share of the likeliest: it is all but never said."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments:
    """Sums over the labelled locations of each place, in double precision. All that the closed form needs."""

    counts: Tensor
    """(P, K): locations of each class."""
    sums: Tensor
    """(P, K, D): of the features."""
    squares: Tensor
    """(P, D, D): of the features' outer products, with the variance of the embedding: the probe reads draws of it."""
    changes: Changes
    """What noise and blur do to the raw bands of each place."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadOut:
    """A linear classifier of the features."""

    weight: Tensor
    """(K, D)."""
    bias: Tensor
    """(K,)."""


def gather(
    fabric: Fabric, model: MappingModel, chips: Iterator[Batch], config: ProbeConfig, run: Run, places: Sequence[int]
) -> Moments:
    """What a model sees of labelled chips, in augmented views.

    Args:
        fabric: Where it runs.
        model: Stays as it is.
        chips: Batches of labelled chips.
        config: How they are augmented.
        run: The seed, and who watches.
        places: The place of each sample of the pool, as its number from 0 on.

    Raises:
        TrainingStopped: Someone asked to stop.
    """
    device, classes = fabric.device, len(model.legend.classes)
    model = model.to(device).eval()
    of_sample = torch.tensor(places, device=device)
    count, width = (
        int(of_sample.max()) + 1,
        sum(plane.in_channels for plane in read_outs(model)[: PARTS[config.beside]]),
    )
    shapes = ((count, classes), (count, classes, width), (count, width, width))
    counts, sums, squares = (torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes)
    changed: list[Changes] = []
    for step, batch in enumerate(chips):
        seen = Chips.of(fabric.to_device(batch))
        generator = run.generator(step, fabric)
        view, target = augmented_view(seen, config.augment, generator)
        target = target[:, ::STRIDE, ::STRIDE].flatten(1)  # one pixel of each location; turns decide which
        features, variance = _features(model, view, PARTS[config.beside])
        for chip, place in enumerate(of_sample[seen.image].tolist()):
            known = target[chip] != IGNORED
            rows, labels = features[chip, known].double(), target[chip, known]
            counts[place] += torch.bincount(labels, minlength=classes)
            sums[place].index_add_(0, labels, rows)
            squares[place] += rows.T @ rows
            squares[place].diagonal()[: variance.shape[2]] += variance[chip, known].double().sum(dim=0)
        noisy = augment(seen.inputs, config.noise, generator)
        changed.append(changes(model, seen.inputs, noisy, of_sample[seen.image]))
        run.watch(step, {})
        if run.stop():
            raise TrainingStopped
    summed = [cast("Tensor", fabric.all_reduce(plane, reduce_op="sum")).cpu() for plane in (counts, sums, squares)]
    together = {plane.name: torch.cat([getattr(each, plane.name) for each in changed]) for plane in fields(Changes)}
    every = {name: _of_all_devices(fabric, rows) for name, rows in together.items()}
    return Moments(counts=summed[0], sums=summed[1], squares=summed[2], changes=Changes(**every))


def solve(moments: Moments, drawn: Tensor, config: ProbeConfig, weights: Tensor) -> ReadOut:
    """Fisher's discriminants (Hastie, Tibshirani, Friedman 2009, section 4.3) with a shrunk covariance.

    Args:
        moments: Of P places.
        drawn: (P,): how often each place counts.
        config: Which features are read, and how far the covariance is shrunk.
        weights: Of each class, (K,): factors on its share of the pixels, which together are its prior.
    """
    drawn = drawn.double()
    counts = torch.einsum("p,pk->k", drawn, moments.counts)
    sums = torch.einsum("p,pkd->kd", drawn, moments.sums)
    centre, spread = _spread(moments, drawn)
    total, present = counts.sum(), counts > 0
    apart = torch.where(present[:, None], sums / counts.clamp_min(1)[:, None] - centre, 0.0)  # (K, D)
    within = spread - torch.einsum("k,kd,ke->de", counts / total, apart, apart)
    scale = spread.diagonal().clamp_min(LEAST_SPREAD**2).sqrt()
    # Shrunk towards equal variances of standardised features: places differ in more than their samples show.
    within = within / torch.outer(scale, scale)
    floor = config.shrinkage * within.diagonal().mean() * torch.eye(len(scale), dtype=torch.float64)
    weight = torch.linalg.solve((1 - config.shrinkage) * within + floor, (apart / scale).T).T / scale
    prior = (counts / total * weights.double()).clamp_min(UNSEEN_SHARE)
    bias = prior.log() - 0.5 * (weight * apart).sum(dim=1) - weight @ centre
    # The mean logit, weighted by counts, is the same everywhere, and the highest is never below it. From the prior alone, an
    # unseen class would win in the middle between classes that lie far apart.
    bias = torch.where(present, bias, counts @ bias / total + math.log(UNSEEN_SHARE))
    return ReadOut(weight=weight, bias=bias)


def fit_probe(model: MappingModel, moments: Moments, drawn: Tensor, config: ProbeConfig, weights: Tensor) -> None:
    """Set a model's probe to what is solved; and what it reads beside the embedding, to how noisy and how usual that is."""
    take_over(model, [solve(moments, drawn, config, weights)])
    fit_raw_noise(model, moments.changes, drawn)
    if config.beside == "surroundings":
        centre, spread = _spread(moments, drawn.double())
        around = model.on_surroundings.in_channels
        model.usual.fit(centre[-around:], spread[-around:, -around:], config.shrinkage)


@torch.no_grad()
def take_over(module: MappingModel | DoubtHeads, found: Sequence[ReadOut]) -> None:
    """Set the weights of a probe, or of several heads, to what was solved for each; 0 for what is not read."""
    weight = torch.cat([each.weight for each in found]).float()[:, :, None, None]
    first = 0
    for plane in read_outs(module):
        part = weight[:, first : first + plane.in_channels]
        plane.weight.copy_(part if part.shape[1] else torch.zeros_like(plane.weight))
        first += plane.in_channels
    module.on_raw.bias.copy_(torch.cat([each.bias for each in found]).float())  # type: ignore[union-attr]  # has a bias


def read_outs(module: MappingModel | DoubtHeads) -> tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d]:
    """The parts of a probe, or of several heads, in the order of the features: embedding, raw, surroundings."""
    return module.on_embedding, module.on_raw, module.on_surroundings


def _spread(moments: Moments, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of the features over all classes."""
    total = torch.einsum("p,pk->", drawn, moments.counts)
    centre = torch.einsum("p,pkd->d", drawn, moments.sums) / total
    squares = torch.einsum("p,pde->de", drawn, moments.squares) / total
    return centre, squares - torch.outer(centre, centre)


def _of_all_devices(fabric: Fabric, rows: Tensor) -> Tensor:
    """The rows (R, ...) of each device, one after the other."""
    gathered = cast("Tensor", fabric.all_gather(rows))  # (devices, R, ...), of one device (R, ...)
    return gathered.reshape(-1, *rows.shape[1:]).cpu()


@torch.no_grad()
def _features(model: MappingModel, view: Inputs, parts: int) -> tuple[Tensor, Tensor]:
    """What the probe reads at each location, (N, h * w, D), and the variance of its first d, (N, h * w, d)."""
    expert = model.encoder(view, model.expert_weights)
    raw = model.raw(view)
    around = upsample(model.surroundings(raw, view), CELL_PX // STRIDE)
    planes = (expert.mean, raw[:, :, ::STRIDE, ::STRIDE], around)[:parts]
    sampled = expert.variance if model.encoder.config.variational else torch.zeros_like(expert.variance)
    return torch.cat(planes, dim=1).flatten(2).mT, sampled.flatten(2).mT
