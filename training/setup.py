"""What a stage starts from: device, samples, chips and a new model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch.utils.data import DataLoader, Subset

from contract.bands import Modality
from contract.errors import ConfigInvalid
from training.config import Hardware, TrainingConfig
from training.data.archives import open_archive
from training.data.chips import Batch, ChipDataset, Cut
from training.data.pool import SamplePool
from training.data.sample import Observation
from training.models.encoder import Encoder
from training.models.standardise import BandStatistics, measure

STATISTICS_SAMPLES: Final = 500
"""Most samples behind the fixed statistics of bands, in double precision and in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What a stage draws from a pool."""

    cut: Cut
    chips: int
    """Per batch and device."""
    steps: int
    reached: int = 0
    """Steps that were done before."""


def start(hardware: Hardware) -> Fabric:
    """The device or devices, ready."""
    if hardware.threads:
        torch.set_num_threads(hardware.threads)
    fabric = Fabric(accelerator=hardware.accelerator, devices=hardware.devices)
    if hardware.precision == "bf16-mixed":
        precision = NetworkPrecision("bf16-mixed", device=fabric.device.type)
        fabric = Fabric(accelerator=hardware.accelerator, devices=hardware.devices, plugins=[precision])
    fabric.launch()
    return fabric


class NetworkPrecision(MixedPrecision):
    """bfloat16 inside the network alone: of a reflectance, or of decibels, three digits would be left."""

    def convert_input(self, data: Batch) -> Batch:
        """As it is."""
        return data


def labelled_pool(config: TrainingConfig) -> SamplePool:
    """The samples with labels that the configuration names."""
    return SamplePool.of([open_archive(spec, config.bands) for spec in config.labelled])


def unlabelled_pool(config: TrainingConfig) -> SamplePool:
    """The samples that serve pre-training alone."""
    return SamplePool.of([open_archive(spec, config.bands) for spec in config.unlabelled])


def new_encoder(config: TrainingConfig, pool: SamplePool) -> Encoder:
    """An encoder with random weights, and the statistics of the pool's bands.

    Raises:
        ConfigInvalid: The pool lacks one of the sensors.
    """
    torch.manual_seed(config.seed)
    seen = [sample.observations for sample in some_of(config, pool)]
    return Encoder(config.bands, config.model, {modality: _statistics(config, seen, modality) for modality in Modality})


def some_of(config: TrainingConfig, pool: SamplePool) -> SamplePool:
    """As many samples of a pool as it takes to know what is usual."""
    chosen = np.random.default_rng(config.seed).permutation(len(pool))[:STATISTICS_SAMPLES]
    return pool.select(chosen.tolist())


def batches(fabric: Fabric, config: TrainingConfig, pool: SamplePool, schedule: Schedule) -> Iterator[Batch]:
    """The batches of a stage on this device, from a step on."""
    dataset = ChipDataset(
        pool,
        schedule.cut,
        bands=config.bands,
        legend=config.legend,
        seed=config.seed,
        length=schedule.steps * schedule.chips * fabric.world_size,
    )
    first = schedule.reached * schedule.chips * fabric.world_size
    loader = DataLoader(
        Subset(dataset, range(first, len(dataset))), batch_size=schedule.chips, num_workers=config.hardware.loaders
    )
    return iter(cast("DataLoader[Batch]", fabric.setup_dataloaders(loader)))


def _statistics(
    config: TrainingConfig, samples: Sequence[Mapping[Modality, Observation]], modality: Modality
) -> BandStatistics:
    seen = [sample[modality] for sample in samples if modality in sample]
    if not seen:
        raise ConfigInvalid(path=config.name, reason=f"no sample has {modality.label}; a model learns both sensors")
    return measure(np.concatenate([each.values[:, each.valid] for each in seen], axis=1), modality)
