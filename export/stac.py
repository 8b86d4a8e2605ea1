"""A bundle as a STAC item with the MLM extension, so that catalogues of models find it."""

import re
from datetime import UTC, datetime, time
from typing import Any, Final

import pystac
from pystac.extensions.file import FileExtension
from pystac.extensions.version import VersionExtension
from shapely.geometry import box, mapping
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union
from stac_model.base import ModelHyperParameters
from stac_model.input import InputStructure, ModelInput
from stac_model.output import MLMClassification, ModelOutput, ModelResult
from stac_model.schema import MLModelProperties

from contract.bands import BANDS
from contract.bundle import PROBABILITIES, BundleFile, BundleManifest
from contract.bundle import ModelInput as Eaten
from contract.bundle import ModelOutput as Given
from export.ground import Ground

MLM_SCHEMA: Final = "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"
"""Every field that is written here is the same in 1.6, which stac-model 0.7 would name; more catalogues read 1.5."""
ITEM_NAME: Final = "item.json"
ONNX_TYPE: Final = "application/octet-stream; framework=onnx; profile=onnx"
MEDIA_TYPES: Final = {".onnx": ONNX_TYPE, ".md": "text/markdown", ".json": "application/json", ".png": "image/png"}
PIXELS: Final = ("height", "width")
MULTIHASH_SHA256: Final = "1220"
"""The file extension's checksums are multihashes: 12 for SHA-256, 20 for its 32 bytes."""


def bundle_item(manifest: BundleManifest, ground: Ground, *, architecture: str, parameters: int) -> pystac.Item:
    """The item of a bundle: where its labels are from, what it eats and gives, and all of its files.

    Args:
        manifest: The bundle. Its own item need not be among the files.
        ground: Of the training labels: geometry and dates of the item.
        architecture: Name of the model's kind.
        parameters: Number of weights.
    """
    geometry = _geometry(ground)
    item = pystac.Item(
        id=f"{manifest.name}-{manifest.version}",
        geometry=None if geometry is None else mapping(geometry),
        bbox=None if geometry is None else list(_bbox(ground)),
        datetime=None,
        properties=_properties(manifest, ground),
    )
    VersionExtension.ext(item, add_if_missing=True).version = manifest.version
    item.stac_extensions.append(MLM_SCHEMA)
    item.properties.update(_model(manifest, architecture, parameters).model_dump(mode="json", by_alias=True))
    for file in manifest.files:
        _add_asset(item, manifest, file)
    return item


def _properties(manifest: BundleManifest, ground: Ground) -> dict[str, Any]:
    finished = manifest.training.finished if manifest.training else datetime.now(UTC)
    first, last = (ground.days[0], ground.days[-1]) if ground.days else (finished.date(), finished.date())
    return {
        "title": manifest.title,
        "description": manifest.description,
        "license": manifest.licence,
        "created": finished.isoformat(),
        "start_datetime": _instant(datetime.combine(first, time.min, UTC)),
        "end_datetime": _instant(datetime.combine(last, time.max.replace(microsecond=0), UTC)),
        "gsd": manifest.resolution_m,
        "bands": _bands(manifest),
    }


def _bands(manifest: BundleManifest) -> list[dict[str, str]]:
    """What the inputs refer to. MLM wants it in the item's properties, STAC only where an asset has it, too."""
    names = [name for entry in manifest.inputs for name in entry.bands]
    return [{"name": name, "description": f"{BANDS[name].modality.label} {name}"} for name in names]


def _model(manifest: BundleManifest, architecture: str, parameters: int) -> MLModelProperties:
    return MLModelProperties(
        name=manifest.name,
        architecture=architecture,
        tasks={"semantic-segmentation"},
        framework="ONNX",
        batch_size_suggestion=manifest.batch,
        total_parameters=parameters,
        pretrained=True,
        pretrained_source="; ".join(manifest.training.data) if manifest.training else None,
        input=[entry for eaten in manifest.inputs for entry in _inputs(manifest, eaten)],
        output=[_output(manifest, given) for given in manifest.outputs],
        hyperparameters=_hyperparameters(manifest),
    )


def _inputs(manifest: BundleManifest, eaten: Eaten) -> tuple[ModelInput, ModelInput]:
    """The bands of a sensor, and the plane that says where it has seen anything."""
    shapes = manifest.input_shapes
    values = ModelInput(
        name=eaten.name,
        bands=list(eaten.bands),
        input=InputStructure(
            shape=list(shapes[eaten.name]), dim_order=["batch", "bands", *PIXELS], data_type="float32"
        ),
        description=f"{eaten.modality.label}, {eaten.unit.value}; 0 where not observed. The graph standardises.",
    )
    validity = ModelInput(
        name=eaten.validity,
        bands=[],
        input=InputStructure(
            shape=list(shapes[eaten.validity]), dim_order=["batch", "channel", *PIXELS], data_type="float32"
        ),
        description=f"1 where {eaten.name} was observed, 0 where not",
    )
    return values, validity


def _output(manifest: BundleManifest, given: Given) -> ModelOutput:
    is_classes = given.name == PROBABILITIES
    shape = [manifest.batch, len(given.bands), manifest.chip_px, manifest.chip_px]
    return ModelOutput(
        name=given.name,
        bands=[],
        tasks={"semantic-segmentation" if is_classes else "regression"},
        result=ModelResult(
            shape=shape, dim_order=["batch", "class" if is_classes else "channel", *PIXELS], data_type="float32"
        ),
        classes=[_class(entry.value, entry.name, entry.color) for entry in manifest.legend.classes]
        if is_classes
        else [],
        description=f"{', '.join(given.bands)}: {given.description}",
    )


def _class(value: int, name: str, color: str) -> MLMClassification:
    identifier = re.sub(r"[^0-9a-z]+", "-", name.lower()).strip("-")
    return MLMClassification(value=value, name=identifier, description=name, color_hint=color[1:].upper())


def _hyperparameters(manifest: BundleManifest) -> ModelHyperParameters:
    numbers: dict[str, float] = {"halo_px": manifest.halo_px, "alignment_px": manifest.alignment_px}
    if manifest.calibration is not None:
        numbers |= {f"temperature_{sensors}": value for sensors, value in manifest.calibration.temperature}
        numbers["variance_scale"] = manifest.calibration.variance_scale
    return ModelHyperParameters.model_validate(numbers)


def _add_asset(item: pystac.Item, manifest: BundleManifest, file: BundleFile) -> None:
    suffix = "." + file.path.rpartition(".")[2]
    is_graph = suffix == ".onnx"
    asset = pystac.Asset(
        href=f"./{file.path}",
        media_type=MEDIA_TYPES[suffix],
        roles=["mlm:model"] if is_graph else ["metadata"],
        extra_fields={"mlm:artifact_type": "onnx", "bands": _bands(manifest)} if is_graph else {},
    )
    for graph in manifest.graphs:
        if graph.path == file.path:
            asset.title = f"{graph.precision}: {', '.join(graph.outputs)}"
    item.add_asset(file.path, asset)
    described = FileExtension.ext(asset, add_if_missing=True)
    described.apply(checksum=MULTIHASH_SHA256 + file.sha256, size=file.size_bytes)


def _geometry(ground: Ground) -> BaseGeometry | None:
    """A box; two where it crosses the antimeridian (RFC 7946, 3.1.9)."""
    if ground.bounds is None:
        return None
    west, south, east, north = _bbox(ground)
    if west <= east:
        return box(west, south, east, north)
    return unary_union([box(west, south, 180, north), box(-180, south, east, north)])


def _bbox(ground: Ground) -> tuple[float, float, float, float]:
    bounds = ground.bounds
    if bounds is None:
        raise ValueError("this ground has no bounds")
    return bounds.west_deg, bounds.south_deg, bounds.east_deg, bounds.north_deg


def _instant(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
