"""The STAC item and the collection around it: https://github.com/radiantearth/stac-spec, version 1.1."""

import json
import math
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pystac
from pystac.extensions.classification import Classification, ClassificationExtension
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.render import Render, RenderExtension
from pystac.utils import datetime_to_str

from contract.bands import Modality
from contract.legend import Legend
from contract.request import Artifact
from contract.scene import Area
from workers.aoi import geometry_of
from workers.folder import ITEM_NAME
from workers.lonlat import ANTIMERIDIAN_DEG, TURN_DEG, joined
from workers.products.files import write_file
from workers.products.product import Product
from workers.products.spec import LANDCOVER, QUALITY, SENSORS, VARIANCE, RasterSpec, credit
from workers.products.styles import VARIANCE_COLORS
from workers.products.virtual import transform_of

COLLECTION_NAME: Final = "collection.json"
# pystac has no classes for these versions of these extensions; their fields are plain.
_RASTER: Final = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"
_PROCESSING: Final = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
_SHA256_MULTIHASH: Final = "1220"
"""Multihash of a SHA-256: its code (0x12) and its length (0x20)."""
_TERMS: Final = "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice"
_INSTRUMENTS: Final = {Modality.S2: "msi", Modality.S1: "c-sar"}


def write_item(folder: Path, product: Product, artifacts: Sequence[Artifact]) -> tuple[Path, Path]:
    """`collection.json` and, last, `item.json`, which names every artifact with its checksum.

    Raises:
        OutputNotWritable: The disk is full or read-only.
    """
    item = _item(product, artifacts)
    collection = _collection(product)
    # Before either has a place: afterwards pystac would move the item, and with it the assets, to a folder of its own.
    collection.add_item(item)
    collection.set_self_href(str(folder / COLLECTION_NAME))
    item.set_self_href(str(folder / ITEM_NAME))
    paths = folder / COLLECTION_NAME, folder / ITEM_NAME
    for path, entry in zip(paths, (collection, item), strict=True):
        text = json.dumps(entry.to_dict(include_self_link=False), indent=2, ensure_ascii=False, allow_nan=False)
        write_file(path, f"{text}\n".encode())
    return paths


def _item(product: Product, artifacts: Sequence[Artifact]) -> pystac.Item:
    item = pystac.Item(
        id=product.job_id,
        geometry=product.area.model_dump(mode="json"),
        bbox=bbox_of(product.area),
        datetime=None,
        start_datetime=product.start,
        end_datetime=product.last_instant,
        properties=_properties(product),
        stac_extensions=[_RASTER, _PROCESSING],
    )
    _add_projection(item, product)
    for artifact in artifacts:
        _add_asset(item, product, artifact)
    RenderExtension.ext(item, add_if_missing=True).apply(_renders(product))
    for scene in product.scenes:
        if scene.item_href is not None:
            item.add_link(pystac.Link("derived_from", scene.item_href, pystac.MediaType.GEOJSON, scene.id))
    return item


def _properties(product: Product) -> dict[str, Any]:
    manifest = product.manifest
    return {
        "title": _title(product),
        "description": f"{product.attribution}. Model: {credit(manifest)}.",
        "created": datetime_to_str(product.finished),
        "gsd": product.grid.resolution_m,
        "instruments": [_INSTRUMENTS[modality] for modality in _modalities(product)],
        "processing:lineage": _lineage(product),
        "processing:level": "L3",
        "processing:software": dict(product.software),
        "landsigma:model": manifest.name,
        "landsigma:model_version": manifest.version,
        "landsigma:model_kind": manifest.kind,
        "landsigma:model_licence": manifest.licence,
        "landsigma:model_sha256": product.manifest_sha256,
    }


def _title(product: Product) -> str:
    return f"Land cover, {product.start:%Y-%m-%d} to {product.last_instant:%Y-%m-%d}"


def _modalities(product: Product) -> list[Modality]:
    return [modality for modality in Modality if any(scene.modality is modality for scene in product.scenes)]


def _lineage(product: Product) -> str:
    counts = [
        f"{sum(scene.modality is modality for scene in product.scenes)} {modality.label}"
        for modality in _modalities(product)
    ]
    return f"Composite of {' and '.join(counts)} scenes, mapped by {credit(product.manifest)}."


def bbox_of(area: Area) -> list[float]:
    """West, south, east, north; west > east where the area crosses the antimeridian (RFC 7946, section 5.2)."""
    west, south, east, north = joined(geometry_of(area)).bounds
    if east - west >= TURN_DEG:
        return [-ANTIMERIDIAN_DEG, south, ANTIMERIDIAN_DEG, north]
    if west < -ANTIMERIDIAN_DEG:
        west += TURN_DEG
    if east > ANTIMERIDIAN_DEG:
        east -= TURN_DEG
    return [west, south, east, north]


def _add_projection(item: pystac.Item, product: Product) -> None:
    grid = product.grid
    coded = re.fullmatch(r"[A-Za-z]+:\w+", grid.crs) is not None
    ProjectionExtension.ext(item, add_if_missing=True).apply(
        code=grid.crs if coded else None,
        wkt2=None if coded else grid.crs,
        bbox=list(grid.bounds_m(grid.window)),
        shape=list(grid.shape),
        transform=list(transform_of(grid, grid.window))[:6],
    )


def _add_asset(item: pystac.Item, product: Product, artifact: Artifact) -> None:
    name = Path(artifact.name)
    spec = product.spec(name.stem) if name.suffix == ".tif" else None
    asset = pystac.Asset(
        href=f"./{artifact.name}",
        title=name.stem if spec else artifact.name,
        description=spec.description if spec else None,
        media_type=artifact.media_type,
        roles=["data"] if spec else _roles(name),
        extra_fields=_raster_fields(spec, product) if spec else {},
    )
    item.add_asset(name.stem if spec else artifact.name, asset)
    FileExtension.ext(asset, add_if_missing=True).apply(
        checksum=_SHA256_MULTIHASH + artifact.sha256, size=artifact.size_bytes
    )
    if spec is not None and spec.legend is not None:
        ClassificationExtension.ext(asset, add_if_missing=True).apply(classes=_classes(product, spec.legend))


def _roles(name: Path) -> list[str]:
    if name.suffix == ".png":
        return ["overview", "thumbnail"]
    return ["style"] if name.suffix in {".qml", ".qgs"} else ["metadata"]


def _raster_fields(spec: RasterSpec, product: Product) -> dict[str, Any]:
    """What all bands share, and their names (STAC 1.1, "bands")."""
    fields: dict[str, Any] = {
        "data_type": spec.dtype,
        "nodata": "nan" if math.isnan(spec.nodata) else spec.nodata,
        "raster:sampling": "area",
        "raster:spatial_resolution": product.grid.resolution_m,
        "bands": [{"name": band} for band in spec.bands],
    }
    if (spec.scale, spec.offset) != (1.0, 0.0):
        fields |= {"raster:scale": spec.scale, "raster:offset": spec.offset}
    if spec.unit:
        fields["unit"] = spec.unit
    if spec.name == QUALITY:
        sensors = [_classification(entry.value, entry.name, entry.color).to_dict() for entry in SENSORS]
        fields["bands"][-1]["classification:classes"] = sensors
    return fields


def _classes(product: Product, legend: Legend) -> list[Classification]:
    classes = [_classification(entry.value, entry.name, entry.color) for entry in legend.classes]
    for entry in classes:
        entry.count = product.class_px.get(entry.value, 0)
        entry.percentage = round(100 * product.share(entry.value), 3)
    nodata = Classification.create(value=legend.nodata, name="nodata", title="No answer", nodata=True)
    return [*classes, nodata]


def _classification(value: int, name: str, color: str) -> Classification:
    identifier = re.sub(r"[^0-9a-z]+", "-", name.lower()).strip("-")
    return Classification.create(value=value, name=identifier, title=name, color_hint=color[1:].upper())


def _renders(product: Product) -> dict[str, Render]:
    """How a tile server draws the rasters; stored numbers, since it colours before scale and offset."""
    legend = product.manifest.legend
    colors = {str(entry.value): entry.color for entry in legend.classes}
    landcover = Render.create(
        assets=[LANDCOVER], title="Land cover", colormap=colors, nodata=legend.nodata, resampling="nearest"
    )
    variance = product.spec(VARIANCE)
    if variance is None:
        return {LANDCOVER: landcover}
    highest = (product.highest_variance - variance.offset) / variance.scale
    lowest = (0 - variance.offset) / variance.scale
    total = Render.create(
        assets=[VARIANCE],
        title="Total variance",
        colormap_name=VARIANCE_COLORS,
        rescale=[[lowest, highest]],
        resampling="average",
    )
    total.properties["bidx"] = [1]
    return {LANDCOVER: landcover, VARIANCE: total}


def _collection(product: Product) -> pystac.Collection:
    return new_collection(
        f"landsigma-{product.job_id}",
        title=_title(product),
        description=f"{_lineage(product)} {product.attribution}.",
        area=product.area,
        span=(product.start, product.last_instant),
        keywords=[modality.label.lower() for modality in _modalities(product)],
    )


def new_collection(
    name: str, *, title: str, description: str, area: Area, span: tuple[datetime, datetime], keywords: Sequence[str]
) -> pystac.Collection:
    """A collection of land-cover maps of an area, from the first to the last instant of a span, without items."""
    collection = pystac.Collection(
        id=name,
        title=title,
        description=description,
        extent=pystac.Extent(pystac.SpatialExtent([bbox_of(area)]), pystac.TemporalExtent([[*span]])),
        license="other",
        keywords=["land cover", "uncertainty", *keywords],
        providers=[
            pystac.Provider("landsigma", roles=[pystac.ProviderRole.PROCESSOR]),
            pystac.Provider(
                "European Union, Copernicus Programme",
                roles=[pystac.ProviderRole.LICENSOR, pystac.ProviderRole.PRODUCER],
                url="https://www.copernicus.eu",
            ),
        ],
        catalog_type=pystac.CatalogType.SELF_CONTAINED,
    )
    collection.add_link(pystac.Link("license", _TERMS, "application/pdf", "Terms of Copernicus Sentinel data"))
    return collection
