"""What two bundles differ in, by name."""

import json
from pathlib import Path

import pytest

from contract.bands import Modality
from contract.bundle import Calibration, Temperature
from contract.errors import BundleInvalid
from contract.evaluation import BundleEvaluation, Interval, SplitEvaluation, ViewFigures
from export.folder import write_file, write_manifest
from tests.bundles import write_identity_bundle
from workers.bundle import Bundle, find_bundle
from workers.bundle_diff import Difference, compare_bundles


def changed(folder: Path, **fields: object) -> Bundle:
    """An identity bundle with other fields."""
    manifest = write_identity_bundle(folder, chip_px=32)
    write_manifest(folder, manifest.model_copy(update=fields))
    return find_bundle(str(folder), ())


def evaluated(folder: Path, accuracy: float) -> Bundle:
    """An identity bundle with an evaluation of one figure."""
    manifest = write_identity_bundle(folder, chip_px=32)
    view = ViewFigures(view="all sensors", pixels=1234, figures={"overall accuracy": Interval(value=accuracy)})
    split = SplitEvaluation(
        split="val", archives=("one",), samples=1, places=("here",), level=0.95, views=(view,), details="model.onnx"
    )
    content = BundleEvaluation(splits=(split,)).model_dump_json().encode()
    entry = write_file(folder, "evaluation.json", content)
    update = {"files": (*manifest.files, entry), "evaluation": entry.path}
    write_manifest(folder, manifest.model_copy(update=update))
    return find_bundle(str(folder), ())


def test_a_bundle_does_not_differ_from_itself(tmp_path: Path) -> None:
    bundle = evaluated(tmp_path, 0.5)
    assert compare_bundles(bundle, bundle) == ()


def test_fields_of_the_manifest_are_named_by_their_path(tmp_path: Path) -> None:
    temperature = Temperature(both=1.5, s2_alone=2, s1_alone=1)
    calibration = Calibration(temperature=temperature, variance_scale=1, expert_weights=dict.fromkeys(Modality, 1))
    first, second = tmp_path / "first", tmp_path / "second"
    found = compare_bundles(changed(first), changed(second, version="2", calibration=calibration))
    assert found[0] == Difference(what="version", first="1", second="2")
    assert Difference(what="calibration.temperature.both", first="-", second="1.5") in found


def test_outputs_are_matched_by_name_whatever_their_order(tmp_path: Path) -> None:
    first = changed(tmp_path / "first")
    second = changed(tmp_path / "second", outputs=first.manifest.outputs[::-1])
    assert compare_bundles(first, second) == ()


def test_a_file_with_other_bytes_and_a_file_that_one_lacks_are_listed(tmp_path: Path) -> None:
    first, second = changed(tmp_path / "first"), evaluated(tmp_path / "second", 0.5)
    found = {entry.what: entry for entry in compare_bundles(first, second)}
    assert found["file evaluation.json"].first == "-"
    assert found["file evaluation.json"].second.endswith(
        f"{(tmp_path / 'second/evaluation.json').stat().st_size} bytes"
    )
    assert "file model.onnx" not in found


def test_figures_of_evaluations_are_compared_view_by_view(tmp_path: Path) -> None:
    found = compare_bundles(evaluated(tmp_path / "first", 0.5), evaluated(tmp_path / "second", 0.625))
    assert found[-1] == Difference(what="val, all sensors: overall accuracy", first="0.500", second="0.625")
    assert [entry.what for entry in found] == ["file evaluation.json", "val, all sensors: overall accuracy"]


def test_an_evaluation_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    bundle = evaluated(tmp_path / "first", 0.5)
    (bundle.folder / "evaluation.json").write_text(json.dumps({"splits": []}))
    with pytest.raises(BundleInvalid, match=r"evaluation\.json cannot be read"):
        compare_bundles(bundle, bundle)
