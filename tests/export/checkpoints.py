"""A tiny calibrated checkpoint on a tiny archive, and its evaluation."""

from dataclasses import dataclass
from pathlib import Path

from contract.bands import Modality
from contract.bundle import Calibration, Temperature
from tests.export.examples import THRESHOLDS, fitted
from tests.training.data.layouts_reben import write_flat
from tests.training.examples import LEGEND, model_config
from tests.training.test_commands import patches
from training.checkpoint import Provenance, save
from training.config import TrainingConfig
from training.data.archives import ReBENSpec
from training.evaluation import Question, evaluate_checkpoint
from training.setup import labelled_pool

CALIBRATION = Calibration(
    temperature=Temperature(both=1.3, s2_alone=1.6, s1_alone=0.9),
    variance_scale=0.7,
    expert_weights={Modality.S2: 1.2, Modality.S1: 0.4},
    conformal=THRESHOLDS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A checkpoint and where its evaluation lies."""

    checkpoint: Path
    provenance: Provenance
    evaluation: Path
    """Of the two tiles of the validation side."""


def write_trained(folder: Path) -> Trained:
    """A checkpoint that has seen three tiles of an archive of five, beside its evaluation on the others."""
    data = write_flat(folder / "data", patches())
    config = TrainingConfig(
        name="tiny",
        classes=tuple(entry.value for entry in LEGEND.classes),
        model=model_config(blocks=(0, 1, 0)),
        labelled=(ReBENSpec(kind="reben", folder=data, splits=("train",)),),
    )
    pool = labelled_pool(config)
    provenance = Provenance(config=config, data=pool.archives, places=pool.places, calibration=CALIBRATION)
    checkpoint, evaluation = folder / "model.pt", folder / "val"
    save(checkpoint, fitted(), provenance)
    evaluate_checkpoint(checkpoint, Question(data=data, kind="reben", splits=("val",)), evaluation)
    return Trained(checkpoint=checkpoint, provenance=provenance, evaluation=evaluation)
