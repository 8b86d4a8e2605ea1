"""Charts of an evaluation, as PNG: everything is drawn from the record, so they can be drawn again from its file."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from training.evaluate.answers import Uncertainty
from training.evaluate.bootstrap import Estimate
from training.evaluate.ranking import COVERAGES
from training.evaluate.report import Evaluation
from training.evaluate.variance_tests import CorruptionCurve

DPI: Final = 120
DARK_SHARE: Final = 0.6
"""Share from which a cell of the confusion matrix is dark, so that its number is written in white."""
VARIANCES: Final = (Uncertainty.TOTAL, Uncertainty.ALEATORIC, Uncertainty.EMBEDDING, Uncertainty.LATENT)
"""Drawn solid; what any model could offer is dashed."""

Chart = Callable[[Evaluation], Figure]


def write_charts(folder: Path, evaluation: Evaluation) -> tuple[Path, ...]:
    """The paths of the charts, written to a folder that exists."""
    charts: dict[str, Chart] = {
        "reliability.png": reliability_diagram,
        "risk-coverage.png": risk_coverage_chart,
        "confusion.png": confusion_chart,
        "variance-by-class.png": class_variance_chart,
        "corruption.png": corruption_chart,
    }
    return tuple(save(folder / name, chart(evaluation)) for name, chart in charts.items())


def save(path: Path, sheet: Figure) -> Path:
    """The path of a figure, written as PNG."""
    sheet.savefig(path, format="png", dpi=DPI)
    return path


def reliability_diagram(evaluation: Evaluation) -> Figure:
    """Accuracy against confidence for each view, over the share of the pixels in each bin."""
    sheet = Figure(figsize=(6, 7), layout="constrained")
    upper, lower = sheet.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="#888888", lw=1, ls="--", label="perfectly calibrated")
    for index, scores in enumerate(evaluation.scores):
        bins = [entry for entry in scores.reliability if entry.pixels]
        confidence, accuracy = [entry.confidence for entry in bins], [entry.accuracy for entry in bins]
        label = f"{scores.view}: calibration error {_figure(scores.ece)}"
        upper.plot(confidence, accuracy, marker="o", ms=4, lw=1.5, color=f"C{index}", label=label)
        edges = [*(entry.low for entry in scores.reliability), scores.reliability[-1].high]
        shares = [entry.pixels / scores.pixels for entry in scores.reliability]
        lower.stairs(shares, edges, color=f"C{index}", lw=1.5)
    upper.set(
        ylabel="accuracy", title="How often the model is right when it says how sure it is", xlim=(0, 1), ylim=(0, 1)
    )
    upper.legend(loc="upper left", fontsize=8, frameon=False)
    lower.set(xlabel="probability of the most probable class", ylabel="share of pixels", ylim=(0, None))
    _percent(upper.xaxis, upper.yaxis, lower.yaxis)
    _quiet(upper, lower)
    return sheet


def risk_coverage_chart(evaluation: Evaluation) -> Figure:
    """Error rate of the most certain pixels against their share, for each uncertainty."""
    scores = evaluation.scores[0]
    sheet = Figure(figsize=(8, 5), layout="constrained")
    axes = sheet.subplots()
    for entry in scores.detection:
        label = f"{entry.uncertainty.value} (area {_figure(entry.aurc)})"
        style = "-" if entry.uncertainty in VARIANCES else "--"
        axes.plot(COVERAGES, np.array(entry.risks, np.float64), lw=1.5, ls=style, label=label)
    axes.set(
        xlabel="share of the pixels that is kept, the most certain ones first",
        ylabel="share of errors among them",
        title=f"What leaving uncertain pixels out gains, {scores.view}",
        xlim=(0, 1),
        ylim=(0, None),
    )
    axes.legend(
        fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1), title="kept by lowest", alignment="left"
    )
    _percent(axes.xaxis, axes.yaxis)
    _quiet(axes)
    return sheet


def confusion_chart(evaluation: Evaluation) -> Figure:
    """Where the pixels of each class went, in percent of the class."""
    scores = evaluation.scores[0]
    shown = [index for index, entry in enumerate(scores.classes) if entry.labelled or entry.predicted]
    counts = np.array(scores.confusion, np.float64)[np.ix_(shown, shown)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 3.2 + 0.6 * len(shown)
    sheet = Figure(figsize=(size, 0.9 * size), layout="constrained")
    axes = sheet.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        if counts[row].any():
            color = "white" if share > DARK_SHARE else "black"
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color=color)
    names = [scores.classes[index].name for index in shown]
    labels = [f"{scores.classes[index].name}\n{scores.classes[index].labelled:,} px" for index in shown]
    axes.set_xticks(range(len(shown)), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(shown)), labels, fontsize=8)
    axes.set(xlabel="answer of the model", ylabel="label")
    axes.set_title(f"Where each class went, % of its labelled pixels\n{scores.view}", fontsize=10)
    return sheet


def class_variance_chart(evaluation: Evaluation) -> Figure:
    """Mean variance of the pixels of each class, split into what the embedding leaves open and the rest."""
    scores = evaluation.scores[0]
    shown = [entry for entry in scores.classes if entry.labelled]
    total = np.array([entry.total_variance for entry in shown], np.float64)
    embedding = np.array([entry.embedding_variance for entry in shown], np.float64)
    sheet = Figure(figsize=(7, 1.9 + 0.4 * len(shown)), layout="constrained")
    axes = sheet.subplots()
    axes.barh(range(len(shown)), embedding, color="C3", label="embedding: the input leaves it open")
    axes.barh(
        range(len(shown)), total - embedding, left=embedding, color="#c9c9c9", label="aleatoric: the classes overlap"
    )
    accuracies = (f"{entry.name}\nrecall {_percentage(entry.recall)}" for entry in shown)
    axes.set_yticks(range(len(shown)), list(accuracies), fontsize=8)
    axes.invert_yaxis()
    highest = 1 - 1 / len(scores.classes)
    axes.set(
        xlabel=f"mean variance of the label, 0 (certain) to {highest:.2f}", title=f"Variance by class, {scores.view}"
    )
    sheet.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=2)
    _quiet(axes)
    return sheet


def corruption_chart(evaluation: Evaluation) -> Figure:
    """Embedding variance and accuracy against the strength of each corruption, with intervals over places."""
    curves = evaluation.variance.corruption.curves
    sheet = Figure(figsize=(2.4 * len(curves) + 0.6, 5), layout="constrained")
    grid = sheet.subplots(2, len(curves), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), curve in zip(grid.T, curves, strict=True):
        _band(upper, curve, [level.embedding_variance for level in curve.levels], "C3")
        _band(lower, curve, [level.accuracy for level in curve.levels], "C0")
        upper.set_title(
            f"{curve.kind.value}\n{'rises throughout' if curve.rises else 'does not always rise'}", fontsize=9
        )
        lower.set_xticks([level.level for level in curve.levels])
        _quiet(upper, lower)
    grid[0, 0].set_ylabel("mean embedding variance")
    grid[0, 0].set_ylim(bottom=0)
    grid[1, 0].set_ylabel("accuracy")
    _percent(grid[1, 0].yaxis)
    sheet.supxlabel("level of the corruption, 0: none", fontsize=10)
    sheet.suptitle(f"What spoiled inputs do; bands are {evaluation.level:.0%} intervals over places", fontsize=11)
    return sheet


def _band(axes: Axes, curve: CorruptionCurve, estimates: list[Estimate], color: str) -> None:
    levels = [level.level for level in curve.levels]
    values, low, high = np.array([(one.value, one.low, one.high) for one in estimates], np.float64).T
    axes.plot(levels, values, marker="o", ms=4, color=color)
    axes.fill_between(levels, low, high, color=color, alpha=0.2, lw=0)


def _percent(*axes: Axis) -> None:
    for axis in axes:
        axis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))


def _quiet(*every: Axes) -> None:
    """Without the frame on top and on the right, which carries nothing."""
    for axes in every:
        axes.spines[["top", "right"]].set_visible(False)


def _figure(estimate: Estimate) -> str:
    return "-" if estimate.value is None else f"{estimate.value:.3f}"


def _percentage(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
