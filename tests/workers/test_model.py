"""A model runs the leanest graph that gives what is asked for, on the best provider that works."""

import json
import logging
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from contract.bundle import Provider
from contract.errors import BundleInvalid
from tests.bundles import write_layered_bundle
from workers.bundle import find_bundle
from workers.model import Model

USUAL = ("probabilities", "variance")


def layered(folder: Path, **options: object) -> Model:
    write_layered_bundle(folder, **options)
    return Model(find_bundle(str(folder), ()))


def value_of(model: Model, *outputs: str) -> float:
    first, *_ = model.predict(model.empty_batch(), outputs)
    return float(np.unique(first).item())


def test_what_every_map_needs_comes_from_the_lean_graph_and_anything_else_from_the_full_one(tmp_path: Path) -> None:
    model = layered(tmp_path)
    assert model.usual_outputs == USUAL
    assert value_of(model, "variance") == 2
    assert value_of(model, "probabilities", "margin") == 1
    assert value_of(model, *USUAL) == 2


def test_a_graph_for_other_hardware_is_left_alone(tmp_path: Path) -> None:
    model = layered(tmp_path, precision="float16", providers=(Provider.TENSORRT, Provider.CUDA))
    assert value_of(model, *USUAL) == 1
    assert model.provider == "CPUExecutionProvider"


def test_reduced_precision_is_told_with_the_provider(tmp_path: Path) -> None:
    model = layered(tmp_path, precision="int8", providers=(Provider.CPU,))
    assert model.provider == "CPUExecutionProvider int8"
    model.warm_up()
    assert model.provider == "CPUExecutionProvider int8 and CPUExecutionProvider"


def test_a_further_graph_that_does_not_fit_is_refused_when_it_is_needed(tmp_path: Path) -> None:
    write_layered_bundle(tmp_path)
    path = tmp_path / "manifest.json"
    content = json.loads(path.read_text())
    content["outputs"][2]["name"] = "entropy"
    path.write_text(json.dumps(content))
    model = Model(find_bundle(str(tmp_path), ()))
    assert value_of(model, *USUAL) == 2
    with pytest.raises(BundleInvalid, match=r"does not give \['entropy'\]"):
        model.warm_up()


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_is_installed_and_does_not_start_is_passed_over_counted_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    everything = [provider.value for provider in Provider]
    monkeypatch.setattr(ort, "get_available_providers", lambda: everything)
    write_layered_bundle(tmp_path / "bundle")
    with caplog.at_level(logging.WARNING, "workers"):
        model = Model(find_bundle(str(tmp_path / "bundle"), ()), engines=tmp_path / "engines")
    assert model.provider == "CPUExecutionProvider"
    assert [entry.provider for entry in model.fall_backs] == [Provider.TENSORRT, Provider.CUDA]
    assert [record.args[0] for record in caplog.records] == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    assert "tensorrt" in caplog.messages[0]


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_broken_graph_is_the_fault_of_the_bundle_and_not_of_a_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_layered_bundle(tmp_path)
    path = tmp_path / "manifest.json"
    content = json.loads(path.read_text())
    content["inputs"][1]["bands"] = ["VV"]
    path.write_text(json.dumps(content))
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(BundleInvalid, match=r"graph input s1 .* needs \(batch, 1, 32, 32\)"):
        Model(find_bundle(str(tmp_path), ()))
    assert manifest.input_shapes["s1"] == (1, 2, 32, 32)


@pytest.mark.parametrize(("threads", "lanes"), [(1, 1), (3, 3), (20, 8)])
def test_on_a_cpu_each_thread_is_a_lane_up_to_a_limit(tmp_path: Path, threads: int, lanes: int) -> None:
    write_layered_bundle(tmp_path)
    model = Model(find_bundle(str(tmp_path), ()), threads=threads)
    assert model.lanes(USUAL) == lanes
    assert model.lanes(("probabilities", "margin")) == lanes
