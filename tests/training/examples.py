"""A tiny encoder, an archive in memory and one CPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from contract.bands import Modality
from contract.legend import WORLDCOVER
from training.augment import AugmentConfig
from training.data.pool import SamplePool
from training.data.sample import BandChoice, Entry, Observation, Sample
from training.models.config import BranchConfig, ModelConfig
from training.models.encoder import Encoder
from training.models.mapping import MappingModel
from training.models.standardise import BandStatistics
from training.tensors import Inputs

Module = TypeVar("Module", bound=nn.Module)

LEGEND = WORLDCOVER.subset(10, 40, 80)
STATISTICS = {
    Modality.S2: BandStatistics(mean=(0.9, 1.0, 1.1, 1.2), deviation=(0.5, 0.5, 0.4, 0.6)),
    Modality.S1: BandStatistics(mean=(-11.0, -17.0), deviation=(4.0, 5.0)),
}
UNCHANGED = AugmentConfig(
    s2_gain=0,
    s2_band_gain=0,
    s2_offset=0,
    s2_noise=0,
    s1_offset_db=0,
    s1_band_offset_db=0,
    s1_noise_db=0,
    speckle_share=0,
    cloud_share=0,
    cloud_known_share=0,
    box_share=0,
    flat_band_share=0,
    noise_band_share=0,
    s2_dropped_share=0,
    s1_dropped_share=0,
)
"""Augmentation that leaves everything as it is."""


def model_config(*, blocks: tuple[int, int, int] = (0, 0, 0), variational: bool = True) -> ModelConfig:
    branch = BranchConfig(widths=(8, 12, 16), blocks=blocks)
    return ModelConfig(s2=branch, s1=branch, latent=6, variational=variational)


def encoder(config: ModelConfig | None = None, seed: int = 0) -> Encoder:
    """Tiny, untrained, and ready to answer."""
    torch.manual_seed(seed)
    return Encoder(BandChoice(), config or model_config(), STATISTICS).eval()


def read_outs(model: MappingModel) -> tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d]:
    """Of the embedding, of raw bands and of their surroundings."""
    return model.on_embedding, model.on_raw, model.on_surroundings


def worn(module: Module, seed: int = 1) -> Module:
    """The module with norms and variances that differ from channel to channel, as after training."""
    generator = torch.Generator().manual_seed(seed)
    for name, plane in (*module.named_parameters(), *module.named_buffers()):
        if name.endswith(("running_mean", "bias", "log_variance.weight")):
            plane.data.add_(0.3 * torch.randn(plane.shape, generator=generator))
        elif name.endswith("running_var"):
            plane.data.mul_(0.5 + torch.rand(plane.shape, generator=generator))
    return module


def inputs(count: int, rows: int, columns: int, seed: int = 0) -> Inputs:
    """Chips of white noise around the statistics of the bands, observed everywhere."""
    generator = torch.Generator().manual_seed(seed)
    return Inputs(
        s2=0.3 * torch.rand(count, 4, rows, columns, generator=generator),
        s2_valid=torch.ones(count, 1, rows, columns),
        s1=5 * torch.randn(count, 2, rows, columns, generator=generator) - 14,
        s1_valid=torch.ones(count, 1, rows, columns),
    )


class MemoryArchive:
    """Samples that are there already."""

    licence = "CC0-1.0"

    def __init__(self, samples: Sequence[Sample], name: str = "memory") -> None:
        self.name, self.entries = name, [sample.entry for sample in samples]
        self._samples = {sample.entry.name: sample for sample in samples}

    def read(self, entry: Entry) -> Sample:
        return self._samples[entry.name]


def pool(samples: Sequence[Sample]) -> SamplePool:
    return SamplePool.of([MemoryArchive(samples)])


def observed(values: NDArray[np.generic]) -> Observation:
    return Observation(values=values.astype(np.float32), valid=np.ones(values.shape[1:], np.bool_))


def entry(name: str, place: str = "T34VER") -> Entry:
    return Entry(name=name, place=place, files=(Path(f"{name}.tif"),))


def coloured(index: int, shape: tuple[int, int] = (40, 32)) -> Sample:
    """Fields of the three classes of `LEGEND`, each with its own colour and backscatter, and noise."""
    random = np.random.default_rng(index)
    fields = random.integers(0, 3, (shape[0] // 8, shape[1] // 8))
    classes = np.kron(fields, np.ones((8, 8), np.int64))
    colours = np.array([[0.05, 0.08, 0.04, 0.35], [0.12, 0.15, 0.18, 0.25], [0.06, 0.05, 0.03, 0.02]])
    backscatter = np.array([[-8.0, -14.0], [-11.0, -18.0], [-19.0, -26.0]])
    s2 = np.moveaxis(colours[classes], -1, 0) + random.normal(0, 0.02, (4, *shape))
    s1 = np.moveaxis(backscatter[classes], -1, 0) + random.normal(0, 2, (2, *shape))
    return Sample(
        entry=entry(f"coloured-{index}", f"place-{index % 3}"),
        observations={Modality.S2: observed(s2), Modality.S1: observed(s1)},
        labels=np.array([10, 40, 80], np.uint8)[classes],
    )


def cpu() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)
