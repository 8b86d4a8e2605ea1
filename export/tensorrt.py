"""TensorRT engines, built from a bundle's graph with TensorRT's own parser.

An engine fits one graph, one version of TensorRT and one kind of GPU (`contract.engine.EngineKey`), so it is no part of the
bundle. Precision is in the graph: networks are strongly typed, which TensorRT 10 has to be told and 11 takes for granted.
Nothing here has been run with the library: no machine with a GPU was at hand.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import torch

from contract.bundle import BundleGraph, BundleManifest
from contract.engine import EngineKey
from contract.errors import EngineNotBuilt, ExtraMissing

ENGINE_NAME: Final = "engine.plan"
KEY_NAME: Final = "engine.json"
TIMING_NAME: Final = "timing.cache"
"""Beside the engines' folders, shared by them: kernels that were measured once are not measured again."""


def build_engine(bundle: Path, manifest: BundleManifest, graph: BundleGraph, engines: Path) -> Path:
    """The path of an engine of one graph, in a folder named for its key; built unless it is there.

    Args:
        bundle: Folder of the bundle.
        manifest: Its manifest.
        graph: One of its graphs.
        engines: Folder where engines are kept.

    Raises:
        ExtraMissing: The tensorrt package is not installed.
        EngineNotBuilt: There is no GPU, or TensorRT refuses the graph.
    """
    library = load_tensorrt()
    capability = _compute_capability(graph)
    key = EngineKey.of(manifest, graph, tensorrt=library.__version__, compute_capability=capability)
    engine = engines / key.digest / ENGINE_NAME
    if not engine.is_file():
        engine.parent.mkdir(parents=True, exist_ok=True)
        plan = _build(library, (bundle / graph.path).read_bytes(), manifest, graph, engines / TIMING_NAME)
        (engine.parent / KEY_NAME).write_text(key.model_dump_json(indent=2) + "\n", encoding="utf-8")
        part = engine.with_suffix(".part")
        part.write_bytes(plan)
        part.replace(engine)
    return engine


def load_tensorrt() -> ModuleType:
    """The library.

    Raises:
        ExtraMissing: It is not installed.
    """
    try:
        return import_module("tensorrt")
    except ModuleNotFoundError as error:
        raise ExtraMissing(module="tensorrt", extra="tensorrt") from error


def _compute_capability(graph: BundleGraph) -> str:
    if not torch.cuda.is_available():
        raise EngineNotBuilt(graph.path, "an engine is built on the GPU that it is for, and CUDA finds none here")
    major, minor = torch.cuda.get_device_capability()
    return f"{major}.{minor}"


def _build(library: Any, onnx: bytes, manifest: BundleManifest, graph: BundleGraph, timing: Path) -> bytes:
    """The serialised engine. https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/python-api-docs.html."""
    builder = library.Builder(library.Logger(library.Logger.WARNING))
    network = _parsed(library, builder, onnx, graph)
    config = builder.create_builder_config()
    config.add_optimization_profile(_profile(builder, manifest))
    known = config.create_timing_cache(timing.read_bytes() if timing.is_file() else b"")
    config.set_timing_cache(known, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineNotBuilt(graph.path, "the builder gave up; its log says at which layer")
    timing.write_bytes(memoryview(config.get_timing_cache().serialize()))
    return bytes(plan)


def _parsed(library: Any, builder: Any, onnx: bytes, graph: BundleGraph) -> Any:
    network = builder.create_network(1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = library.OnnxParser(network, library.Logger(library.Logger.WARNING))
    if not parser.parse(onnx):
        reasons = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise EngineNotBuilt(graph.path, reasons)
    return network


def _profile(builder: Any, manifest: BundleManifest) -> Any:
    """One shape for each input: smallest, usual and largest are the same, and nothing is left to be found at run time."""
    profile = builder.create_optimization_profile()
    for name, shape in manifest.input_shapes.items():
        profile.set_shape(name, shape, shape, shape)
    return profile
