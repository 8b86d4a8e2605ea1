"""Inputs and Prediction: what goes into a mapping model and what comes out, as batches of tensors."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inputs:
    """A batch of chips in physical units. Values are 0 where not valid."""

    s2: Tensor
    """(N, bands, H, W) float32, surface reflectance."""
    s2_valid: Tensor
    """(N, 1, H, W) float32: 1 where observed, 0 where not."""
    s1: Tensor
    """(N, bands, H, W) float32, dB."""
    s1_valid: Tensor
    """(N, 1, H, W) float32."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """What a mapping model says of every pixel of a batch."""

    probabilities: Tensor
    """(N, K, H, W), in legend order; sums to 1 over K."""
    total: Tensor
    """(N, H, W): variance of the one-hot label, 0 to 1 - 1/K; aleatoric + embedding."""
    aleatoric: Tensor
    """(N, H, W): what remains open once the embedding is known."""
    embedding: Tensor
    """(N, H, W): what the input leaves open about the embedding."""
    latent_variance: Tensor
    """(N, H, W): mean over latent dimensions of the fused expert's variance."""
    embedding_norm: Tensor
    """(N, H, W): length of the mean that a model without sigma would have. The fused one is short where sigma is large."""
    doubt: Tensor | None = None
    """(N, H, W): what several read-outs disagree on, nats; None where they are not fitted."""
    ood_distance: Tensor | None = None
    """(N, H, W): how far the fused expert's mean lies from those of the training data, about 1 on training ground."""


Predictor = Callable[[Inputs], Prediction]
"""A trained mapping model; chips of any height and width that its stride divides."""
