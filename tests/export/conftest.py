"""Exporting takes seconds: each graph is made once, and so is the bundle."""

from pathlib import Path

import onnx
import pytest

from export.bundle import BundleOrder, export_bundle
from export.session import GraphSession
from export.torch_graph import available_outputs, export_graph
from tests.export.checkpoints import Trained, write_trained
from tests.export.examples import CHIP_PX, THRESHOLDS, fitted
from training.models.mapping import MappingModel


@pytest.fixture(scope="session")
def model() -> MappingModel:
    return fitted()


@pytest.fixture(scope="session")
def lean(model: MappingModel) -> onnx.ModelProto:
    return export_graph(model, CHIP_PX)


@pytest.fixture(scope="session")
def full(model: MappingModel) -> onnx.ModelProto:
    return export_graph(model, CHIP_PX, available_outputs(model, THRESHOLDS), thresholds=THRESHOLDS)


@pytest.fixture(scope="session")
def session(full: onnx.ModelProto) -> GraphSession:
    return GraphSession(full, threads=1)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return write_trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def bundle(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the exported bundle."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    order = BundleOrder(
        checkpoint=trained.checkpoint, evaluations=(trained.evaluation,), name="tiny-map", version="1.0", chip_px=128
    )
    export_bundle(order, folder)
    return folder
