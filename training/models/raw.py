"""What the probe sees beside the embedding: bands and indices of each single pixel, which keep the map sharp."""

from collections.abc import Collection
from typing import Final

import torch
from torch import Tensor

from contract.bands import Modality
from training.data.sample import BandChoice
from training.models.standardise import Standardise
from training.tensors import Inputs

EPSILON: Final = 1e-2
"""Reflectance added to the denominators of indices: dark pixels do not blow up."""
TYPICAL_RATIO_DB: Final = 7.0
"""VV - VH over land; scales the ratio to about 0 +- 1."""


def raw_channels(bands: BandChoice) -> int:
    """Number of channels that `raw_features` gives."""
    return len(bands.s2) + len(bands.s1) + len(_index_pairs(bands)) + len(_ratio_pairs(bands))


def raw_features(inputs: Inputs, bands: BandChoice, s2: Standardise, s1: Standardise) -> Tensor:
    """Standardised bands, NDVI, NDWI and the VV-VH ratio, (N, C, H, W); 0 where not observed."""
    seen = inputs.s2.clamp_min(0)
    features = [s2(inputs.s2, inputs.s2_valid), s1(inputs.s1, inputs.s1_valid)]
    for plus, minus in _index_pairs(bands):
        high, low = seen[:, plus : plus + 1], seen[:, minus : minus + 1]
        features.append((high - low) / (high + low + EPSILON) * inputs.s2_valid)
    for high_db, low_db in _ratio_pairs(bands):
        ratio_db = inputs.s1[:, high_db : high_db + 1] - inputs.s1[:, low_db : low_db + 1]
        features.append((ratio_db - TYPICAL_RATIO_DB) / TYPICAL_RATIO_DB * inputs.s1_valid)
    return torch.cat(features, dim=1)


def raw_validity(inputs: Inputs, bands: BandChoice) -> Tensor:
    """1 where each of the raw features was observed, 0 where not, (N, C, H, W)."""
    return of_sensors(inputs.s2_valid, inputs.s1_valid, bands)


def of_sensors(s2: Tensor, s1: Tensor, bands: BandChoice) -> Tensor:
    """For each of the raw features, the plane of its sensor, (N, 1, H, W) each -> (N, C, H, W)."""
    counts = ((s2, len(bands.s2)), (s1, len(bands.s1)), (s2, len(_index_pairs(bands))), (s1, len(_ratio_pairs(bands))))
    return torch.cat([plane.expand(-1, count, -1, -1) for plane, count in counts], dim=1)


def raw_channels_of(bands: BandChoice, sensors: Collection[Modality]) -> Tensor:
    """1 for the raw features that come of these sensors, 0 for the others, (C,)."""
    s2, s1 = (torch.full((1, 1, 1, 1), float(modality in sensors)) for modality in (Modality.S2, Modality.S1))
    return of_sensors(s2, s1, bands).flatten()


def _index_pairs(bands: BandChoice) -> list[tuple[int, int]]:
    """NDVI (Rouse 1974) and NDWI (McFeeters 1996), for the bands that are there."""
    wanted = (("B08", "B04"), ("B03", "B08"))
    return [(bands.s2.index(a), bands.s2.index(b)) for a, b in wanted if a in bands.s2 and b in bands.s2]


def _ratio_pairs(bands: BandChoice) -> list[tuple[int, int]]:
    return [(bands.s1.index("VV"), bands.s1.index("VH"))] if {"VV", "VH"} <= set(bands.s1) else []
