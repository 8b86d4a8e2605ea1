"""A bundle that costs what a trained two-branch encoder costs, with random weights: for timing, not for mapping."""

from pathlib import Path
from typing import Final

import numpy as np

from contract.bundle import PROBABILITIES, BundleManifest, ModelInput, ModelOutput
from contract.legend import WORLDCOVER
from export.folder import GRAPH_NAME, write_graph, write_manifest
from export.graph import GraphWriter
from export.inputs import SENTINEL1_INPUT, SENTINEL2_INPUT
from export.outputs import SHARE_ENCODING, VARIANCE_OUTPUT

LEGEND: Final = WORLDCOVER.subset(10, 20, 30, 40, 50, 60, 80, 90)
WIDTH: Final = 32
CHIP_PX: Final = 512
HALO_PX: Final = 40
"""Radius: 2 + 4 convolutions at stride 2 (9 px), 1 + 4 at stride 4 (18 px), and the enlargement."""
ALIGNMENT_PX: Final = 4


def write_stand_in(folder: Path) -> BundleManifest:
    """Two unshared branches at strides 2 and 4, added, a 1x1 probe, probabilities and three variances."""
    graph, weights = GraphWriter("stand-in"), np.random.default_rng(0)
    branches = [_branch(graph, weights, modality) for modality in (SENTINEL2_INPUT, SENTINEL1_INPUT)]
    logits = graph.mix(graph.node("Add", *branches), weights.normal(0, 0.1, (len(LEGEND.classes), WIDTH)))
    probabilities = graph.node("Softmax", _enlarged(graph, logits), axis=1)
    spread = graph.node("Sub", probabilities, graph.node("Mul", probabilities, probabilities))
    shares = np.outer([1.0, 0.75, 0.25], np.ones(len(LEGEND.classes)))
    graph.output(PROBABILITIES, probabilities, len(LEGEND.classes), CHIP_PX)
    graph.output(VARIANCE_OUTPUT.name, graph.mix(spread, shares), 3, CHIP_PX)
    manifest = BundleManifest(
        name="stand-in",
        version="1",
        kind="identity",
        description="Random weights at the cost of a trained encoder. For timing.",
        licence="Apache-2.0",
        files=(write_graph(folder, graph.model()),),
        graph=GRAPH_NAME,
        inputs=(SENTINEL2_INPUT, SENTINEL1_INPUT),
        outputs=(
            ModelOutput(
                name=PROBABILITIES,
                bands=tuple(entry.name for entry in LEGEND.classes),
                encoding=SHARE_ENCODING,
            ),
            VARIANCE_OUTPUT,
        ),
        legend=LEGEND,
        resolution_m=10,
        chip_px=CHIP_PX,
        batch=1,
        halo_px=HALO_PX,
        alignment_px=ALIGNMENT_PX,
    )
    write_manifest(folder, manifest)
    return manifest


def _branch(graph: GraphWriter, weights: np.random.Generator, modality: ModelInput) -> str:
    """Features at stride 2 from one sensor, (batch, WIDTH, rows / 2, columns / 2)."""

    def convolved(value: str, inside: int, outside: int, stride: int = 1) -> str:
        kernel = weights.normal(0.0, np.sqrt(1 / (9 * inside)), (outside, inside, 3, 3))
        return graph.node(
            "Relu", graph.node("Conv", value, graph.constant(kernel), strides=[stride] * 2, pads=[1, 1, 1, 1])
        )

    def residual(value: str, channels: int) -> str:
        return graph.node("Add", value, convolved(convolved(value, channels, channels), channels, channels))

    bands = graph.node("Concat", *graph.inputs(modality, CHIP_PX), axis=1)
    halved = graph.node("SpaceToDepth", bands, blocksize=2)
    fine = convolved(halved, 4 * (len(modality.bands) + 1), WIDTH)
    for _ in range(2):
        fine = residual(fine, WIDTH)
    coarse = convolved(fine, WIDTH, 2 * WIDTH, stride=2)
    for _ in range(2):
        coarse = residual(coarse, 2 * WIDTH)
    narrowed = graph.mix(coarse, weights.normal(0, 0.1, (WIDTH, 2 * WIDTH)))
    return graph.node("Add", fine, _enlarged(graph, narrowed))


def _enlarged(graph: GraphWriter, value: str) -> str:
    scales = graph.constant([1, 1, 2, 2])
    return graph.node("Resize", value, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
