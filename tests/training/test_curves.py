"""The log of a run as a picture."""

from pathlib import Path

import pytest
from matplotlib.image import imread

from training.curves import draw_curves
from training.run import Run


@pytest.mark.parametrize("steps", [1, 60])
def test_there_is_a_panel_for_each_figure_of_the_log(tmp_path: Path, steps: int) -> None:
    run = Run(seed=0, folder=tmp_path)
    for step in range(steps):
        run.log(step, {"contrastive": 3 - 0.02 * step, "gradient_norm": 1.0, "divergence": 0.1})
    path = draw_curves(run)
    assert path == tmp_path / "curves.png"
    height, width, _ = imread(path).shape
    assert (height, width) == (round(3 * 2.2 * 110), 8 * 110)


def test_a_run_without_a_folder_has_no_picture() -> None:
    assert draw_curves(Run(seed=0)) is None
