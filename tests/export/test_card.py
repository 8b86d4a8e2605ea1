"""The card says what the bundle's files say, and the failures that the figures show."""

import re
from pathlib import Path

import pytest

from contract.bundle import Provider
from contract.evaluation import BundleEvaluation
from export.card import _parity
from export.chips import WILD_VALUES
from export.failures import known_failures, untested
from export.graphs import BundleParity, GraphParity
from export.parity import LIMITS, OutputParity, ParityReport
from tests.export.checkpoints import Trained
from training.evaluate.bootstrap import Estimate
from training.evaluate.report import Evaluation
from workers.bundle import find_bundle


@pytest.fixture(scope="session")
def card(bundle: Path) -> str:
    return (bundle / "README.md").read_text()


@pytest.fixture(scope="session")
def evaluation(trained: Trained) -> Evaluation:
    return Evaluation.model_validate_json((trained.evaluation / "evaluation.json").read_bytes())


def test_every_figure_of_the_evaluation_is_on_the_card(card: str, bundle: Path) -> None:
    written = BundleEvaluation.model_validate_json((bundle / "evaluation.json").read_bytes())
    for view in written.splits[0].views:
        for name, figure in view.figures.items():
            (row,) = re.findall(rf"^\| {re.escape(name)} \|.*$", card, re.MULTILINE)
            assert str(figure) in row


def test_data_places_and_outputs_are_on_the_card(card: str, bundle: Path, trained: Trained) -> None:
    manifest = find_bundle(str(bundle), ()).manifest
    told = (*trained.provenance.data, *trained.provenance.places, *(entry.description for entry in manifest.outputs))
    assert [text for text in told if text not in card] == []
    assert "CDLA-Permissive-1.0" in card
    assert "from 6 labelled samples of 3 places" in card
    assert "Mangroves" in card.partition("## What it was not trained on")[2].partition("##")[0]


def test_every_picture_on_the_card_is_in_the_bundle(card: str, bundle: Path) -> None:
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", card)
    assert len(pictures) == 6
    assert all((bundle / path).is_file() for path in pictures)


def test_tables_have_as_many_cells_in_every_row(card: str) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_errors_stand_beside_the_limit_that_they_are_held_to() -> None:
    """Wild values have a limit of their own, and no mean is judged of them."""
    about = {"provider": Provider.CPU, "output": "variance", "chips": 1}
    report = ParityReport(
        precision="int8",
        limit=LIMITS["int8"],
        outputs=(
            OutputParity(**about, case="both sensors", mean_error=0.004, max_error=0.15),
            OutputParity(**about, case=WILD_VALUES, mean_error=0.018, max_error=0.7),
        ),
        untried=(),
    )
    (row,) = (
        line for line in _parity(BundleParity(graphs=(GraphParity(path="g", report=report),))) if "variance" in line
    )
    assert row.endswith("| 4.0e-03 of 1e-02 | 1.5e-01 of 2e-01 |")


def with_class(evaluation: Evaluation, index: int, **figures: object) -> Evaluation:
    """The evaluation with other figures of one class."""
    scores = evaluation.scores[0]
    classes = list(scores.classes)
    classes[index] = classes[index].model_copy(update=figures)
    return with_scores(evaluation, classes=tuple(classes))


def with_scores(evaluation: Evaluation, **figures: object) -> Evaluation:
    """The evaluation with other scores of all sensors."""
    first, *others = evaluation.scores
    return evaluation.model_copy(update={"scores": (first.model_copy(update=figures), *others)})


def test_a_class_that_is_hardly_found_is_a_failure_with_what_it_is_taken_for(evaluation: Evaluation) -> None:
    bad = with_class(evaluation, 1, recall=0.25, precision=0.9)
    bad = with_scores(bad, confusion=((9, 0, 0), (60, 25, 15), (0, 0, 9)))
    name, rival = (entry.name for entry in (bad.legend.classes[1], bad.legend.classes[0]))
    assert f"Of {name}, 25% is found; 60% of it is taken for {rival}." in known_failures(bad)
    good = with_class(evaluation, 1, recall=0.75, precision=0.9)
    assert not [line for line in known_failures(good) if f"Of {name}" in line or f"says {name}" in line]


def test_a_class_that_is_wrongly_said_is_a_failure(evaluation: Evaluation) -> None:
    name = evaluation.legend.classes[2].name
    assert f"Where it says {name}, it is right in 30% of the pixels." in known_failures(
        with_class(evaluation, 2, precision=0.3)
    )


def test_a_class_without_labels_was_not_tested(evaluation: Evaluation) -> None:
    unseen = with_class(evaluation, 2, labelled=0, predicted=1234, recall=None)
    name = evaluation.legend.classes[2].name
    assert untested(unseen) == (name,)
    assert f"{name} was said of 1,234 pixels, and none of the labels is of it." in known_failures(unseen)


@pytest.mark.parametrize(("coverage", "fails"), [(0.9, False), (0.915, False), (0.925, True), (0.87, True)])
def test_sets_that_miss_their_nominal_coverage_by_two_points_are_a_failure(
    evaluation: Evaluation, coverage: float, *, fails: bool
) -> None:
    checks = [
        check for check in evaluation.conformal if (check.threshold.method, check.threshold.alpha) == ("lac", 0.1)
    ]
    only = evaluation.model_copy(update={"conformal": (checks[0].model_copy(update={"coverage": coverage}),)})
    found = [line for line in known_failures(only) if line.startswith("LAC sets")]
    assert bool(found) == fails
    assert not fails or f"hold it in {coverage:.1%}" in found[0]


@pytest.mark.parametrize(("confidence", "manner"), [(0.9, "more sure"), (0.3, "less sure")])
def test_a_calibration_error_is_told_with_its_direction(evaluation: Evaluation, confidence: float, manner: str) -> None:
    last = (
        evaluation.scores[0]
        .reliability[-1]
        .model_copy(update={"pixels": 100, "confidence": confidence, "accuracy": 0.6})
    )
    off = with_scores(evaluation, ece=Estimate(value=0.3), reliability=(last,))
    assert any(manner in line for line in known_failures(off))
    fine = with_scores(evaluation, ece=Estimate(value=0.04), reliability=(last,))
    assert not any("sure of itself" in line for line in known_failures(fine))


def test_an_uncertainty_that_is_worse_than_chance_is_a_failure(evaluation: Evaluation) -> None:
    first, *others = evaluation.scores[0].detection
    worse = with_scores(evaluation, detection=(first.model_copy(update={"auroc": Estimate(value=0.4)}), *others))
    assert any(line.startswith("Its total variance finds errors worse than chance") for line in known_failures(worse))


def test_a_test_of_the_variance_that_failed_is_named_with_what_it_asked(evaluation: Evaluation) -> None:
    variance = evaluation.variance
    for holds in (True, False):
        fusion = variance.fusion.model_copy(update={"holds": holds})
        changed = evaluation.model_copy(update={"variance": variance.model_copy(update={"fusion": fusion})})
        found = [line for line in known_failures(changed) if "test of finding errors" in line]
        assert bool(found) != holds
        assert holds or fusion.criterion in found[0]
