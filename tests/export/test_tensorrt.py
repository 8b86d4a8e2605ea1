"""Up to the library: what is missing is said, and an engine that is there is not built again."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from contract.bundle import BundleGraph, BundleManifest
from contract.engine import EngineKey
from contract.errors import EngineNotBuilt, ExtraMissing
from export import tensorrt
from export.tensorrt import build_engine
from tests.bundles import write_layered_bundle


@pytest.fixture
def manifest(tmp_path: Path) -> BundleManifest:
    return write_layered_bundle(tmp_path / "bundle", precision="float16")


@pytest.fixture
def graph(manifest: BundleManifest) -> BundleGraph:
    return manifest.variants[0]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something of that name that knows its version and no more."""
    module = ModuleType("tensorrt")
    module.__version__ = "11.1.0"
    monkeypatch.setitem(sys.modules, "tensorrt", module)


def test_a_missing_library_is_said_with_its_extra(
    manifest: BundleManifest, graph: BundleGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ExtraMissing, match=r"landsigma\[tensorrt\]"):
        build_engine(tmp_path / "bundle", manifest, graph, tmp_path / "engines")


@pytest.mark.usefixtures("library")
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_machine_without_a_gpu_builds_no_engine(manifest: BundleManifest, graph: BundleGraph, tmp_path: Path) -> None:
    with pytest.raises(EngineNotBuilt, match="CUDA finds none here"):
        build_engine(tmp_path / "bundle", manifest, graph, tmp_path / "engines")
    assert not (tmp_path / "engines").exists()


@pytest.mark.usefixtures("library")
def test_an_engine_of_the_same_key_is_not_built_again(
    manifest: BundleManifest, graph: BundleGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt, "_compute_capability", lambda _: "9.0")
    key = EngineKey.of(manifest, graph, tensorrt="11.1.0", compute_capability="9.0")
    there = tmp_path / "engines" / key.digest / "engine.plan"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"an engine")
    assert build_engine(tmp_path / "bundle", manifest, graph, tmp_path / "engines") == there
    with pytest.raises(AttributeError, match="Builder"):  # of another graph, it would be built
        build_engine(tmp_path / "bundle", manifest, manifest.graphs[-1], tmp_path / "engines")
