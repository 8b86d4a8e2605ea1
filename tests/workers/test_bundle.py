"""A bundle is used only if it is what its manifest says."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from contract.errors import BundleInvalid, BundleNotFound, Interrupted
from export.folder import name_bands
from export.inputs import SENTINEL1_INPUT, SENTINEL2_INPUT
from tests.bundles import write_identity_bundle
from workers.bundle import Bundle, find_bundle, verify_bundle
from workers.model import Model
from workers.session import GraphSession


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_identity_bundle(tmp_path / "identity", chip_px=32)
    return tmp_path / "identity"


def test_a_bundle_is_found_by_path_and_by_name_on_a_shelf(folder: Path) -> None:
    by_path = find_bundle(str(folder), ())
    by_name = find_bundle("identity", (folder.parent / "empty", folder.parent))
    assert by_path.sha256 == by_name.sha256


def test_a_bundle_that_is_nowhere_names_the_places(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFound, match=str(tmp_path / "ghost")):
        find_bundle("ghost", (tmp_path,))


def test_one_changed_byte_of_the_graph_is_refused(folder: Path) -> None:
    graph = folder / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[-1] ^= 1
    graph.write_bytes(content)
    with pytest.raises(BundleInvalid, match=r"model\.onnx has sha256"):
        verify_bundle(find_bundle(str(folder), ()))


def test_a_missing_graph_is_refused(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    with pytest.raises(BundleInvalid, match=r"model\.onnx is missing"):
        verify_bundle(find_bundle(str(folder), ()))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("schema_version", 99, "schema_version is 99, this landsigma reads 1; update landsigma"),
        ("chip_px", 33, r"graph input s2 .* needs \(batch, 4, 33, 33\)"),
        ("surprise", 1, "surprise"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_by_field(
    folder: Path, field: str, value: object, message: str
) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {field: value}))
    with pytest.raises(BundleInvalid, match=message):
        Model(find_bundle(str(folder), ()))


def test_a_band_the_graph_does_not_take_is_refused(folder: Path) -> None:
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    content["inputs"][0]["bands"].append("B11")
    manifest.write_text(json.dumps(content))
    with pytest.raises(BundleInvalid, match="needs"):
        Model(find_bundle(str(folder), ()))


def test_bands_in_another_order_than_the_graph_was_trained_on_are_refused(
    folder: Path, other_graph: Callable[[bytes], Bundle]
) -> None:
    graph = name_bands(onnx.load(folder / "model.onnx"), (SENTINEL2_INPUT, SENTINEL1_INPUT))
    Model(other_graph(graph.SerializeToString()))
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    content["inputs"][0]["bands"].reverse()
    manifest.write_text(json.dumps(content))
    with pytest.raises(BundleInvalid, match="s2 takes the bands B02,B03,B04,B08; the manifest lists B08,B04,B03,B02"):
        Model(find_bundle(str(folder), ()))


def test_an_output_of_other_bands_than_the_manifest_is_refused(folder: Path) -> None:
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    content["outputs"][1]["bands"].pop()
    manifest.write_text(json.dumps(content))
    needed = r"graph output variance is float32 \(2, 3, 32, 32\); the manifest needs float32 \(2, 2, 32, 32\)"
    with pytest.raises(BundleInvalid, match=needed):
        Model(find_bundle(str(folder), ()))


@pytest.fixture
def other_graph(folder: Path) -> Callable[[bytes], Bundle]:
    """Makes the bundle with another graph, checksum included."""

    def exchanged(content: bytes) -> Bundle:
        (folder / "model.onnx").write_bytes(content)
        manifest = folder / "manifest.json"
        changed = json.loads(manifest.read_text())
        changed["files"][0] |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        manifest.write_text(json.dumps(changed))
        return find_bundle(str(folder), ())

    return exchanged


def test_a_file_that_is_no_graph_is_refused(other_graph: Callable[[bytes], Bundle]) -> None:
    with pytest.raises(BundleInvalid, match=r"cannot load model\.onnx"):
        Model(other_graph(b"no graph"))


def test_a_graph_that_fails_when_it_runs_is_refused(folder: Path, other_graph: Callable[[bytes], Bundle]) -> None:
    graph = onnx.load(folder / "model.onnx")
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 7
    with pytest.raises(BundleInvalid, match=r"(?s)cannot run model\.onnx.* Got: 2 Expected: 7"):
        Model(other_graph(graph.SerializeToString()))


def test_a_stop_during_the_warm_up_is_no_fault_of_the_bundle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise Interrupted

    monkeypatch.setattr(GraphSession, "run", stopped)
    with pytest.raises(Interrupted):
        Model(find_bundle(str(folder), ()))


def test_the_model_gives_the_outputs_asked_for_in_that_order(folder: Path) -> None:
    model = Model(find_bundle(str(folder), ()))
    batch = model.empty_batch()
    batch["s2"][:] = np.random.default_rng(0).random(batch["s2"].shape, np.float32)
    batch["s1"][:] = -12.5
    s1, s2 = model.predict(batch, ("s1_identity", "s2_identity"))
    np.testing.assert_array_equal(s1, batch["s1"])
    np.testing.assert_array_equal(s2, batch["s2"])
    assert model.provider == "CPUExecutionProvider"
