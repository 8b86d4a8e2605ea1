"""TrainingConfig: one TOML file that says everything about a model, from its data to its calibration."""

import tomllib
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from contract.bands import BANDS, Modality
from contract.errors import ConfigInvalid
from contract.legend import WORLDCOVER, Legend
from contract.record import Record
from training.calibrate import CalibrateConfig
from training.data.archives import ArchiveSpec
from training.data.sample import BandChoice
from training.models.config import ModelConfig
from training.pretrain import PretrainConfig
from training.probe import ProbeConfig

LEARNT_CLASSES: Final = (10, 20, 30, 40, 50, 60, 80, 90)
"""WorldCover values that CORINE's classes of the shipped training data lead to."""


class Hardware(Record):
    """Where a stage runs."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = Field(default=1, ge=1)
    """Each works on batches of its own, and gradients are averaged."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """bf16-mixed: network in bfloat16, losses in float32; for GPUs."""
    threads: int = Field(default=0, ge=0)
    """Of a CPU; 0: every core."""
    loaders: int = Field(default=0, ge=0)
    """Processes that read and cut chips; 0: the training process itself."""


class TrainingConfig(Record):
    """A model's recipe. Saved with every checkpoint."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: int = Field(default=0, ge=0)
    bands: BandChoice = BandChoice()
    """What the model reads, in channel order."""
    classes: tuple[int, ...] = LEARNT_CLASSES
    """Values of the WorldCover legend that the model tells apart."""
    unlabelled: tuple[ArchiveSpec, ...] = ()
    """Pairs for pre-training, beside the labelled training samples."""
    labelled: tuple[ArchiveSpec, ...] = ()
    """For probe and calibration: `splits` or `places` of each archive say which samples may be seen."""
    model: ModelConfig = ModelConfig()
    pretrain: PretrainConfig = PretrainConfig()
    probe: ProbeConfig = ProbeConfig()
    calibrate: CalibrateConfig = CalibrateConfig()
    hardware: Hardware = Hardware()

    @field_validator("bands")
    @classmethod
    def _bands_are_known(cls, bands: BandChoice) -> BandChoice:
        for modality, names in ((Modality.S2, bands.s2), (Modality.S1, bands.s1)):
            known = [band.name for band in BANDS.values() if band.modality is modality]
            if not names or len(set(names)) < len(names) or not set(names) <= set(known):
                raise ValueError(f"{modality} of {names}; need some of {known}, each once")
        return bands

    @field_validator("classes")
    @classmethod
    def _classes_are_known(cls, classes: tuple[int, ...]) -> tuple[int, ...]:
        known = [entry.value for entry in WORLDCOVER.classes]
        if len(set(classes)) < max(2, len(classes)) or not set(classes) <= set(known):
            raise ValueError(f"need two or more of {known}, each once")
        return classes

    @model_validator(mode="after")
    def _chips_are_whole_strides(self) -> Self:
        for stage, chip_px in (("pretrain", self.pretrain.chip_px), ("probe", self.probe.chip_px)):
            if chip_px % self.model.alignment_px:
                raise ValueError(
                    f"{stage}.chip_px {chip_px} is no multiple of the model's {self.model.alignment_px} px"
                )
        return self

    @property
    def legend(self) -> Legend:
        """The classes of the map, in the order of the model's channels."""
        return WORLDCOVER.subset(*self.classes)


def read_config(path: Path, *, beside: Path | None = None) -> TrainingConfig:
    """The configuration in a TOML file. Folders of archives are relative to it, or to the folder `beside`.

    Raises:
        ConfigInvalid: The file is missing, no TOML, or names an unknown key or a value out of range.
    """
    try:
        with path.open("rb") as file:
            return TrainingConfig.model_validate(_anchored(tomllib.load(file), beside or path.parent))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigInvalid(path=str(path), reason=str(error)) from error
    except ValidationError as error:
        raise ConfigInvalid(path=str(path), reason=_worded(error)) from error


def _anchored(tables: dict[str, object], folder: Path) -> dict[str, object]:
    for key in ("unlabelled", "labelled"):
        archives = tables.get(key)
        for archive in archives if isinstance(archives, list) else ():  # pydantic refuses other shapes
            if isinstance(archive, dict) and "folder" in archive:
                archive["folder"] = folder / str(archive["folder"])
    return tables


def _worded(error: ValidationError) -> str:
    """Every fault in one line: where, what was given, what is needed."""
    faults = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        given = "" if isinstance(fault["input"], dict) else f" (given {fault['input']!r})"
        faults.append(f"{where}: {fault['msg']}{given}")
    return "; ".join(faults)
