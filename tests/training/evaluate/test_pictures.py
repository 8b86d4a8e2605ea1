import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from contract.bands import Modality
from tests.training.evaluate.examples import LEGEND, SHAPE, exam, landscape
from training.data.sample import BandChoice
from training.evaluate.maps import draw_maps, map_sample, write_maps
from training.evaluate.pictures import class_variance_chart, confusion_chart, risk_coverage_chart, write_charts
from training.evaluate.report import Evaluation, evaluate


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(exam(2), model="formula 1", archives=("invented 1",), draws=20)


def _one_place() -> Evaluation:
    return evaluate(exam(1), model="formula 1", archives=("invented 1",))


def test_every_chart_is_a_picture_with_something_on_it(evaluation: Evaluation, tmp_path: Path) -> None:
    paths = write_charts(tmp_path, evaluation)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
    assert len(paths) == 5
    for path in paths:
        pixels = imread(path)
        assert min(pixels.shape[:2]) > 200
        assert 0.01 < (pixels[..., :3].min(axis=2) < 0.9).mean() < 0.8


def test_charts_are_drawn_without_intervals(tmp_path: Path) -> None:
    assert len(write_charts(tmp_path, _one_place())) == 5


def test_curves_are_those_of_the_record(evaluation: Evaluation) -> None:
    (axes,) = risk_coverage_chart(evaluation).axes
    for line, entry in zip(axes.lines, evaluation.scores[0].detection, strict=True):
        np.testing.assert_allclose(line.get_ydata(), entry.risks)
        assert line.get_label().startswith(entry.uncertainty.value)


def test_the_confusion_chart_gives_percents_of_the_label(evaluation: Evaluation) -> None:
    (axes,) = confusion_chart(evaluation).axes
    counts = np.array(evaluation.scores[0].confusion)
    expected = [f"{100 * share:.0f}" for share in (counts / counts.sum(axis=1, keepdims=True)).ravel()]
    assert [text.get_text() for text in axes.texts] == expected


def test_bars_of_both_variances_reach_the_total(evaluation: Evaluation) -> None:
    (axes,) = class_variance_chart(evaluation).axes
    ends = [bar.get_x() + bar.get_width() for bar in axes.containers[1]]
    assert ends == pytest.approx([entry.total_variance for entry in evaluation.scores[0].classes])


def test_maps_have_the_colours_of_the_legend() -> None:
    mapped = map_sample(exam(1), landscape())
    labels = landscape().labels
    for entry in LEGEND.classes:
        drawn = np.unique(mapped.label[labels == entry.value], axis=0)
        np.testing.assert_allclose(drawn, [[*to_rgb(entry.color), 1]], rtol=1e-6)
    assert not mapped.label[~np.isin(labels, [10, 40, 50, 80])][:, 3].any()


def test_maps_leave_out_what_nobody_saw() -> None:
    mapped = map_sample(exam(1), landscape())
    unseen = np.zeros(SHAPE, bool)
    unseen[:2, :2] = True
    np.testing.assert_array_equal(np.isnan(mapped.total), unseen)
    np.testing.assert_array_equal(mapped.answer[..., 3] == 0, unseen)


def test_a_map_shows_the_answers_of_the_model() -> None:
    answers = exam(1).answers()
    mapped = map_sample(exam(1), landscape())
    colors = np.array([to_rgb(entry.color) for entry in LEGEND.classes])
    rows, columns = answers.position.T
    np.testing.assert_allclose(mapped.answer[rows, columns, :3], colors[answers.predicted], rtol=1e-6)
    np.testing.assert_allclose(mapped.embedding[rows, columns], answers.embedding, rtol=1e-5)


def test_true_colour_is_red_green_and_blue() -> None:
    sample = landscape()
    optical = sample.observations[Modality.S2]
    # B02, B03, B04, B08
    values = np.stack([np.full(SHAPE, level, np.float32) for level in (0.02, 0.06, 0.1, 0.4)]) * optical.valid
    sample = replace(sample, observations={Modality.S2: replace(optical, values=values)})
    seen = map_sample(exam(1), sample).seen
    np.testing.assert_allclose(seen[10, 10], [1, 0.6, 0.2, 1], atol=1e-6)
    assert seen[0, 0, 3] == 0


def test_without_colour_bands_or_sentinel_2_a_map_is_grey() -> None:
    radar = map_sample(exam(1), landscape(modalities=[Modality.S1])).seen
    assert np.ptp(radar[..., :3], axis=2).max() == 0
    assert radar[10, 10, 3] == 1
    asked = exam(1)
    asked = replace(asked, conditions=replace(asked.conditions, bands=BandChoice(s2=("B05", "B06", "B07", "B11"))))
    infrared = map_sample(asked, landscape()).seen
    assert np.ptp(infrared[..., :3], axis=2).max() == 0


def test_maps_are_drawn_of_a_few_samples(tmp_path: Path) -> None:
    path = write_maps(tmp_path, exam(5), samples=2)
    assert imread(path).shape[1] == 11 * 120
    sheet = draw_maps([map_sample(exam(1), landscape(index)) for index in range(3)], LEGEND)
    assert len(sheet.axes) == 4 * 5


def test_drawing_keeps_no_figure_of_its_own() -> None:
    code = "import sys, training.evaluate.maps; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0
