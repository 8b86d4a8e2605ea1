"""The log of a run as a picture."""

import csv
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.run import LOG_NAME, Run

CURVES_NAME: Final = "curves.png"
SMOOTHED_STEPS: Final = 25
"""Steps behind each point of the thick line."""


def draw_curves(run: Run) -> Path | None:
    """The path of `curves.png`, one panel for each figure of the log; None for a run that logged nothing."""
    if run.folder is None or not (run.folder / LOG_NAME).exists():
        return None
    with (run.folder / LOG_NAME).open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    names = [name for name in lines[0] if name != "step"]
    steps = np.array([int(line["step"]) for line in lines])
    sheet = Figure(figsize=(8, 2.2 * len(names)), layout="constrained")
    FigureCanvasAgg(sheet)
    for axes, name in zip(np.atleast_1d(sheet.subplots(len(names), sharex=True)), names, strict=True):
        values = np.array([float(line[name]) for line in lines])
        axes.plot(steps, values, color="#bbbbbb", linewidth=0.7)
        width = min(SMOOTHED_STEPS, len(values))
        smooth = np.convolve(values, np.ones(width) / width, mode="valid")
        axes.plot(steps[width - 1 :], smooth, color="#0b5c8c")
        axes.set_ylabel(name.replace("_", " "))
    axes.set_xlabel("step")
    path = run.folder / CURVES_NAME
    sheet.savefig(path, dpi=110)
    return path
