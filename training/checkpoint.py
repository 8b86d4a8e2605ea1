"""Checkpoints: the weights of a stage with the configuration that made them."""

from pathlib import Path
from typing import Final

import torch
from pydantic import ValidationError
from torch import nn

from contract.bands import Modality
from contract.bundle import Calibration
from contract.errors import CheckpointInvalid
from contract.record import Record
from training.config import TrainingConfig
from training.models.encoder import Encoder
from training.models.latents import Latents
from training.models.mapping import MappingModel
from training.models.standardise import BandStatistics
from training.run import State, read_state

SCHEMA_VERSION: Final = 1


class Provenance(Record):
    """Where weights come from; goes into the model card."""

    config: TrainingConfig
    data: tuple[str, ...]
    """Archives, with licences and numbers of samples."""
    places: tuple[str, ...]
    """Places whose samples the weights have seen, labelled or not. No figure may come from them."""
    calibration: Calibration | None = None


def save(path: Path, weights: nn.Module, provenance: Provenance) -> None:
    """Write a checkpoint; complete or not at all."""
    part = path.with_suffix(".part")
    torch.save(
        {
            "schema_version": SCHEMA_VERSION,
            "kind": type(weights).__name__,
            "provenance": provenance.model_dump_json(),
            "weights": weights.state_dict(),
        },
        part,
    )
    part.replace(path)


def load_encoder(path: Path) -> tuple[Encoder, Provenance]:
    """A pre-trained encoder.

    Raises:
        CheckpointInvalid: No such file, another kind of checkpoint, or a broken one.
    """
    content, provenance = _read(path, Encoder.__name__)
    encoder = _blank(provenance.config)
    _fill(encoder, content, path)
    return encoder, provenance


def load_model(path: Path) -> tuple[MappingModel, Provenance]:
    """A mapping model, calibrated if its checkpoint is, ready to answer.

    Raises:
        CheckpointInvalid: No such file, another kind of checkpoint, or a broken one.
    """
    content, provenance = _read(path, MappingModel.__name__)
    model = MappingModel(_blank(provenance.config), provenance.config.legend)
    parts = {name.partition(".")[0] for name in content["weights"]}
    model.doubt = model.new_doubt() if "doubt" in parts else None
    model.latents = Latents(provenance.config.model.latent) if "latents" in parts else None
    _fill(model, content, path)
    return model.eval(), provenance


def _read(path: Path, kind: str) -> tuple[State, Provenance]:
    content = read_state(path)
    found, needed = (content.get("kind"), content.get("schema_version")), (kind, SCHEMA_VERSION)
    if found != needed:
        reason = f"holds a {found[0]} of version {found[1]}; need a {kind} of version {SCHEMA_VERSION}"
        raise CheckpointInvalid(path=str(path), reason=reason)
    try:
        return content, Provenance.model_validate_json(content["provenance"])
    except ValidationError as error:
        raise CheckpointInvalid(path=str(path), reason=f"its configuration cannot be read ({error})") from error


def _blank(config: TrainingConfig) -> Encoder:
    """An encoder whose weights and statistics are about to be filled in."""
    counts = {Modality.S2: len(config.bands.s2), Modality.S1: len(config.bands.s1)}
    statistics = {
        modality: BandStatistics(mean=(0.0,) * count, deviation=(1.0,) * count) for modality, count in counts.items()
    }
    return Encoder(config.bands, config.model, statistics)


def _fill(module: nn.Module, content: State, path: Path) -> None:
    try:
        module.load_state_dict(content["weights"])
    except RuntimeError as error:
        raise CheckpointInvalid(path=str(path), reason=f"weights do not fit its configuration: {error}") from error
