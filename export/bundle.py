"""Writes a bundle folder: the graph first, and last the manifest with its checksum."""

import hashlib
from pathlib import Path
from typing import Final

import onnx

from contract.bands import Modality, Unit
from contract.bundle import MANIFEST_NAME, BundleFile, BundleManifest, Encoding, ModelInput, ModelOutput

GRAPH_NAME: Final = "model.onnx"
SENTINEL2_INPUT: Final = ModelInput(
    modality=Modality.S2,
    name="s2",
    validity="s2_valid",
    bands=("B02", "B03", "B04", "B08"),
    unit=Unit.REFLECTANCE,
)
SENTINEL1_INPUT: Final = ModelInput(
    modality=Modality.S1,
    name="s1",
    validity="s1_valid",
    bands=("VV", "VH"),
    unit=Unit.DECIBEL,
)
PROBABILITY_ENCODING: Final = Encoding(dtype="uint8", nodata=255, scale=0.004)
"""0..250 for 0..1."""
VARIANCE_OUTPUT: Final = ModelOutput(
    name="variance",
    bands=("total", "aleatoric", "embedding"),
    description=(
        "Variance of the one-hot label under the predicted distribution, 0 to 1 - 1/classes. aleatoric: classes overlap "
        "given a known input; embedding: the input leaves open where in the classes' space the pixel lies (noise, cloud, "
        "missing sensor); total: their sum. None of them tells whether the model itself is right."
    ),
    encoding=Encoding(dtype="uint16", nodata=65535, scale=1e-4),
    always=True,
)


def write_graph(folder: Path, model: onnx.ModelProto) -> BundleFile:
    """The manifest's entry of a graph, written to `folder` with bytes that do not change from run to run."""
    folder.mkdir(parents=True, exist_ok=True)
    content = model.SerializeToString(deterministic=True)
    (folder / GRAPH_NAME).write_bytes(content)
    return BundleFile(path=GRAPH_NAME, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def write_manifest(folder: Path, manifest: BundleManifest) -> None:
    """Write manifest.json beside the files that it names."""
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
