"""What a fitted model knows of its limits: heads on bootstraps of the places, and where its training ground lies."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.data.sample import Sample
from training.discriminant import Gathered, solve, take_over
from training.evaluate.exam import Conditions, inputs_of
from training.models.doubt import HEADS, DoubtHeads
from training.models.latents import Latents
from training.models.layers import STRIDE
from training.models.mapping import MappingModel
from training.probe import ProbeConfig
from training.tensors import Inputs


def doubt_of(model: MappingModel, found: Gathered, config: ProbeConfig, weights: Tensor, seed: int) -> DoubtHeads:
    """The closed form of both sensors' probe on `HEADS` bootstraps of the places."""
    heads = model.new_doubt()
    both = found.of_set[0]
    draws = place_draws(len(both.counts), seed)
    take_over(heads, [solve(both, drawn, config, weights) for drawn in draws])
    return heads


def place_draws(places: int, seed: int) -> Tensor:
    """How often each head has drawn each place, (M, places): as many as there are, with replacement."""
    drawn = np.random.default_rng(seed).integers(0, places, (HEADS, places))
    return torch.from_numpy(np.stack([np.bincount(head, minlength=places) for head in drawn]))


def fit_latents(model: MappingModel, samples: Iterable[Sample], conditions: Conditions) -> Latents:
    """Where the embeddings of samples lie, as they are seen under conditions. All that any sensor saw counts alike."""
    latent = model.encoder.config.latent
    count, total, squares = 0, torch.zeros(latent).double(), torch.zeros(latent, latent).double()
    for sample in samples:
        rows = _embeddings(model, conditions.padded(inputs_of(sample, model.encoder.bands)))
        count, total, squares = count + len(rows), total + rows.sum(dim=0), squares + rows.T @ rows
    mean = total / count
    latents = Latents(latent)
    latents.fit(mean, squares / count - torch.outer(mean, mean))
    return latents


@torch.no_grad()
def _embeddings(model: MappingModel, inputs: Inputs) -> Tensor:
    """The fused expert's mean at the locations of a chip that a sensor has seen, (n, d), in double precision."""
    mean: Tensor = model.encoder(inputs, model.weights).mean
    seen = functional.max_pool2d(torch.maximum(inputs.s2_valid, inputs.s1_valid), STRIDE).flatten() > 0
    return mean[0].flatten(1).T[seen].double()
