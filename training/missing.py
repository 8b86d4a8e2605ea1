"""What a missing sensor leaves open: how far both sensors' probe strays from that of one alone, on the same ground."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

STEP: Final = 61
"""Of a chip's locations, one in so many is kept. Not the length of a row, nor a part of it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Views:
    """Features of some locations that both sensors see."""

    place: Tensor
    """(R,): the place of each."""
    features: Tensor
    """(R, S, D): as each set of sensors sees them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadOut:
    """A linear classifier of the features."""

    weight: Tensor
    """(K, D)."""
    bias: Tensor
    """(K,)."""


def in_common(features: Tensor, shown: Tensor, place: Tensor) -> Views:
    """Some of the locations of chips that every set of sensors sees.

    Args:
        features: (S, N, L, D), as each set of sensors sees them.
        shown: (S, N, L) bool: where it sees anything.
        place: (N,): that of each chip.
    """
    rows, seen = features[:, :, ::STEP], shown[:, :, ::STEP].all(dim=0)  # (S, N, L', D), (N, L')
    return Views(place=place[:, None].expand(seen.shape)[seen], features=rows.movedim(0, 2)[seen])


def missing(views: Views, probes: Sequence[ReadOut], drawn: Tensor) -> Tensor:
    """Second moments of the logits of both sensors less those of each set, without what classes share, (S, K, K).

    Args:
        views: Of P places.
        probes: One for each set of sensors.
        drawn: (P,): how often each place counts.
    """
    logits = [views.features[:, number].double() @ probe.weight.T + probe.bias for number, probe in enumerate(probes)]
    apart = logits[0] - torch.stack(logits)  # (S, R, K)
    apart = apart - apart.mean(dim=2, keepdim=True)
    count = drawn.double()[views.place]
    return torch.einsum("r,srk,srl->skl", count / count.sum().clamp_min(1), apart, apart)
