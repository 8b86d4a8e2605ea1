from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from contract.bands import Modality
from contract.bundle import ConformalThreshold
from contract.errors import SampleInvalid
from tests.training.evaluate.examples import PLACES, exam, landscape
from training.evaluate.conformal import fit_thresholds
from training.evaluate.report import Evaluation, evaluate, write_evaluation
from training.evaluate.tables import tables


@pytest.fixture(scope="module")
def thresholds() -> tuple[ConformalThreshold, ...]:
    calibration = replace(exam(1), samples=[landscape(index) for index in range(10, 14)]).answers()
    return fit_thresholds(calibration, calibration.place)


@pytest.fixture(scope="module")
def evaluation(thresholds: tuple[ConformalThreshold, ...]) -> Evaluation:
    return evaluate(exam(4), model="formula 1", archives=("invented 1",), thresholds=thresholds, draws=30)


def _text(evaluation: Evaluation) -> str:
    console = Console(file=StringIO(), width=240)
    for table in tables(evaluation):
        console.print(table)
    return console.file.getvalue()


def test_an_evaluation_reads_back_as_it_was_written(evaluation: Evaluation, tmp_path: Path) -> None:
    path = write_evaluation(tmp_path, evaluation)
    assert path.name == "evaluation.json"
    assert Evaluation.model_validate_json(path.read_text()) == evaluation


def test_every_sensor_has_its_scores(evaluation: Evaluation) -> None:
    assert [entry.view for entry in evaluation.scores] == ["all sensors", "Sentinel-2 alone", "Sentinel-1 alone"]
    assert {entry.pixels for entry in evaluation.scores} == {1600}
    assert evaluation.places == PLACES
    everything, _, radar = evaluation.scores
    assert everything.overall_accuracy.value > radar.overall_accuracy.value


def test_the_same_seed_gives_the_same_evaluation(evaluation: Evaluation, thresholds: tuple[ConformalThreshold]) -> None:
    again = evaluate(exam(4), model="formula 1", archives=("invented 1",), thresholds=thresholds, draws=30)
    assert again == evaluation


def test_thresholds_are_checked_on_the_samples_of_the_exam(evaluation: Evaluation) -> None:
    assert [check.threshold.alpha for check in evaluation.conformal] == [0.05, 0.1, 0.2] * 2
    assert all(check.worst_coverage <= check.coverage for check in evaluation.conformal)
    widest = evaluation.conformal[0]
    assert widest.coverage > 0.9
    assert 1 < widest.mean_size <= 4


def test_tables_say_what_was_measured(evaluation: Evaluation) -> None:
    text = _text(evaluation)
    assert "formula 1 on 4 samples of 4 unseen places (95% intervals over places)" in text
    assert str(evaluation.scores[0].overall_accuracy) in text
    assert "LAC, 4 blocks" in text
    for name in ("Cropland", "V1 pasted cloud", "V2 speckle", "V3 Sentinel-1 alone", "V4 entropy", "V5 class"):
        assert name in text


def test_an_exam_of_one_place_has_no_intervals() -> None:
    evaluation = evaluate(exam(1), model="formula 1", archives=("invented 1",))
    assert evaluation.scores[0].overall_accuracy.value is not None
    assert evaluation.scores[0].overall_accuracy.low is None
    assert "NaN" not in evaluation.model_dump_json()
    assert "Infinity" not in evaluation.model_dump_json()


def test_an_archive_of_one_sensor_is_scored_without_the_other() -> None:
    samples = [landscape(index, modalities=[Modality.S2]) for index in range(2)]
    evaluation = evaluate(replace(exam(1), samples=samples), model="formula 1", archives=("invented 1",), draws=20)
    assert [entry.view for entry in evaluation.scores] == ["all sensors", "Sentinel-2 alone"]
    assert evaluation.variance.masking is None
    assert evaluation.variance.speckle is None
    assert "V3" not in _text(evaluation)


def test_labels_of_another_legend_are_refused() -> None:
    strange = [replace(landscape(), labels=np.full((40, 56), 95, np.uint8))]
    with pytest.raises(SampleInvalid, match="no observed pixel with a label of ESA WorldCover, 2236 with other labels"):
        evaluate(replace(exam(1), samples=strange), model="formula 1", archives=("invented 1",))
