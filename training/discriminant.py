"""The linear probe in closed form: linear discriminant analysis of what the model sees, from sums over its places."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Final, TypeVar, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional

from contract.errors import TrainingStopped
from training.augment import augment
from training.data.chips import Batch, Chips
from training.losses.classification import IGNORED
from training.missing import ReadOut, Views, in_common, missing
from training.models.doubt import DoubtHeads
from training.models.encoder import fused
from training.models.layers import STRIDE, upsample
from training.models.mapping import MappingModel
from training.models.raw import raw_channels_of
from training.models.sensor_sets import SENSOR_SETS, SETS, shown_to
from training.models.surroundings import CELL_PX
from training.probe import ProbeConfig, augmented_view
from training.raw_noise import Changes, changes, fit_raw_noise
from training.run import Run
from training.tensors import Inputs

LEAST_SPREAD: Final = 1e-6
"""Standard deviation of a feature that never changes."""
PARTS: Final = {"nothing": 1, "pixel": 2, "surroundings": 3}
"""How many of a model's `widths` a probe reads."""
Rows = TypeVar("Rows", Changes, Views)
UNSEEN_SHARE: Final = 1e-4
"""Most that a class without a labelled pixel is given, as a share of the likeliest: it is all but never said."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments:
    """Sums over the labelled locations of each place that a set of sensors sees, in double precision."""

    counts: Tensor
    """(P, K): locations of each class."""
    sums: Tensor
    """(P, K, D): of the features."""
    squares: Tensor
    """(P, D, D): of the features' outer products, with the variance of the embedding: the probe reads draws of it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gathered:
    """All that closed forms need of P places."""

    of_set: tuple[Moments, ...]
    """Of each set of sensors. Those of both are of views of which some lack a sensor: what fails as soon as one changes is
    not relied upon."""
    changes: Changes
    """What noise and blur do to the raw bands of each place."""
    views: Views
    """What each set of sensors makes of the same ground."""


def gather(
    fabric: Fabric, model: MappingModel, chips: Iterator[Batch], config: ProbeConfig, run: Run, places: Sequence[int]
) -> Gathered:
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
    count = int(of_sample.max()) + 1
    width = sum(model.widths[: PARTS[config.beside]])
    shapes = ((count, classes), (count, classes, width), (count, width, width))
    counts, sums, squares = (torch.zeros((SETS, *shape), dtype=torch.float64, device=device) for shape in shapes)
    changed: list[Changes] = []
    viewed: list[Views] = []
    for step, batch in enumerate(chips):
        seen = Chips.of(fabric.to_device(batch))
        generator = run.generator(step, fabric)
        view, target = augmented_view(seen, config.augment, generator)
        target = target[:, ::STRIDE, ::STRIDE].flatten(1)  # one pixel of each location; turns decide which
        place = of_sample[seen.image]
        features, variance, shown = _features(model, view, PARTS[config.beside])
        for number, chip in itertools.product(range(SETS), range(len(place))):
            known = (target[chip] != IGNORED) & shown[number, chip]
            rows, labels = features[number, chip, known].double(), target[chip, known]
            counts[number, place[chip]] += torch.bincount(labels, minlength=classes)
            sums[number, place[chip]].index_add_(0, labels, rows)
            total = squares[number, place[chip]]
            total += rows.T @ rows
            total.diagonal()[: variance.shape[3]] += variance[number, chip, known].double().sum(dim=0)
        viewed.append(in_common(features, shown, place))
        changed.append(changes(model, seen.inputs, augment(seen.inputs, config.noise, generator), place))
        run.watch(step, {})
        if run.stop():
            raise TrainingStopped
    summed = [cast("Tensor", fabric.all_reduce(plane, reduce_op="sum")).cpu() for plane in (counts, sums, squares)]
    return Gathered(
        of_set=tuple(Moments(counts=n, sums=s, squares=q) for n, s, q in zip(*summed, strict=True)),
        changes=_together(fabric, changed),
        views=_together(fabric, viewed),
    )


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


def fit_probe(model: MappingModel, found: Gathered, drawn: Tensor, config: ProbeConfig, weights: Tensor) -> None:
    """Set a model's probes to what is solved, and with them how usual and how noisy what they read is, and what is missing."""
    labelled = [bool(moments.counts[drawn > 0].any()) for moments in found.of_set]
    made = [
        # Of an archive of one sensor, nothing is known of the other alone: it is read as it is beside the first.
        solve(moments if known else found.of_set[0], drawn, config, weights)
        for moments, known in zip(found.of_set, labelled, strict=True)
    ]
    take_over(model, made)
    model.missing.copy_(missing(found.views, made, drawn))
    fit_raw_noise(model, found.changes, drawn)
    if config.beside == "surroundings":
        around = model.on_surroundings.in_channels
        for usual, moments in itertools.compress(zip(model.usual_ground, found.of_set, strict=True), labelled):
            centre, spread = _spread(moments, drawn.double())
            usual.fit(centre[-around:], spread[-around:, -around:], config.shrinkage)


@torch.no_grad()
def take_over(module: MappingModel | DoubtHeads, found: Sequence[ReadOut]) -> None:
    """Set the weights of a model's probes, or of several heads, to what was solved for each; 0 for what is not read."""
    weight, bias = (
        torch.cat(parts).float() for parts in zip(*((each.weight, each.bias) for each in found), strict=True)
    )
    read = functional.pad(weight, (0, sum(module.widths) - weight.shape[1]))[:, :, None, None]
    of_embedding, of_raw, of_surroundings = torch.split(read, list(module.widths), dim=1)
    if isinstance(module, MappingModel):
        both, *alone = of_raw.chunk(SETS)
        channels = [raw_channels_of(module.encoder.bands, sensors)[:, None, None] for sensors in SENSOR_SETS[1:]]
        of_raw = torch.cat([both, (torch.stack(alone) * torch.stack(channels)[:, None]).sum(dim=0)], dim=1)
    module.on_embedding.weight.copy_(of_embedding)
    module.on_embedding.bias.copy_(bias)  # type: ignore[union-attr]  # has a bias
    module.on_raw.weight.copy_(of_raw)
    module.on_surroundings.weight.copy_(of_surroundings)


def _spread(moments: Moments, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of the features over all classes."""
    total = torch.einsum("p,pk->", drawn, moments.counts)
    centre = torch.einsum("p,pkd->d", drawn, moments.sums) / total
    squares = torch.einsum("p,pde->de", drawn, moments.squares) / total
    return centre, squares - torch.outer(centre, centre)


def _together(fabric: Fabric, parts: Sequence[Rows]) -> Rows:
    """The rows of every batch and of every device, one after the other."""
    names = [plane.name for plane in fields(parts[0])]
    planes = {name: torch.cat([getattr(each, name) for each in parts]) for name in names}
    return type(parts[0])(**{name: _of_all_devices(fabric, rows) for name, rows in planes.items()})


def _of_all_devices(fabric: Fabric, rows: Tensor) -> Tensor:
    """The rows (R, ...) of each device, one after the other."""
    gathered = cast("Tensor", fabric.all_gather(rows))  # (devices, R, ...), of one device (R, ...)
    return gathered.reshape(-1, *rows.shape[1:]).cpu()


@torch.no_grad()
def _features(model: MappingModel, view: Inputs, parts: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the probe of each set of sensors reads at each location, the variance of its first d, and where it sees anything.

    (S, N, h * w, D), (S, N, h * w, d), (S, N, h * w) bool.
    """
    experts, variational = model.encoder.experts(view), model.encoder.config.variational
    found = []
    for sensors in SENSOR_SETS:
        shown = shown_to(view, sensors)
        expert, raw = fused(experts, shown, model.weights), model.raw(shown)
        around = upsample(model.surroundings(raw, shown), CELL_PX // STRIDE)
        read = torch.cat((expert.mean, raw[:, :, ::STRIDE, ::STRIDE], around)[:parts], dim=1)
        seen = torch.maximum(shown.s2_valid, shown.s1_valid)[:, :, ::STRIDE, ::STRIDE] > 0
        found.append((read, expert.variance * variational, seen))
    features, variance, seen = (torch.stack(planes).flatten(3).mT for planes in zip(*found, strict=True))
    return features, variance, seen[..., 0]
