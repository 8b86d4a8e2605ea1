"""An evaluation as tables for a terminal."""

from collections.abc import Iterable

from rich.table import Table

from training.evaluate.bootstrap import Estimate
from training.evaluate.metrics import KEPT, Scores
from training.evaluate.report import Evaluation
from training.evaluate.variance_tests import VarianceTests


def tables(evaluation: Evaluation) -> tuple[Table, ...]:
    """What a person reads first: scores by view, then details with all sensors, then the tests of the variance."""
    every = evaluation.scores[0]
    made = [_scores(evaluation), _detection(every), _classes(every), variance_table(evaluation.variance)]
    if evaluation.conformal:
        made.insert(3, _conformal(evaluation))
    return tuple(made)


def _scores(evaluation: Evaluation) -> Table:
    views = evaluation.scores
    title = (
        f"{evaluation.model} on {evaluation.samples} samples of {len(evaluation.places)} unseen places "
        f"({evaluation.level:.0%} intervals over places)"
    )
    rows = [
        ("pixels", *(f"{view.pixels:,}" for view in views)),
        ("overall accuracy", *(view.overall_accuracy for view in views)),
        ("balanced accuracy", *(view.balanced_accuracy for view in views)),
        ("mean IoU", *(view.mean_iou for view in views)),
        ("macro F1", *(view.macro_f1 for view in views)),
        ("log-likelihood, negative (nats)", *(view.nll for view in views)),
        ("Brier score", *(view.brier for view in views)),
        ("calibration error", *(view.ece for view in views)),
        ("calibration error, equal mass", *(view.ece_equal_mass for view in views)),
        ("calibration error, class-wise", *(view.ece_class_wise for view in views)),
        ("labels outside the legend, px", *(f"{view.outside_legend:,}" for view in views)),
    ]
    return _table(title, ("", *(view.view for view in views)), rows)


def _detection(scores: Scores) -> Table:
    header = ("uncertainty", "AUROC", "AURC", "excess AURC", f"accuracy at {KEPT:.0%} coverage")
    rows = [
        (entry.uncertainty.value, entry.auroc, entry.aurc, entry.excess_aurc, entry.kept_accuracy)
        for entry in scores.detection
    ]
    return _table(f"Finding errors, {scores.view}", header, rows)


def _classes(scores: Scores) -> Table:
    header = ("class", "labelled px", "recall", "precision", "F1", "IoU", "total variance", "embedding variance")
    rows = [
        (
            entry.name,
            f"{entry.labelled:,}",
            *(entry.recall, entry.precision, entry.f1, entry.iou, entry.total_variance, entry.embedding_variance),
        )
        for entry in scores.classes
    ]
    return _table(f"Classes, {scores.view}", header, rows)


def _conformal(evaluation: Evaluation) -> Table:
    header = ("sets", "nominal", "if exchangeable", "coverage", "mean of places", "worst place", "classes in a set")
    rows = [
        (
            f"{check.threshold.method.upper()}, {check.threshold.calibration_blocks} blocks",
            1 - check.threshold.alpha,
            check.guaranteed,
            check.coverage,
            check.block_coverage,
            f"{_text(check.worst_coverage)} {check.worst_place or ''}".strip(),
            check.mean_size,
        )
        for check in evaluation.conformal
    ]
    return _table("Conformal sets", header, rows)


def variance_table(tests: VarianceTests) -> Table:
    """What each test measured, and whether it holds."""
    rows = [*_spoiled(tests), *_corrupted(tests), *_masked(tests)]
    fusion, boundaries = tests.fusion, tests.boundaries
    rows.append(("V4 entropy and embedding", f"AURC changes by {fusion.difference}", fusion.holds))
    contrasts = "; ".join(f"{entry.uncertainty.value} times {entry.ratio}" for entry in boundaries.contrasts)
    rows.append(("V5 class boundaries", contrasts, boundaries.holds))
    return _table("Is the variance worth reading?", ("test", "measured", "holds"), rows)


def _spoiled(tests: VarianceTests) -> Iterable[tuple[str, str, bool]]:
    for test in (tests.clouds, tests.speckle):
        if test is not None:
            gains = (f"{entry.own.value} over {entry.rival.value}: {entry.gain}" for entry in test.gains)
            yield f"V1 {test.spoiled_by}", "\n".join(("average precision", *gains)), test.holds


def _corrupted(tests: VarianceTests) -> Iterable[tuple[str, str, bool]]:
    for curve in tests.corruption.curves:
        first, last = curve.levels[0].embedding_variance, curve.levels[-1].embedding_variance
        measured = f"embedding variance {first} to {last}, rank correlation {_text(curve.spearman)}"
        yield f"V2 {curve.kind.value}", measured, curve.rises


def _masked(tests: VarianceTests) -> Iterable[tuple[str, str, bool]]:
    if tests.masking is not None:
        for loss in tests.masking.losses:
            measured = f"embedding variance rises by {loss.embedding_rise}, accuracy falls by {loss.accuracy_fall}"
            yield f"V3 {loss.left.label} alone", measured, tests.masking.holds


def _table(title: str, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> Table:
    table = Table(title=title, title_justify="left")
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 or name == "measured" else "right")
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def _text(cell: object) -> str:
    match cell:
        case None:
            return "-"
        case bool():
            return "yes" if cell else "no"
        case float():
            return f"{cell:#.3g}"
        case Estimate() | str():
            return str(cell)
        case _:
            raise ValueError(f"no text for a {type(cell).__name__}")
