"""Monitors: signs that an embedding has collapsed, that its sigma means nothing, or that it knows positions."""

import math
from copy import deepcopy
from typing import Final

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional import r2_score

from contract.bands import Modality
from contract.record import Record
from training.clouds import paste_clouds, uniform
from training.models.encoder import Encoder
from training.models.expert import Expert
from training.models.layers import STRIDE
from training.models.standardise import REFLECTANCE_GAIN, Standardise
from training.tensors import Inputs

MOST_LEAK: Final = 0.05
"""R2 of a probe of positions above which an embedding knows where in a chip it is."""
NOISE_CHIPS: Final = 16
"""Half of them fit the probe of positions, half judge it."""
NOISE_POSITIONS: Final = 32
"""Along each axis, out of sight of the chip's borders."""


class EmbeddingSigns(Record):
    """Figures of one sensor's expert, to be watched from run to run."""

    effective_rank: float
    """Of the means: 1 (one direction) to the embedding's dimensions (all alike)."""
    spread: float
    """Mean distance of the means' directions from their mean: 0 (all the same) to about 1 (all around)."""
    log_sigma_deviation: float
    """Standard deviation over positions of log sigma, averaged over dimensions: 0 if sigma is constant."""
    sigma_with_length: float | None
    """Partial rank correlation of log sigma with |mu|, given the ambiguity that was put in: near -1 or 1, sigma says what
    the length of the mean says. None where one of them is constant."""
    sigma_with_ambiguity: float | None
    """That of log sigma with the ambiguity, given |mu|: above 0, sigma knows what the length does not."""


@torch.no_grad()
def signs_under_clouds(encoder: Encoder, inputs: Inputs, generator: torch.Generator) -> EmbeddingSigns:
    """The signs of Sentinel-2's expert; the ambiguity is the opacity of clouds of any severity, pasted without a mask.

    Args:
        encoder: Stays as it is.
        inputs: Chips of any height and width that its alignment divides; on its device, as is the generator.
        generator: Draws the clouds.
    """
    severity = uniform((len(inputs.s2),), (0.0, 1.0), generator)
    s2, opacity = paste_clouds(inputs.s2, severity, generator)
    expert = deepcopy(encoder).eval().expert(s2 * inputs.s2_valid, inputs.s2_valid, Modality.S2)
    seen = _rows(functional.avg_pool2d(inputs.s2_valid, STRIDE))[:, 0] == 1
    planes = (expert.mean, expert.log_variance, functional.avg_pool2d(opacity, STRIDE))
    mean, log_variance, ambiguity = (_rows(plane)[seen] for plane in planes)
    return signs_of(Expert(mean=mean, log_variance=log_variance), ambiguity[:, 0])


def signs_of(expert: Expert, ambiguity: Tensor) -> EmbeddingSigns:
    """The signs of rows (n, d) whose ambiguity (n,) is known."""
    directions = functional.normalize(expert.mean, dim=1)
    log_sigma = 0.5 * expert.log_variance.mean(dim=1)
    length = expert.mean.norm(dim=1)
    return EmbeddingSigns(
        effective_rank=effective_rank(expert.mean),
        spread=float((directions - directions.mean(dim=0)).norm(dim=1).mean()),
        log_sigma_deviation=float(log_sigma.std(correction=0)),
        sigma_with_length=partial_rank_correlation(log_sigma, length, given=ambiguity),
        sigma_with_ambiguity=partial_rank_correlation(log_sigma, ambiguity, given=length),
    )


def effective_rank(rows: Tensor) -> float:
    """Exponential of the entropy of the normalised singular values of rows (n, d)."""
    # Roy and Vetterli, "The effective rank", EUSIPCO 2007, definition 1.
    singular = torch.linalg.svdvals(rows.double())
    return float(torch.special.entr(singular / singular.sum()).sum().exp())


def partial_rank_correlation(first: Tensor, second: Tensor, *, given: Tensor) -> float | None:
    """Correlation of the ranks of two quantities (n,) once a third explains what it can; None if one is constant."""
    ranks = rankdata(torch.stack([first, second, given]).cpu().numpy(), axis=1)
    if not ranks.std(axis=1).all():
        return None
    together, first_given, second_given = np.asarray(np.corrcoef(ranks))[[0, 0, 1], [1, 2, 2]].tolist()
    unexplained = (1 - first_given**2) * (1 - second_given**2)
    return (together - first_given * second_given) / math.sqrt(unexplained) if unexplained > 0 else None


@torch.no_grad()
def position_leak(encoder: Encoder) -> float:
    """R2 of a linear probe of row and column from mu on chips of white noise, of the sensor that leaks more.

    On noise there is nothing to tell one position from another. Positions that see the border of the chip are left out:
    with a halo, no map holds any of them. The probe is judged on chips that it was not fitted on; below 0 it is worse than
    the mean. It should be below `MOST_LEAK`.
    """
    frozen = deepcopy(encoder).eval()
    return max(
        _leak(frozen, Modality.S2, frozen.standardise_s2),
        _leak(frozen, Modality.S1, frozen.standardise_s1),
    )


def _leak(encoder: Encoder, modality: Modality, standardise: Standardise) -> float:
    halo = -(-encoder.radius_px // encoder.config.alignment_px) * encoder.config.alignment_px
    side = 2 * halo + NOISE_POSITIONS * STRIDE
    device = standardise.mean.device
    generator = torch.Generator(device).manual_seed(0)
    inside = slice(halo // STRIDE, halo // STRIDE + NOISE_POSITIONS)
    rows = []
    for _ in range(NOISE_CHIPS):
        noise = _noise(standardise, side, generator)
        expert = encoder.expert(noise, torch.ones(1, 1, side, side, device=device), modality)
        rows.append(_rows(expert.mean[:, :, inside, inside]))
    axis = torch.linspace(-1, 1, NOISE_POSITIONS, device=device)
    position = torch.cartesian_prod(axis, axis).repeat(NOISE_CHIPS, 1)
    return _held_out_r2(torch.cat(rows), position)


def _noise(standardise: Standardise, side: int, generator: torch.Generator) -> Tensor:
    """(1, bands, side, side) in physical units, of the mean and the deviation of each band."""
    drawn = torch.randn(1, standardise.mean.shape[1], side, side, generator=generator, device=generator.device)
    values = standardise.mean + standardise.deviation * drawn
    return values.expm1() / REFLECTANCE_GAIN if standardise.modality is Modality.S2 else values


def _held_out_r2(mean: Tensor, position: Tensor) -> float:
    """Of least squares with an intercept, fitted on the first half of the rows and judged on the second."""
    features = functional.pad(mean, (0, 1), value=1.0).double()
    half = len(features) // 2
    # gelsd takes features of any rank: channels may be constant.
    weights = torch.linalg.lstsq(features[:half].cpu(), position[:half].double().cpu(), driver="gelsd").solution
    return float(r2_score(features[half:].cpu() @ weights, position[half:].double().cpu()))


def _rows(plane: Tensor) -> Tensor:
    """(N, C, h, w) -> (N * h * w, C)."""
    return plane.flatten(2).transpose(1, 2).flatten(0, 1)
