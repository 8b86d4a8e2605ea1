"""Maps of a few samples: what was seen, what is true, what the model says, and how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from contract.bands import Modality
from contract.legend import Legend
from training.data.legends import class_indices
from training.data.sample import BandChoice, Sample
from training.evaluate.exam import Exam, inputs_of
from training.evaluate.pictures import save

MAPS_NAME: Final = "maps.png"
PANELS: Final = ("seen", "label", "answer", "total variance", "embedding variance")
TRUE_COLOR: Final = ("B04", "B03", "B02")
BRIGHTEST_PERCENT: Final = 98
"""Percentile of the three bands together that is drawn white, so that the hue stays."""
DIMMEST_WHITE: Final = 0.1
"""Surface reflectance that is drawn white at least: open water is to look dark."""
RADAR_DB: Final = (-20.0, 0.0)
"""Black and white of VV where there is no Sentinel-2."""
VARIANCE_COLORS: Final = "magma_r"
"""Perceptually uniform; light is certain."""
TOP_PERCENT: Final = 98
"""Percentile of the embedding variance at the top of its scale; a gap or a cloud would else bleach all the rest."""
PANEL_IN: Final = 2.2
"""Width of a panel, inches."""
BAR_HEIGHT: Final = 0.06
"""Of a colour bar, panel widths."""
HATCH_COLOR: Final = "#d8d8d8"

Picture = npt.NDArray[np.float32]
"""(rows, columns, 4): red, green, blue, opacity, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MappedSample:
    """The panels of a sample."""

    title: str
    """Place and day."""
    seen: Picture
    label: Picture
    answer: Picture
    total: npt.NDArray[np.float32]
    """(rows, columns), NaN where nothing was observed."""
    embedding: npt.NDArray[np.float32]


def write_maps(folder: Path, exam: Exam, *, samples: int = 4) -> Path:
    """The path of `maps.png`: some samples, spread over the exam's order, as the model sees them with all sensors."""
    step = -(-len(exam.samples) // samples)
    chosen = [exam.samples[index] for index in range(0, len(exam.samples), step)]
    return save(folder / MAPS_NAME, draw_maps([map_sample(exam, sample) for sample in chosen], exam.legend))


def map_sample(exam: Exam, sample: Sample) -> MappedSample:
    """The panels of a sample."""
    inputs = inputs_of(sample, exam.conditions.bands)
    answer = exam.predict(inputs, sample.lattice_origin)
    observed = (inputs.s2_valid + inputs.s1_valid)[0, 0].numpy() > 0
    nothing = np.full(observed.shape, -1)
    labels = nothing if sample.labels is None else class_indices(sample.labels, exam.legend)
    classes = np.where(observed, answer.probabilities[0].argmax(dim=0).numpy(), -1)
    return MappedSample(
        title=sample.entry.place if sample.entry.acquired is None else f"{sample.entry.place}, {sample.entry.acquired}",
        seen=_seen(sample, exam.conditions.bands),
        label=_colored(labels, exam.legend),
        answer=_colored(classes, exam.legend),
        total=np.where(observed, answer.total[0].numpy(), np.nan),
        embedding=np.where(observed, answer.embedding[0].numpy(), np.nan),
    )


def draw_maps(mapped: Sequence[MappedSample], legend: Legend) -> Figure:
    """One row for each sample, one column for each of `PANELS`; variances have one scale for all rows."""
    flatness = [entry.total.shape[0] / entry.total.shape[1] for entry in mapped]
    sheet = Figure(figsize=(PANEL_IN * len(PANELS), PANEL_IN * sum(flatness) + 1.5), layout="constrained")
    grid = sheet.subplots(len(mapped) + 1, len(PANELS), squeeze=False, height_ratios=(*flatness, BAR_HEIGHT))
    scales = {
        "total variance": Normalize(0, 1 - 1 / len(legend.classes)),
        "embedding variance": Normalize(0, _highest([entry.embedding for entry in mapped])),
    }
    for axes_row, entry in zip(grid[:-1], mapped, strict=True):
        variances = [
            _shaded(entry.total, scales["total variance"]),
            _shaded(entry.embedding, scales["embedding variance"]),
        ]
        for axes, picture in zip(axes_row, (entry.seen, entry.label, entry.answer, *variances), strict=True):
            _panel(axes, picture)
        axes_row[0].set_ylabel(entry.title, fontsize=8)
    for axes, name in zip(grid[0], PANELS, strict=True):
        axes.set_title(name, fontsize=9)
    for axes in grid[-1]:
        axes.set_axis_off()
    for axes, (name, scale) in zip(grid[-1, -len(scales) :], scales.items(), strict=True):
        axes.set_axis_on()
        sheet.colorbar(ScalarMappable(scale, VARIANCE_COLORS), cax=axes, orientation="horizontal")
        axes.set_xlabel(f"{name} (0: certain)", fontsize=7)
        axes.tick_params(labelsize=7)
    _legend(sheet, legend)
    return sheet


def _seen(sample: Sample, bands: BandChoice) -> Picture:
    """True colour; a grey of the first band where the bands for it, or all of Sentinel-2, are missing."""
    if Modality.S2 not in sample.observations:
        radar = sample.observations[Modality.S1]
        dark_db, bright_db = RADAR_DB
        return _opaque(np.repeat(radar.values[:1], 3, axis=0), radar.valid, dark=dark_db, bright=bright_db)
    optical = sample.observations[Modality.S2]
    in_color = set(TRUE_COLOR) <= set(bands.s2)
    channels = [bands.s2.index(name) for name in TRUE_COLOR] if in_color else [0, 0, 0]
    colors = optical.values[channels]
    bright = np.percentile(colors[:, optical.valid], BRIGHTEST_PERCENT) if optical.valid.any() else 0
    return _opaque(colors, optical.valid, dark=0, bright=max(float(bright), DIMMEST_WHITE))


def _opaque(colors: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_], *, dark: float, bright: float) -> Picture:
    """A picture of (3, rows, columns), transparent where not valid."""
    stretched = np.asarray(Normalize(dark, bright, clip=True)(colors))
    return np.moveaxis(np.concatenate([stretched, valid[None]]), 0, -1).astype(np.float32)


def _colored(classes: npt.NDArray[np.int64], legend: Legend) -> Picture:
    """Legend colours of class indices, transparent where there is none."""
    colors = np.array([*((*to_rgb(entry.color), 1) for entry in legend.classes), (0, 0, 0, 0)], np.float32)
    return colors[classes]


def _shaded(variance: npt.NDArray[np.float32], scale: Normalize) -> Picture:
    colors = np.asarray(mpl.colormaps[VARIANCE_COLORS](scale(np.nan_to_num(variance))), np.float32)
    colors[np.isnan(variance)] = 0
    return colors


def _highest(variances: Sequence[npt.NDArray[np.float32]]) -> float:
    """The top of the scale; 1 where there is nothing to show."""
    seen = np.concatenate([variance[~np.isnan(variance)] for variance in variances])
    return float(np.percentile(seen, TOP_PERCENT)) or 1 if len(seen) else 1


def _panel(axes: Axes, picture: Picture) -> None:
    """A picture over a hatched ground that shows where there is none."""
    axes.patch.set(facecolor="white", edgecolor=HATCH_COLOR, hatch="////")
    axes.imshow(picture, interpolation="nearest")
    axes.set(xticks=[], yticks=[])


def _legend(sheet: Figure, legend: Legend) -> None:
    handles = [Patch(facecolor=entry.color, edgecolor="#888888", lw=0.5, label=entry.name) for entry in legend.classes]
    handles.append(Patch(facecolor="white", edgecolor=HATCH_COLOR, hatch="////", label="not observed, no label"))
    sheet.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
