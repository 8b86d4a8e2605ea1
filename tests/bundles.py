"""Bundles for tests: one gives its input back, one shows seams where halo or alignment are wrong, one has two graphs."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from contract.bundle import BundleGraph, BundleManifest, Encoding, ModelOutput, Precision, Provider
from contract.legend import WORLDCOVER
from export.folder import GRAPH_NAME, write_graph, write_manifest
from export.graph import GraphWriter
from export.inputs import SENTINEL1_INPUT, SENTINEL2_INPUT
from export.outputs import VARIANCE_OUTPUT

UNCHANGED = Encoding(dtype="float32", nodata=float("nan"))
BLUR_RADIUS_PX = 11
"""See `_blur_logits`."""
BLUR_HALO_PX = 12
"""The radius, rounded up to the alignment."""
BLUR_ALIGNMENT_PX = 4
"""Its coarsest stride."""
BLUR_CLASSES = 5


def write_identity_bundle(
    folder: Path,
    *,
    chip_px: int = 64,
    halo_px: int = 0,
    alignment_px: int = 1,
    batch: int = 2,
) -> BundleManifest:
    """The manifest of a written bundle whose outputs are its inputs.

    `probabilities` are the four Sentinel-2 bands, `s2_identity`, `s1_identity` and `validity` the inputs by name, and
    `variance` is (Sentinel-2 validity, Sentinel-1 validity, both). All are stored as float32 with nodata NaN.
    """
    graph = GraphWriter("identity")
    s2, s2_valid = graph.inputs(SENTINEL2_INPUT, chip_px)
    s1, s1_valid = graph.inputs(SENTINEL1_INPUT, chip_px)
    both = graph.node("Mul", s2_valid, s1_valid)
    graph.output("probabilities", s2, 4, chip_px)
    graph.output("variance", graph.node("Concat", s2_valid, s1_valid, both, axis=1), 3, chip_px)
    graph.output("s2_identity", s2, 4, chip_px)
    graph.output("s1_identity", s1, 2, chip_px)
    graph.output("validity", graph.node("Concat", s2_valid, s1_valid, axis=1), 2, chip_px)
    return _written(
        folder,
        name="identity",
        description="Gives its input back. For tests.",
        files=(write_graph(folder, graph.model()),),
        graph=GRAPH_NAME,
        outputs=(
            _unchanged("probabilities", "B02", "B03", "B04", "B08"),
            _unchanged("variance", "s2_valid", "s1_valid", "both_valid"),
            _unchanged("s2_identity", "B02", "B03", "B04", "B08"),
            _unchanged("s1_identity", "VV", "VH"),
            _unchanged("validity", "s2_valid", "s1_valid"),
        ),
        legend=WORLDCOVER.subset(10, 30, 50, 80),
        chip_px=chip_px,
        batch=batch,
        halo_px=halo_px,
        alignment_px=alignment_px,
    )


def write_blur_bundle(
    folder: Path,
    *,
    chip_px: int = 64,
    halo_px: int = BLUR_HALO_PX,
    alignment_px: int = BLUR_ALIGNMENT_PX,
    batch: int = 2,
) -> BundleManifest:
    """The manifest of a written convolutional bundle with fixed random weights and levels at strides 1, 2 and 4.

    A smaller halo or another alignment than the defaults make a map that depends on where chips lie.
    """
    graph = GraphWriter("blur")
    inputs = (*graph.inputs(SENTINEL2_INPUT, chip_px), *graph.inputs(SENTINEL1_INPUT, chip_px))
    probabilities = graph.node("Softmax", _blur_logits(graph, graph.node("Concat", *inputs, axis=1)), axis=1)
    spread = graph.node("Sub", probabilities, graph.node("Mul", probabilities, probabilities))
    total = graph.mix(spread, np.ones((1, BLUR_CLASSES)))
    graph.output("probabilities", probabilities, BLUR_CLASSES, chip_px)
    graph.output("variance", graph.mix(total, [[1.0], [0.75], [0.25]]), 3, chip_px)
    return _written(
        folder,
        name="blur",
        description="A convolutional net with random weights. For tests.",
        files=(write_graph(folder, graph.model()),),
        graph=GRAPH_NAME,
        outputs=(
            _unchanged("probabilities", *(f"p{index}" for index in range(BLUR_CLASSES))),
            VARIANCE_OUTPUT.model_copy(update={"encoding": UNCHANGED}),
        ),
        legend=WORLDCOVER.subset(10, 30, 40, 50, 80),
        chip_px=chip_px,
        batch=batch,
        halo_px=halo_px,
        alignment_px=alignment_px,
    )


def write_layered_bundle(
    folder: Path, *, precision: Precision = "float32", providers: tuple[Provider, ...] = tuple(Provider)
) -> BundleManifest:
    """The manifest of a written bundle of two graphs that tell which of them ran.

    The lean one gives `probabilities` and `variance` as twos, in this precision and for these providers; the full one gives
    them as ones, and `margin` beside them.
    """
    usual = ("probabilities", "variance")
    files = [
        write_graph(folder, _constant_graph(usual, 2.0), "model.onnx"),
        write_graph(folder, _constant_graph((*usual, "margin"), 1.0), "model-full.onnx"),
    ]
    return _written(
        folder,
        name="layered",
        description="Tells which graph ran. For tests.",
        files=tuple(files),
        graph="model-full.onnx",
        variants=(BundleGraph(path="model.onnx", precision=precision, providers=providers, outputs=usual),),
        outputs=(
            _unchanged("probabilities", "B02", "B03", "B04", "B08"),
            _unchanged("variance", "B02", "B03", "B04", "B08"),
            _unchanged("margin", "B02", "B03", "B04", "B08").model_copy(update={"always": False}),
        ),
        legend=WORLDCOVER.subset(10, 30, 50, 80),
        chip_px=32,
        batch=1,
        halo_px=0,
        alignment_px=1,
    )


def _written(folder: Path, **parts: Any) -> BundleManifest:
    """The manifest of a bundle, written with what all of these have in common."""
    manifest = BundleManifest(
        version="1",
        kind="identity",
        licence="Apache-2.0",
        inputs=(SENTINEL2_INPUT, SENTINEL1_INPUT),
        resolution_m=10,
        **parts,
    )
    write_manifest(folder, manifest)
    return manifest


def _constant_graph(outputs: tuple[str, ...], value: float) -> onnx.ModelProto:
    graph = GraphWriter("constant")
    s2, s2_valid = graph.inputs(SENTINEL2_INPUT, 32)
    s1, s1_valid = graph.inputs(SENTINEL1_INPUT, 32)
    seen = graph.node("Concat", s2, s1, s2_valid, s1_valid, axis=1)
    for name in outputs:
        graph.output(name, graph.mix(seen, np.zeros((4, 8)), np.full(4, value)), 4, 32)
    return graph.model()


def _unchanged(name: str, *bands: str) -> ModelOutput:
    return ModelOutput(name=name, bands=bands, description="For tests.", encoding=UNCHANGED, always=True)


def _blur_logits(graph: GraphWriter, pixels: str) -> str:
    """Logits of the blur bundle from (batch, 8, rows, columns).

    The pixel 4j + r (r of 0..3) sees stride 4 at j-1..j+1, so stride 2 at 2j-3..2j+3, stride 1 at 4j-7..4j+7 and the
    input at 4j-8..4j+8: at most 11 px before it and 8 px after it.
    """
    weights = np.random.default_rng(20)

    def convolved(value: str, channels: int, stride: int) -> str:
        kernel = weights.normal(0.0, np.sqrt(2 / (9 * channels)), (8, channels, 3, 3))
        result = graph.node("Conv", value, graph.constant(kernel), strides=[stride, stride], pads=[1, 1, 1, 1])
        return graph.node("LeakyRelu", result, alpha=0.2)

    def enlarged(value: str, factor: int) -> str:
        # Every pixel of a stride cell takes the cell's value; the default rounding would shift cells by half.
        scales, where = graph.constant([1, 1, factor, factor]), "asymmetric"
        return graph.node(
            "Resize", value, "", scales, mode="nearest", nearest_mode="floor", coordinate_transformation_mode=where
        )

    # Reflectance and decibels to about unit size.
    level1 = convolved(graph.mix(pixels, np.diag([5, 5, 5, 5, 1, 0.05, 0.05, 1])), 8, 1)
    level2 = convolved(level1, 8, 2)
    level4 = convolved(convolved(level2, 8, 2), 8, 1)
    levels = graph.node("Concat", level1, enlarged(level2, 2), enlarged(level4, 4), axis=1)
    return graph.mix(levels, weights.normal(0.0, 0.5, (BLUR_CLASSES, 24)))
