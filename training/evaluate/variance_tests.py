"""V1 to V5: is the variance worth reading? Each test says what it measured, what would do, and whether it does.

An interval is that of `Resampling`, over places. Where there is none, nothing is shown and the test does not hold.
"""

from typing import Final

import numpy as np
from scipy.stats import rankdata, spearmanr

from contract.bands import Modality
from contract.record import Record
from training.augment import LEVELS, Corruption
from training.evaluate.answers import Answers, Uncertainty, in_common, join
from training.evaluate.bootstrap import Estimate, Figure, Resampling, Statistic, mean_of, minus, over
from training.evaluate.exam import Exam
from training.evaluate.ranking import Ranking
from training.evaluate.views import clouded, corrupted, only, speckled

OWN: Final = (Uncertainty.LATENT, Uncertainty.EMBEDDING)
"""What only a model with a latent distribution can give."""
RIVALS: Final = (Uncertainty.SHORTNESS, Uncertainty.CONFIDENCE)
"""What any model can give."""


class Precision(Record):
    """How well an uncertainty finds spoiled pixels."""

    uncertainty: Uncertainty
    average_precision: Estimate


class Gain(Record):
    """Average precision of one uncertainty above that of another."""

    own: Uncertainty
    rival: Uncertainty
    gain: Estimate


class SpoilDetection(Record):
    """V1: does sigma know a spoiled input better than what any model offers?"""

    spoiled_by: str
    share: Figure
    """Share of spoiled pixels: the average precision of a score that knows nothing."""
    precisions: tuple[Precision, ...]
    gains: tuple[Gain, ...]
    criterion: str = (
        "latent variance finds spoiled pixels with a higher average precision than the embedding's length and than "
        "1 - highest probability; both intervals of the gain above 0"
    )
    holds: bool


class CorruptionLevel(Record):
    """Means over the pixels under one strength of corruption."""

    level: int
    """0 is the input as it was."""
    embedding_variance: Estimate
    accuracy: Estimate


class CorruptionCurve(Record):
    """What a kind of corruption does, from level 0 to 5."""

    kind: Corruption
    levels: tuple[CorruptionLevel, ...]
    spearman: Figure
    """Rank correlation of level and mean embedding variance; None where the variance is the same at all levels."""
    rises: bool
    """Whether mean embedding variance rises from each level to the next."""


class CorruptionResponse(Record):
    """V2: does the variance rise with the strength of a corruption?"""

    curves: tuple[CorruptionCurve, ...]
    criterion: str = "mean embedding variance rises from each level to the next, for every kind of corruption"
    holds: bool


class SensorLoss(Record):
    """What becomes of the same pixels when only one sensor is left."""

    left: Modality
    accuracy: Estimate
    embedding_variance: Estimate
    total_variance: Estimate
    embedding_rise: Estimate
    """Mean embedding variance above that with both sensors."""
    total_rise: Estimate
    accuracy_fall: Estimate
    """Accuracy below that with both sensors."""


class MaskingResponse(Record):
    """V3: does the variance rise, and accuracy fall, when a sensor is masked?"""

    pixels: int
    """Seen by both sensors."""
    accuracy: Estimate
    """With both sensors."""
    embedding_variance: Estimate
    total_variance: Estimate
    losses: tuple[SensorLoss, ...]
    criterion: str = (
        "whichever sensor is masked, mean embedding variance rises (interval above 0) and accuracy falls (its value)"
    )
    holds: bool


class RankFusion(Record):
    """V4: does embedding variance add to entropy in finding errors?"""

    entropy: Estimate
    """AURC of the entropy."""
    fused: Estimate
    """AURC of the mean of a pixel's ranks by entropy and by embedding variance, among all pixels."""
    difference: Estimate
    """Fused less entropy: below 0 is better."""
    criterion: str = "AURC of entropy and embedding variance ranked together is at most that of entropy alone"
    holds: bool


class BoundaryContrast(Record):
    """One variance at boundaries of the label map against interiors."""

    uncertainty: Uncertainty
    ratio: Estimate
    """Mean within 1 px of a boundary over mean elsewhere."""
    auroc: Estimate


class BoundaryResponse(Record):
    """V5: is the variance higher where classes meet?"""

    boundary_share: Figure
    contrasts: tuple[BoundaryContrast, ...]
    criterion: str = "mean embedding and total variance are higher at boundaries; both intervals of the ratio above 1"
    holds: bool


class VarianceTests(Record):
    """All of them. A test of a sensor that no sample has is None."""

    clouds: SpoilDetection | None
    speckle: SpoilDetection | None
    corruption: CorruptionResponse
    masking: MaskingResponse | None
    fusion: RankFusion
    boundaries: BoundaryResponse


def run_variance_tests(exam: Exam, answers: Answers, resampling: Resampling) -> VarianceTests:
    """All tests. `answers` are those of the view of everything; the model is asked some 30 times about every sample."""
    return VarianceTests(
        clouds=detect_spoiled("pasted cloud, Sentinel-2 alone", exam.answers(clouded), resampling),
        speckle=detect_spoiled(
            "added speckle, Sentinel-1 alone",
            join([exam.answers(only(Modality.S1)), exam.answers(speckled)]),
            resampling,
        ),
        corruption=respond_to_corruption(exam, answers, resampling),
        masking=respond_to_masking(exam, answers, resampling),
        fusion=fuse_ranks(answers, resampling),
        boundaries=respond_to_boundaries(answers, resampling),
    )


def detect_spoiled(spoiled_by: str, answers: Answers, resampling: Resampling) -> SpoilDetection | None:
    """V1 on pixels of which some are spoiled."""
    if not len(answers):
        return None
    precision = {kind: _ranked(answers, kind).average_precision for kind in (*OWN, *RIVALS)}
    gains = tuple(
        Gain(own=own, rival=rival, gain=resampling.estimate(minus(precision[own], precision[rival])))
        for own in OWN
        for rival in RIVALS
    )
    return SpoilDetection(
        spoiled_by=spoiled_by,
        share=float(answers.spoiled.mean()),
        precisions=tuple(
            Precision(uncertainty=kind, average_precision=resampling.estimate(statistic))
            for kind, statistic in precision.items()
        ),
        gains=gains,
        holds=all(entry.gain.above_zero for entry in gains if entry.own is Uncertainty.LATENT),
    )


def respond_to_corruption(exam: Exam, clean: Answers, resampling: Resampling) -> CorruptionResponse:
    """V2 for every kind of corruption; `clean` is level 0."""
    curves = tuple(_curve(exam, clean, kind, resampling) for kind in Corruption)
    return CorruptionResponse(curves=curves, holds=all(curve.rises for curve in curves))


def respond_to_masking(exam: Exam, both: Answers, resampling: Resampling) -> MaskingResponse | None:
    """V3 on the pixels that both sensors saw."""
    seen = [both, *(exam.answers(only(modality)) for modality in Modality)]
    both, *alone = in_common(seen)
    if not len(both):
        return None
    losses = tuple(
        _loss(modality, both, answers, resampling) for modality, answers in zip(Modality, alone, strict=True)
    )
    return MaskingResponse(
        pixels=len(both),
        accuracy=resampling.estimate(_accuracy(both)),
        embedding_variance=resampling.estimate(_mean(both, Uncertainty.EMBEDDING)),
        total_variance=resampling.estimate(_mean(both, Uncertainty.TOTAL)),
        losses=losses,
        holds=all(
            loss.embedding_rise.above_zero and loss.accuracy_fall.value is not None and loss.accuracy_fall.value > 0
            for loss in losses
        ),
    )


def fuse_ranks(answers: Answers, resampling: Resampling) -> RankFusion:
    """V4. Ranks are those among all pixels, also in a draw of places."""
    entropy = answers.uncertainty(Uncertainty.ENTROPY)
    fused = np.asarray((rankdata(entropy) + rankdata(answers.embedding)) / 2, np.float32)
    places = len(answers.places)
    alone = Ranking.by(entropy, ~answers.correct, answers.place, places).aurc
    together = Ranking.by(fused, ~answers.correct, answers.place, places).aurc
    difference = resampling.estimate(minus(together, alone))
    return RankFusion(
        entropy=resampling.estimate(alone),
        fused=resampling.estimate(together),
        difference=difference,
        holds=difference.value is not None and difference.value <= 0,
    )


def respond_to_boundaries(answers: Answers, resampling: Resampling) -> BoundaryResponse:
    """V5."""
    contrasts = tuple(_contrast(answers, kind, resampling) for kind in (Uncertainty.EMBEDDING, Uncertainty.TOTAL))
    return BoundaryResponse(
        boundary_share=float(answers.at_boundary.mean()),
        contrasts=contrasts,
        holds=all(entry.ratio.low is not None and entry.ratio.low > 1 for entry in contrasts),
    )


def _ranked(answers: Answers, kind: Uncertainty) -> Ranking:
    return Ranking.by(answers.uncertainty(kind), answers.spoiled, answers.place, len(answers.places))


def _curve(exam: Exam, clean: Answers, kind: Corruption, resampling: Resampling) -> CorruptionCurve:
    series = [clean, *(exam.answers(corrupted(kind, level)) for level in range(1, len(LEVELS[kind]) + 1))]
    levels = tuple(
        CorruptionLevel(
            level=level,
            embedding_variance=resampling.estimate(_mean(answers, Uncertainty.EMBEDDING)),
            accuracy=resampling.estimate(_accuracy(answers)),
        )
        for level, answers in enumerate(series)
    )
    means = [entry.embedding_variance.value for entry in levels if entry.embedding_variance.value is not None]
    steps = np.diff(means)
    return CorruptionCurve(
        kind=kind,
        levels=levels,
        spearman=float(spearmanr(range(len(means)), means).statistic) if np.any(steps) else None,
        rises=len(means) == len(levels) and bool((steps > 0).all()),
    )


def _loss(left: Modality, both: Answers, alone: Answers, resampling: Resampling) -> SensorLoss:
    embedding, total, accuracy = _mean(alone, Uncertainty.EMBEDDING), _mean(alone, Uncertainty.TOTAL), _accuracy(alone)
    return SensorLoss(
        left=left,
        accuracy=resampling.estimate(accuracy),
        embedding_variance=resampling.estimate(embedding),
        total_variance=resampling.estimate(total),
        embedding_rise=resampling.estimate(minus(embedding, _mean(both, Uncertainty.EMBEDDING))),
        total_rise=resampling.estimate(minus(total, _mean(both, Uncertainty.TOTAL))),
        accuracy_fall=resampling.estimate(minus(_accuracy(both), accuracy)),
    )


def _contrast(answers: Answers, kind: Uncertainty, resampling: Resampling) -> BoundaryContrast:
    at_boundary, places = answers.at_boundary, len(answers.places)
    ratio = over(_mean(answers.at(at_boundary), kind), _mean(answers.at(~at_boundary), kind))
    ranking = Ranking.by(answers.uncertainty(kind), at_boundary, answers.place, places)
    return BoundaryContrast(
        uncertainty=kind, ratio=resampling.estimate(ratio), auroc=resampling.estimate(ranking.auroc)
    )


def _mean(answers: Answers, kind: Uncertainty) -> Statistic:
    return mean_of(answers.uncertainty(kind), answers.place, len(answers.places))


def _accuracy(answers: Answers) -> Statistic:
    return mean_of(answers.correct, answers.place, len(answers.places))
