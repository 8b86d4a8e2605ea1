"""From a checkpoint to a folder that a worker runs: whole, or not at all."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from contract.bundle import BundleManifest
from contract.errors import BundleExists, BundleInvalid, CheckpointInvalid, EvaluationUnfit, ParityFailed
from contract.evaluation import BundleEvaluation
from export import graphs
from export.bundle import BundleOrder, export_bundle
from export.graphs import BundleParity
from export.parity import LIMITS
from tests.export.checkpoints import CALIBRATION, Trained
from training.checkpoint import load_model, save
from training.evaluate.report import Evaluation
from training.tensors import Inputs
from workers.bundle import find_bundle
from workers.model import Model
from workers.products.spec import raster_specs


@pytest.fixture
def order(trained: Trained) -> BundleOrder:
    return BundleOrder(
        checkpoint=trained.checkpoint, evaluations=(trained.evaluation,), name="tiny-map", version="1.0", chip_px=128
    )


def manifest_of(bundle: Path) -> BundleManifest:
    return find_bundle(str(bundle), ()).manifest


def test_a_worker_gets_the_numbers_of_the_checkpoint(bundle: Path, trained: Trained) -> None:
    worker = Model(find_bundle(str(bundle), ()), threads=1)
    random = np.random.default_rng(1)
    batch = {name: random.random(planes.shape, np.float32) for name, planes in worker.empty_batch().items()}
    batch["s1"] = 20 * batch["s1"] - 25
    batch["s2_valid"], batch["s1_valid"] = (np.round(batch[name]) for name in ("s2_valid", "s1_valid"))
    for sensor in ("s2", "s1"):
        batch[sensor] *= batch[f"{sensor}_valid"]
    names = ("probabilities", "variance", "model_doubt", "ood_distance")
    found = dict(zip(names, worker.predict(batch, names), strict=True))
    model, _ = load_model(trained.checkpoint)
    with torch.inference_mode():
        expected = model(Inputs(**{name: torch.from_numpy(planes) for name, planes in batch.items()}))
    variance = torch.stack([expected.total, expected.aleatoric, expected.embedding], dim=1)
    np.testing.assert_allclose(found["probabilities"], expected.probabilities.numpy(), atol=1e-5)
    np.testing.assert_allclose(found["variance"], variance.numpy(), atol=1e-5)
    np.testing.assert_allclose(found["model_doubt"][:, 0], expected.doubt.numpy(), atol=1e-5)
    np.testing.assert_allclose(found["ood_distance"][:, 0], expected.ood_distance.numpy(), rtol=1e-4)


def test_every_file_of_the_folder_but_the_manifest_is_listed_and_small(bundle: Path) -> None:
    inside = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert {file.path for file in manifest_of(bundle).files} == inside - {"manifest.json"}
    assert sum(path.stat().st_size for path in bundle.rglob("*")) < 20e6
    assert (bundle.stat().st_mode & 0o777) == 0o755


def test_the_manifest_says_what_the_checkpoint_is(bundle: Path, trained: Trained) -> None:
    manifest = manifest_of(bundle)
    model, _ = load_model(trained.checkpoint)
    assert manifest.kind == "trained"
    assert manifest.calibration == CALIBRATION
    assert manifest.training.data == trained.provenance.data
    assert manifest.halo_px >= model.radius_px > manifest.halo_px - manifest.alignment_px
    assert manifest.inputs[0].bands == ("B02", "B03", "B04", "B08")
    assert [graph.path for graph in manifest.graphs] == ["model.onnx", "model-full.onnx"]


def test_every_output_of_the_bundle_can_be_stored(bundle: Path) -> None:
    manifest = manifest_of(bundle)
    specs = raster_specs(manifest, tuple(entry.name for entry in manifest.outputs))
    assert {spec.name for spec in specs} - {"landcover", "quality"} == {
        *("probabilities", "variance", "latent_variance", "entropy", "margin"),
        *("model_doubt", "ood_distance", "conformal_set"),
    }


def test_figures_are_those_of_the_evaluation_by_split_and_by_sensor(bundle: Path, trained: Trained) -> None:
    manifest = manifest_of(bundle)
    written = BundleEvaluation.model_validate_json((bundle / manifest.evaluation).read_bytes())
    measured = json.loads((trained.evaluation / "evaluation.json").read_text())
    (split,) = written.splits
    assert (split.split, list(split.places)) == ("val", measured["places"])
    assert [view.view for view in split.views] == ["all sensors", "Sentinel-2 alone", "Sentinel-1 alone"]
    for view, scores in zip(split.views, measured["scores"], strict=True):
        assert view.figures["overall accuracy"].model_dump() == scores["overall_accuracy"]
        assert view.figures["calibration error"].model_dump() == scores["ece"]
    coverages = [check["coverage"] for check in measured["conformal"]]
    found = [figure.value for name, figure in split.views[0].figures.items() if name.startswith("coverage of")]
    assert found == coverages
    assert Evaluation.model_validate_json((bundle / split.details).read_bytes()).model == "tiny"
    assert {Path(path).name for path in split.pictures} == {path.name for path in trained.evaluation.glob("*.png")}


def test_parity_of_every_graph_and_output_is_kept(bundle: Path) -> None:
    manifest = manifest_of(bundle)
    parity = BundleParity.model_validate_json((bundle / manifest.parity).read_bytes())
    for entry, graph in zip(parity.graphs, manifest.graphs, strict=True):
        assert entry.path == graph.path
        assert {output.output for output in entry.report.outputs} == {*graph.outputs}
        assert entry.report.worst.max_error <= entry.report.limit.maximum


def test_a_graph_that_fails_the_gate_leaves_nothing(
    order: BundleOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = {"float32": LIMITS["float32"].model_copy(update={"maximum": 1e-30})}
    monkeypatch.setattr("export.parity.LIMITS", strict)
    with pytest.raises(ParityFailed):
        export_bundle(order, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_not_touched(order: BundleOrder, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BundleExists, match=str(tmp_path)):
        export_bundle(order, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_checkpoint_that_is_not_calibrated_is_refused(order: BundleOrder, trained: Trained, tmp_path: Path) -> None:
    model, provenance = load_model(trained.checkpoint)
    save(tmp_path / "probe.pt", model, provenance.model_copy(update={"calibration": None}))
    with pytest.raises(CheckpointInvalid, match="not calibrated"):
        export_bundle(order.model_copy(update={"checkpoint": tmp_path / "probe.pt"}), tmp_path / "bundle")


@pytest.mark.parametrize("chip_px", [100, 64])
def test_a_chip_that_does_not_fit_strides_or_halo_is_refused(order: BundleOrder, tmp_path: Path, chip_px: int) -> None:
    with pytest.raises(
        BundleInvalid, match=f"chips of {chip_px} px do not fit the model; need a multiple of 8 px above"
    ):
        export_bundle(order.model_copy(update={"chip_px": chip_px}), tmp_path / "bundle")


def edited(trained: Trained, folder: Path, edit: Callable[[dict], None]) -> Path:
    """A copy of the evaluation that says something else."""
    content = json.loads((trained.evaluation / "evaluation.json").read_text())
    edit(content)
    folder.mkdir()
    (folder / "evaluation.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda content: content.update(model="another"), "it is of 'another', the checkpoint is 'tiny'"),
        (lambda content: content.update(places=["T34VDN"]), "the checkpoint has seen T34VDN"),
        (lambda content: content["conformal"][0]["threshold"].update(threshold=0.91), "of an earlier one"),
        (lambda content: content["conformal"].pop(), "of an earlier one"),
        (lambda content: content["legend"]["classes"][0].update(name="Forest"), "classes are not those"),
        (lambda content: content.pop("scores"), "cannot be read"),
    ],
)
def test_an_evaluation_of_something_else_is_refused(
    order: BundleOrder, trained: Trained, tmp_path: Path, edit: Callable[[dict], None], message: str
) -> None:
    other = edited(trained, tmp_path / "other", edit)
    with pytest.raises(EvaluationUnfit, match=message):
        export_bundle(order.model_copy(update={"evaluations": (other,)}), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_two_evaluations_of_one_name_are_refused(order: BundleOrder, trained: Trained, tmp_path: Path) -> None:
    twice = order.model_copy(update={"evaluations": (trained.evaluation, trained.evaluation)})
    with pytest.raises(EvaluationUnfit, match="another one is called 'val'"):
        export_bundle(twice, tmp_path / "bundle")


def test_a_reduced_precision_is_shipped_only_where_it_was_faster_or_could_not_be_timed(
    order: BundleOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.variant.pixels_per_s", lambda *_: (100.0, 90.0))
    monkeypatch.setattr(graphs, "PARITY_CHIPS", 1)
    manifest = export_bundle(order.model_copy(update={"variants": ("float16", "int8")}), tmp_path / "bundle")
    assert [(graph.path, graph.precision) for graph in manifest.graphs] == [
        ("model-float16.onnx", "float16"),
        ("model.onnx", "float32"),
        ("model-full.onnx", "float32"),
    ]
    parity = BundleParity.model_validate_json((tmp_path / "bundle" / manifest.parity).read_bytes())
    assert [(entry.precision, entry.gain) for entry in parity.comparisons] == [("float16", None), ("int8", 0.9)]
    assert "| int8 |" in (tmp_path / "bundle" / manifest.card).read_text()
    assert Model(find_bundle(str(tmp_path / "bundle"), ())).provider == "CPUExecutionProvider"
