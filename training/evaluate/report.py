"""Evaluation: everything that was measured of a model on unseen places, as `evaluation.json` holds it."""

from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from contract.bands import Modality
from contract.bundle import ConformalThreshold
from contract.errors import SampleInvalid
from contract.legend import Legend
from contract.record import Record
from training.evaluate.bootstrap import Resampling
from training.evaluate.conformal import ConformalCheck, check_threshold
from training.evaluate.exam import Conditions, Exam
from training.evaluate.metrics import Scores, score
from training.evaluate.variance_tests import VarianceTests, run_variance_tests
from training.evaluate.views import only

EVALUATION_NAME: Final = "evaluation.json"
BOTH: Final = "all sensors"
"""Name of the view of everything that was observed."""


class Evaluation(Record):
    """What a model is worth. Undefined figures are None, never NaN."""

    schema_version: Literal[1] = 1
    model: str
    """Name and version."""
    archives: tuple[str, ...]
    """Data sets that the samples are of, with their versions."""
    legend: Legend
    samples: int = Field(ge=1)
    places: tuple[str, ...]
    """None of them may have been seen in training, and intervals are over them."""
    conditions: Conditions
    draws: int
    """Resamplings behind each interval."""
    level: float
    """Of the intervals."""
    scores: tuple[Scores, ...]
    """All sensors first, then each one alone where there are such observations."""
    conformal: tuple[ConformalCheck, ...]
    """Of thresholds that were fitted on other places, with all sensors."""
    variance: VarianceTests


def evaluate(
    exam: Exam,
    *,
    model: str,
    archives: tuple[str, ...],
    thresholds: tuple[ConformalThreshold, ...] = (),
    draws: int = 1000,
) -> Evaluation:
    """The evaluation of a model.

    Args:
        exam: Samples of places that were seen neither in training nor in calibration. Each is asked about some 30 times.
        model: Name and version.
        archives: Data sets that the samples are of.
        thresholds: Conformal thresholds to check.
        draws: Resamplings of places for each interval.

    Raises:
        SampleInvalid: A sample has no label map, or no sample has a pixel that can be scored.
    """
    answers = exam.answers()
    if not len(answers):
        raise SampleInvalid(
            path=f"{len(exam.samples)} samples",
            found=f"no observed pixel with a label of {exam.legend.name}, {answers.outside_legend} with other labels",
            needed="labels of the model's legend",
        )
    resampling = Resampling(places=len(answers.places), draws=draws, seed=exam.conditions.seed)
    alone = [(f"{modality.label} alone", exam.answers(only(modality))) for modality in (Modality.S2, Modality.S1)]
    return Evaluation(
        model=model,
        archives=archives,
        legend=exam.legend,
        samples=len(exam.samples),
        places=answers.places,
        conditions=exam.conditions,
        draws=draws,
        level=resampling.level,
        scores=tuple(
            score(view, seen, exam.legend, resampling) for view, seen in [(BOTH, answers), *alone] if len(seen)
        ),
        conformal=tuple(check_threshold(answers, threshold) for threshold in thresholds),
        variance=run_variance_tests(exam, answers, resampling),
    )


def write_evaluation(folder: Path, evaluation: Evaluation) -> Path:
    """The path of `evaluation.json`, written."""
    path = folder / EVALUATION_NAME
    part = path.with_suffix(".part")
    part.write_text(evaluation.model_dump_json(indent=2), encoding="utf-8")
    return part.replace(path)
