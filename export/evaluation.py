"""Evaluations of a checkpoint: read, held against it, and brought into the form of a bundle."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from contract.bundle import BundleFile
from contract.errors import EvaluationUnfit
from contract.evaluation import BundleEvaluation, Interval, SplitEvaluation, ViewFigures
from export.folder import write_file
from training.checkpoint import Provenance
from training.evaluate.answers import Uncertainty
from training.evaluate.bootstrap import Estimate
from training.evaluate.metrics import KEPT, Scores
from training.evaluate.report import EVALUATION_NAME, Evaluation

EVALUATION_FOLDER: Final = "evaluation"
"""Of the bundle: what each split's evaluation left, in a folder of the split's name."""
THRESHOLD_TOLERANCE: Final = 1e-9
"""Conformal thresholds of one checkpoint, written twice, differ by less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One evaluation."""

    name: str
    """Of its folder."""
    folder: Path
    evaluation: Evaluation

    @property
    def pictures(self) -> tuple[Path, ...]:
        """Charts and maps, sorted by name."""
        return tuple(sorted(self.folder.glob("*.png")))


def read_splits(folders: Sequence[Path], provenance: Provenance) -> tuple[Split, ...]:
    """The evaluations in these folders; each is of this checkpoint and of ground that it has not seen.

    Raises:
        EvaluationUnfit: One of them is not, cannot be read, or has the name of another.
    """
    splits = tuple(
        Split(name=folder.resolve().name, folder=folder, evaluation=_read(folder, provenance)) for folder in folders
    )
    names = [split.name for split in splits]
    for split in splits:
        if names.count(split.name) > 1:
            raise EvaluationUnfit(str(split.folder), f"another one is called {split.name!r}, too; rename its folder")
    return splits


def write_splits(folder: Path, splits: Sequence[Split]) -> tuple[BundleEvaluation, tuple[BundleFile, ...]]:
    """What a bundle says of these evaluations, and the entries of the files written to its folder."""
    summaries, files = [], []
    for split in splits:
        details = f"{EVALUATION_FOLDER}/{split.name}/{EVALUATION_NAME}"
        pictures = {f"{EVALUATION_FOLDER}/{split.name}/{path.name}": path for path in split.pictures}
        content = split.evaluation.model_dump_json(indent=2) + "\n"
        files.append(write_file(folder, details, content.encode()))
        files += [write_file(folder, path, source.read_bytes()) for path, source in pictures.items()]
        summaries.append(summary(split, details=details, pictures=tuple(pictures)))
    evaluation = BundleEvaluation(splits=tuple(summaries))
    files.append(write_file(folder, EVALUATION_NAME, (evaluation.model_dump_json(indent=2) + "\n").encode()))
    return evaluation, tuple(files)


def summary(split: Split, *, details: str, pictures: tuple[str, ...]) -> SplitEvaluation:
    """The figures that models are compared by."""
    evaluation = split.evaluation
    first, *others = (
        ViewFigures(view=scores.view, pixels=scores.pixels, figures=_figures(scores)) for scores in evaluation.scores
    )
    coverages = {
        f"coverage of {check.threshold.method.upper()} sets at {1 - check.threshold.alpha:.0%}": Interval(
            value=check.coverage
        )
        for check in evaluation.conformal
    }
    return SplitEvaluation(
        split=split.name,
        archives=evaluation.archives,
        samples=evaluation.samples,
        places=evaluation.places,
        level=evaluation.level,
        views=(first.model_copy(update={"figures": {**first.figures, **coverages}}), *others),
        details=details,
        pictures=pictures,
    )


def _figures(scores: Scores) -> dict[str, Interval]:
    estimates = {
        "overall accuracy": scores.overall_accuracy,
        "balanced accuracy": scores.balanced_accuracy,
        "mean IoU": scores.mean_iou,
        "macro F1": scores.macro_f1,
        "negative log-likelihood, nats": scores.nll,
        "Brier score": scores.brier,
        "calibration error": scores.ece,
        "calibration error, class-wise": scores.ece_class_wise,
    }
    for entry in scores.detection:
        estimates[f"AUROC of {entry.uncertainty.value} for errors"] = entry.auroc
        if entry.uncertainty is Uncertainty.TOTAL:
            estimates[f"accuracy of the {KEPT:.0%} with the least {entry.uncertainty.value}"] = entry.kept_accuracy
    return {name: _interval(estimate) for name, estimate in estimates.items()}


def _interval(estimate: Estimate) -> Interval:
    return Interval(value=estimate.value, low=estimate.low, high=estimate.high)


def _read(folder: Path, provenance: Provenance) -> Evaluation:
    try:
        evaluation = Evaluation.model_validate_json((folder / EVALUATION_NAME).read_bytes())
    except (OSError, ValidationError) as error:
        raise EvaluationUnfit(str(folder), f"its {EVALUATION_NAME} cannot be read ({error})") from error
    reason = _misfit(evaluation, provenance)
    if reason:
        raise EvaluationUnfit(str(folder), reason)
    return evaluation


def _misfit(evaluation: Evaluation, provenance: Provenance) -> str:
    """Why an evaluation is not one of this checkpoint; empty where it is."""
    config = provenance.config
    if evaluation.model != config.name:
        return f"it is of {evaluation.model!r}, the checkpoint is {config.name!r}"
    if evaluation.legend != config.legend:
        return "its classes are not those of the checkpoint"
    if seen := {*evaluation.places} & {*provenance.places}:
        return f"the checkpoint has seen {', '.join(sorted(seen))}"
    fitted = provenance.calibration.conformal if provenance.calibration else ()
    checked = tuple(check.threshold for check in evaluation.conformal)
    # Of two calibrations no two thresholds are the same, so they tell one checkpoint from another of its name.
    same = len(fitted) == len(checked) and all(
        (one.method, one.alpha) == (other.method, other.alpha)
        and abs(one.threshold - other.threshold) <= THRESHOLD_TOLERANCE
        for one, other in zip(fitted, checked, strict=True)
    )
    return "" if same else "its conformal thresholds are not those of the checkpoint, so it is of an earlier one"
