"""What a stage of training would take, before it starts."""

import itertools
import math
import resource
import time
from collections.abc import Iterator
from typing import Final, Literal

import torch
from lightning_fabric import Fabric

from contract.bands import Modality
from contract.record import Record
from training.config import TrainingConfig
from training.data.chips import Batch
from training.data.pool import SamplePool
from training.discriminant import gather
from training.models.cost import kflop_per_px, parameter_count
from training.models.encoder import Encoder
from training.models.mapping import MappingModel
from training.models.standardise import BandStatistics
from training.optimise import OptimiserConfig
from training.pretrain import PretrainConfig, pretrain
from training.probe import ProbeConfig, fine_tune
from training.run import Run
from training.setup import labelled_pool, start, unlabelled_pool

StageName = Literal["pretrain", "probe", "calibrate"]

WARM_UP_STEPS: Final = 1
"""The first step also allocates and chooses algorithms."""
TIMED_STEPS: Final = 2
TYPICAL: Final = {
    Modality.S2: BandStatistics(mean=(0.9,), deviation=(0.5,)),
    Modality.S1: BandStatistics(mean=(-13.0,), deviation=(5.0,)),
}
"""Of land, roughly; what a step takes does not depend on it."""


class TrainingCost(Record):
    """What a stage would take. Times are those of this machine at this moment."""

    stage: StageName
    device: str
    steps: int
    """Of all folds together, and of the heads of doubt."""
    chips: int
    """In a batch, on each device."""
    chip_px: int
    parameters: int
    """Of encoder and probe."""
    kflop_per_px: float
    """Of a map: thousands of floating-point operations for each pixel."""
    samples: int
    """By the tables of contents; pre-training leaves out those without both sensors."""
    places: int
    step_s: float
    """Reading aside: samples are kept in memory as far as they fit."""
    total_s: float
    memory_bytes: int
    """Peak: of the GPU where there is one, else of the process, without samples."""

    def rows(self) -> tuple[tuple[str, str], ...]:
        """Label and value of each line of a table."""
        return (
            ("steps", f"{self.steps:,}"),
            ("a batch", f"{self.chips} chips of {self.chip_px} x {self.chip_px} px"),
            ("samples", f"{self.samples:,} of {self.places:,} places"),
            ("parameters", f"{self.parameters:,}"),
            ("to map", f"{self.kflop_per_px:,.1f} kFLOP per pixel, halo aside"),
            ("a step", f"{self.step_s:.3g} s on {self.device}, reading aside"),
            ("together", f"about {_duration(self.total_s)}"),
            ("memory", f"{self.memory_bytes / 2**30:.1f} GiB at the peak, samples aside"),
        )


def estimate_stage(config: TrainingConfig, stage: StageName) -> TrainingCost:
    """Read the tables of contents and take a few steps on random chips. Nothing is written.

    Raises:
        TrainingError: An archive is missing, or not laid out as its kind.
    """
    fabric = start(config.hardware)
    recipe = config.pretrain if stage == "pretrain" else config.probe
    pool = labelled_pool(config)
    if stage == "pretrain":
        pool = SamplePool.join([pool, unlabelled_pool(config)])
    model = MappingModel(_encoder(config), config.legend)
    parameters = parameter_count(model)
    kflop = kflop_per_px(model, recipe.chip_px)
    step_s = _step_s(fabric, config, recipe, model)
    steps = recipe.steps
    if stage == "calibrate":
        # The closed form leaves a fold's places out of the sums over all; a trained encoder sees each fold's others anew.
        anew = steps * config.calibrate.folds if config.probe.encoder == "trained" else 0
        steps = anew + config.probe.batches
    return TrainingCost(
        stage=stage,
        device=str(fabric.device),
        steps=steps,
        chips=recipe.chips,
        chip_px=recipe.chip_px,
        parameters=parameters,
        kflop_per_px=kflop,
        samples=len(pool),
        places=len(pool.places),
        step_s=step_s,
        total_s=steps * step_s,
        memory_bytes=_peak_bytes(fabric.device),
    )


def _step_s(fabric: Fabric, config: TrainingConfig, recipe: PretrainConfig | ProbeConfig, model: MappingModel) -> float:
    """Seconds for each of the timed steps of the very loop that trains."""
    ended: list[float] = []
    run = Run(seed=config.seed, watch=lambda _step, _terms: ended.append(time.perf_counter()))
    few = recipe.model_copy(update={"optimiser": OptimiserConfig(steps=WARM_UP_STEPS + TIMED_STEPS)})
    timed = itertools.islice(_random_batches(config, recipe), WARM_UP_STEPS + TIMED_STEPS)
    chips = (fabric.to_device(batch) for batch in timed)
    if isinstance(few, PretrainConfig):
        pretrain(fabric, model.encoder, chips, few.model_copy(update={"collapse_nats": 0.0}), run)
    elif few.encoder == "frozen":
        gather(fabric, model, chips, few, run, range(few.chips))
    else:
        fine_tune(fabric, model, chips, few, run, torch.ones(len(config.classes)))
    return (ended[-1] - ended[WARM_UP_STEPS - 1]) / TIMED_STEPS


def _random_batches(config: TrainingConfig, recipe: PretrainConfig | ProbeConfig) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(config.seed)
    count, side = recipe.chips, recipe.chip_px
    size = (count, side, side)
    batch = {
        "s2": 0.5 * torch.rand(count, len(config.bands.s2), side, side, generator=generator),
        "s1": torch.randn(count, len(config.bands.s1), side, side, generator=generator) * 5 - 13,
        "s2_valid": torch.ones(count, 1, side, side),
        "s1_valid": torch.ones(count, 1, side, side),
        "offsets": torch.zeros(count, 2, 2, dtype=torch.int64),
        "image": torch.arange(count),
        "target": torch.randint(len(config.classes), size, generator=generator),
    }
    return itertools.repeat(batch)


def _encoder(config: TrainingConfig) -> Encoder:
    counts = {Modality.S2: len(config.bands.s2), Modality.S1: len(config.bands.s1)}
    statistics = {
        modality: BandStatistics(mean=typical.mean * counts[modality], deviation=typical.deviation * counts[modality])
        for modality, typical in TYPICAL.items()
    }
    return Encoder(config.bands, config.model, statistics)


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def _duration(seconds: float) -> str:
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.1f} {unit}"
    return f"{math.ceil(seconds)} s"
